"""Show that nnU-Net accepts the plans that segfw writes, by running nnU-Net on them in its own environment.

    python scripts/interop_check.py --peer-python PATH --data Task04_Hippocampus [--cases 12] [--record FILE]

A few cases become a raw dataset of nnU-Net. segfw fingerprints and plans it with every planner, and once for so little
memory that a cascade results; nnU-Net then preprocesses by each plans file, builds every network, trains a few
iterations on the CPU and predicts. All of it happens in a temporary folder; what was accepted is printed and recorded.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.common import Peer, lay_out

from segfw import load_dataset, make_fingerprint, make_plan
from segfw.core.cases.dataset import Dataset
from segfw.core.plan import Fingerprint, Plan
from segfw.core.planning.cost import parameter_count
from segfw.core.planning.planners import PLANNERS
from segfw.core.support.cpu import available_cores
from segfw.core.version import __version__
from segfw.interop.nnunet import PLANS_NAMES, read_dataset_json, write_fingerprint, write_plans

NUMBER, NAME = "904", "Dataset904_InteropCheck"
PREDICTED = 2
"""Images that nnU-Net segments with what it has trained (files: one per channel)."""
CASCADE = "segfwCascadePlans"
CASCADE_GIVENS: dict[str, Any] = {"gpu_memory_gb": 0.2, "target_spacing": (0.5, 0.5, 0.5)}
"""So little memory for so fine a grid that the planner adds a low-resolution stage."""
SPARING = {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1", "nnUNet_compile": "f", "CUDA_VISIBLE_DEVICES": ""}
PEER = Path(__file__).with_name("interop_peer.py")
RECORD = Path(__file__).parent / "benchmarks" / "results" / "nnunet_accepts_plans.json"


@dataclass
class Check:
    """The steps of one plans file and what came of them."""

    plans_name: str
    plan: Plan
    givens: dict[str, Any]
    steps: list[dict[str, Any]] = field(default_factory=list)
    networks: dict[str, Any] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether every step went well and every network is the planned one."""
        same = all(entry["parameters"] == entry["parameters_planned"] for entry in self.networks.values())
        return all(step["exit_status"] == 0 for step in self.steps) and bool(self.networks) and same


def main() -> int:
    """Check every plan; return 0 when all are accepted."""
    options = _options()
    root = Path(tempfile.mkdtemp(prefix="segfw-interop-"))
    peer = Peer(options.peer_python.absolute(), root)
    try:
        raw, preprocessed = peer.raw(NAME), peer.preprocessed(NAME)
        lay_out(load_dataset(options.data), options.cases, raw)
        dataset = replace(read_dataset_json(raw / "dataset.json"), name=NAME)
        fingerprint = make_fingerprint(load_dataset(raw), scratch=root)
        shutil.copytree(raw, preprocessed, ignore=shutil.ignore_patterns("*Tr"))
        (root / "images").mkdir()
        for image in sorted((raw / "imagesTr").iterdir())[:PREDICTED]:
            shutil.copy(image, root / "images")
        write_fingerprint(fingerprint, preprocessed / "dataset_fingerprint.json")
        checks = [check(peer, made) for made in make_checks(dataset, fingerprint)]
        versions = _versions(peer)
    finally:
        if options.keep:
            sys.stdout.write(f"kept {root}\n")
        else:
            shutil.rmtree(root)
    record = _record(options, checks, versions)
    options.record.parent.mkdir(parents=True, exist_ok=True)
    options.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{record['accepted']} plans files accepted by nnU-Net; {options.record}\n")
    return 0 if all(entry.accepted for entry in checks) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, required=True, help="an interpreter that has nnunetv2")
    parser.add_argument("--data", type=Path, required=True, help="a dataset folder (Decathlon or nnU-Net layout)")
    parser.add_argument("--cases", type=int, default=12, help="how many cases to take")
    parser.add_argument("--record", type=Path, default=RECORD, help="JSON file of what was accepted")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder and say where it is")
    return parser.parse_args()


def make_checks(dataset: Dataset, fingerprint: Fingerprint) -> list[Check]:
    """Plan with every planner, and once for a cascade under a name of its own."""
    checks = [
        Check(PLANS_NAMES[name], make_plan(dataset, fingerprint, planner=name), {"planner": name}) for name in PLANNERS
    ]
    small = make_plan(dataset, fingerprint, **CASCADE_GIVENS)
    return [*checks, Check(CASCADE, replace(small, planner=CASCADE), CASCADE_GIVENS)]


def check(peer: Peer, made: Check) -> Check:
    """Hand one plans file to nnU-Net; the first step that fails ends it, with its output."""
    plans = peer.preprocessed(NAME) / f"{made.plans_name}.json"
    write_plans(made.plan, plans)
    sys.stdout.write(f"\n{made.plans_name}: {', '.join(made.plan.configurations)}\n")
    for what, command in _steps(peer, made, plans):
        started = time.monotonic()
        answer = _run(peer, command)
        seconds = round(time.monotonic() - started, 1)
        shown = " ".join(command).replace(str(peer.root), "TMP").replace(str(PEER), f"scripts/{PEER.name}")
        shown = shown.replace(f"{peer.python.parent}/", "")
        made.steps.append({"what": what, "command": shown, "exit_status": answer.returncode, "seconds": seconds})
        sys.stdout.write(f"  {what}: {'accepted' if answer.returncode == 0 else 'REFUSED'} ({seconds} s)\n")
        if answer.returncode:
            sys.stdout.write(answer.stdout[-3000:])
            break
        if what == "networks":
            made.networks = _compared(json.loads(answer.stdout.splitlines()[-1])["networks"], made.plan)
        sys.stdout.flush()
    return made


def _steps(peer: Peer, made: Check, plans: Path) -> list[tuple[str, list[str]]]:
    """List (what, command): all of nnU-Net's stages for the default planner, for the others what their networks need.

    The low-resolution network is validated on every case, since the next stage of the cascade learns from all of them.
    """
    name = made.plans_name
    stored = [c for c, planned in made.plan.configurations.items() if planned.previous_stage is None]
    preprocess = peer.command("nnUNetv2_preprocess", "-d", NUMBER, "-plans_name", name, "-np", "1", "--no_pbar", "-c")
    steps = [
        (f"preprocess {', '.join(stored)}", [*preprocess, *stored]),
        ("networks", _script(peer, "networks", str(plans), str(peer.raw(NAME) / "dataset.json"))),
    ]
    trained, fold = [("train", "3d_fullres")], "0"
    if name == PLANS_NAMES["default"]:
        trained = [("validate", "2d"), ("validate", "3d_fullres")]
    if "3d_lowres" in stored:
        trained, fold = [("validate", "3d_lowres"), ("train", "3d_cascade_fullres")], "all"
    steps += [(f"{verb} {c}", _script(peer, verb, NUMBER, c, fold, name)) for verb, c in trained]
    if trained[0][0] == "validate":
        folders = ["-i", str(peer.root / "images"), "-o", str(peer.root / "predicted" / name)]
        model = ["-d", NUMBER, "-p", name, "-c", trained[0][1], "-f", fold]
        options = ["-device", "cpu", "--disable_tta", "-npp", "1", "-nps", "1"]
        steps.append((f"predict {trained[0][1]}", peer.command("nnUNetv2_predict", *folders, *model, *options)))
    return steps


def _script(peer: Peer, *arguments: str) -> list[str]:
    """Return a command of `interop_peer.py`."""
    return [str(peer.python), str(PEER), *arguments]


def _run(peer: Peer, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command with nnU-Net's environment variables; output and errors come back together."""
    environment = {**os.environ, **peer.environment, **SPARING}
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def _compared(built: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """Put our count of parameters beside that of the network which nnU-Net built."""
    for name, entry in built.items():
        count = parameter_count(plan.configuration(name), entry["input_channels"], plan.labels.num_heads)
        entry["parameters_planned"] = count
    return built


def _versions(peer: Peer) -> dict[str, str]:
    packages = "nnunetv2", "dynamic-network-architectures", "torch", "numpy"
    ask = f"import importlib.metadata as m, json; print(json.dumps({{p: m.version(p) for p in {packages!r}}}))"
    theirs: dict[str, str] = json.loads(_run(peer, [str(peer.python), "-c", ask]).stdout.splitlines()[-1])
    return {"segfw": __version__, **theirs}


def _record(options: argparse.Namespace, checks: Sequence[Check], versions: dict[str, str]) -> dict[str, Any]:
    accepted = sum(entry.accepted for entry in checks)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, {available_cores()} cores, {memory:.0f} GB, no GPU",
        "versions": versions,
        "command": "python scripts/interop_check.py --peer-python PATH "
        f"--data {options.data.name} --cases {options.cases}",
        "data": f"{options.data.name}, the first {options.cases} cases",
        "accepted": f"{accepted} of {len(checks)}",
        "plans": [
            {
                "plans_name": entry.plans_name,
                "make_plan": entry.givens,
                "accepted": entry.accepted,
                "steps": entry.steps,
                "networks": entry.networks,
            }
            for entry in checks
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
