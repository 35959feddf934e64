"""nnU-Net's initial weights, first batches and losses of a training; runs in its environment, which has no segfw.

exchange_peer.py ORDER FOLDER      ORDER: as accuracy_peer.py takes it
"""

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accuracy_peer import make_trainer

EPOCHS = 2


def main(order: dict[str, Any], folder: Path) -> None:
    """Write weights.pt, batches.npz and losses.json into `folder`, of the epochs that this training begins with."""
    trainer = make_trainer(order)
    trainer.initialize()
    torch.save(dict(trainer.network.state_dict()), folder / "weights.pt")
    loader, _ = trainer.get_dataloaders()
    drawn = list(islice(loader, EPOCHS * order["iterations"]))
    images, labels = zip(*((each["data"], each["target"][0]) for each in drawn), strict=True)
    np.savez(folder / "batches.npz", image=torch.stack(images).numpy(), label=torch.stack(labels).numpy())
    trainer.network.train()
    losses = []
    for number, batch in enumerate(drawn):
        trainer.lr_scheduler.step(number // order["iterations"])
        losses.append(float(trainer.train_step(batch)["loss"]))
    (folder / "losses.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
