"""nnU-Net's initial weights and first batches of a training; runs in its environment, which has no segfw.

exchange_peer.py ORDER FOLDER BATCHES      ORDER: as accuracy_peer.py takes it
"""

import json
import random
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from accuracy_peer import Published


def main(order: dict[str, str], folder: Path, batches: int) -> None:
    """Write weights.pt and batches.npz into `folder`, as that training would begin with them."""
    random.seed(order["seed"])
    np.random.seed(order["seed"])
    torch.manual_seed(order["seed"])
    torch.set_num_threads(1)
    plans = {**json.loads(Path(order["plans"]).read_text()), "continue_training": False}
    dataset = json.loads(Path(order["dataset"]).read_text())
    trainer = Published(plans, order["configuration"], order["fold"], dataset, torch.device("cpu"))
    trainer.initialize()
    torch.save(dict(trainer.network.state_dict()), folder / "weights.pt")
    loader, _ = trainer.get_dataloaders()
    drawn = [(each["data"], each["target"][0]) for each in islice(loader, batches)]
    images, labels = zip(*drawn, strict=True)
    np.savez(folder / "batches.npz", image=torch.stack(images).numpy(), label=torch.stack(labels).numpy())


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), int(sys.argv[3]))
