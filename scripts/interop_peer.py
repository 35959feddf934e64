"""What `interop_check.py` has nnU-Net do beyond its own commands; runs in nnU-Net's environment, which has no segfw.

interop_peer.py networks PLANS DATASET_JSON            build every network, pass a patch through it, print JSON
interop_peer.py train DATASET CONFIGURATION PLANS      nnU-Net's trainer, for a few iterations instead of 250,000
"""

import functools
import json
import sys
from importlib.metadata import version

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.run.run_training import run_training_entry
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

ITERATIONS = 2


def networks(plans_file: str, dataset_file: str) -> dict[str, object]:
    """Build each configuration's network as nnU-Net does and pass one patch of zeros through it."""
    with open(dataset_file, encoding="utf-8") as file:
        dataset = json.load(file)
    plans = PlansManager(plans_file)
    heads = plans.get_label_manager(dataset).num_segmentation_heads
    built = {}
    for name in plans.available_configurations:
        configuration = plans.get_configuration(name)
        channels = determine_num_input_channels(plans, configuration, dataset)
        network = get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            channels,
            heads,
            deep_supervision=True,
        ).eval()
        with torch.inference_mode():
            outputs = network(torch.zeros(1, channels, *configuration.patch_size))
        built[name] = {
            "input_channels": channels,
            "parameters": sum(p.numel() for p in network.parameters()),
            "outputs": ["x".join(map(str, output.shape)) for output in outputs],
        }
    packages = ("nnunetv2", "dynamic-network-architectures", "batchgeneratorsv2", "torch")
    return {"networks": built, "versions": {package: version(package) for package in packages}}


def train(dataset: str, configuration: str, fold: str, plans: str, validates: bool) -> None:
    """Run nnU-Net's own training command on the CPU: one epoch of `ITERATIONS`, whole cases seen without mirroring."""
    begin = nnUNetTrainer.__init__

    @functools.wraps(begin)
    def begin_short(self: nnUNetTrainer, *arguments: object, **named: object) -> None:
        begin(self, *arguments, **named)
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 1, ITERATIONS, 1

    begin_predictor = nnUNetPredictor.__init__

    @functools.wraps(begin_predictor)
    def begin_without_mirroring(self: nnUNetPredictor, *arguments: object, **named: object) -> None:
        begin_predictor(self, *arguments, **{**named, "use_mirroring": False})

    nnUNetTrainer.__init__, nnUNetPredictor.__init__ = begin_short, begin_without_mirroring
    if not validates:
        nnUNetTrainer.perform_actual_validation = lambda self, save_probabilities=False: None
    sys.argv = ["nnUNetv2_train", dataset, configuration, fold, "-p", plans, "-device", "cpu"]
    run_training_entry()


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "networks":
        sys.stdout.write(json.dumps(networks(*rest)) + "\n")
    else:
        train(*rest, validates=verb == "validate")
