"""What a user reads when a training does not fit into memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from segfw.core.errors import JobError
from segfw.core.planning.network_fit import plan_as_built
from segfw.core.planning.planners import estimated_gpu_memory_gb
from segfw.inference.fallbacks import is_out_of_memory
from segfw.training.devices import Device
from segfw.training.run import FoldRun

VALIDATING = (
    "training is complete, and what failed is the validation of whole cases. The same command goes on with it: with "
    "less beside it on the device, inference.window_batch_size=1, or trainer.accelerator=cpu"
)


@contextmanager
def explained_out_of_memory(
    run: FoldRun, device: Device, trained: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Turn PyTorch's out-of-memory errors into a `JobError` that says what was needed and what lowers it.

    `trained()`: whether whole cases are being validated already.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        story = VALIDATING if trained() else _story(run, device)
        raise JobError(f"out of memory on {device.name}: {story}") from error


def _story(run: FoldRun, device: Device) -> str:
    configuration = run.configuration
    sizes = [f"batch {configuration.batch_size}, patch {list(configuration.patch_size)}"]
    if run.network.target is None:
        plan = plan_as_built(run.plan, run.network)
        sizes.append(f"estimated {estimated_gpu_memory_gb(plan, run.configuration_name):.1f} GB")
    if device.accelerator == "cuda":
        sizes.append(f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB held at the peak")
    if device.memory_gb is not None:
        sizes.append(f"{device.memory_gb:.1f} GB on the device")
    batch = max(1, configuration.batch_size // 2)
    collected = 2 * run.trainer.accumulate_grad_batches
    advice = [f"plan.batch_size={batch} (with trainer.accumulate_grad_batches={collected} for as much in a step)"]
    if configuration.batch_size == 1:
        advice = []
    advice += ["planner.gpu_memory_gb= with a new plan", "a smaller plan.patch_size="]
    if device.precision.startswith("32"):
        advice.append("trainer.precision=bf16-mixed")
    return (
        f"{run.configuration_name}, {', '.join(sizes)}. Is another program on the device? If not, less is needed with "
        f"{', '.join(advice)}; each makes another training, so with another name="
    )
