"""Where a run is told of besides its own `metrics.csv`, and what may leave this machine."""

from dataclasses import dataclass
from typing import Any, Literal

from segfw.core.settings.declaring import setting

Upload = Literal["images", "tables", "model"]


@dataclass(frozen=True)
class LoggerSettings:
    """Which trackers follow a training; `metrics.csv` is always written. None of it makes another training."""

    wandb: bool = setting(False, "Weights & Biases; not logged in: offline, and the line that syncs is logged")
    tensorboard: bool = setting(False, "TensorBoard's event files")
    mlflow: bool = setting(False, "MLflow; see mlflow_uri")
    project: str = setting("segfw", "project (W&B) or experiment (MLflow) under which runs are found")
    entity: str | None = setting(None, "W&B user or team; None: the one that is logged in")
    mode: Literal["auto", "online", "offline"] = setting(
        "auto", "of W&B; auto: online where somebody is logged in. Never asks, and is offline where it has to be"
    )
    upload: tuple[Upload, ...] = setting(
        (),
        "what may leave this machine besides scalars and a scrubbed config: images (slices of cases, the fingerprint's "
        "picture), tables (which name the cases), model (the package and its plan)",
    )
    pictures_every: int = setting(50, "epochs between two pictures of validation patches")
    mlflow_uri: str | None = setting(None, "MLflow's store; None: files under the dataset's outputs", literal=True)
    own: dict[str, Any] = setting(
        {},
        "loggers of your own, each with _target_: a pytorch_lightning Logger; also logger.NAME._target_",
        gathers=True,
    )
