"""What a segmentation says of how it was made: a signature of model and settings in the header of its file.

So `predict` does not take what another model has left in the folder for its own. NIfTI, NRRD and MetaImage have room
for it; of other formats, and of files that other programs wrote, it is not known.
"""

import hashlib
import json
from collections.abc import Sequence

from segfw.core.errors import UsageError
from segfw.core.settings.schema import InferenceSettings
from segfw.core.support.conversion import to_plain
from segfw.core.support.words import counted
from segfw.inference.bundle import Bundle
from segfw.io.formats.readers import read_notes
from segfw.stages.prediction.outputs import PredictionCase

BEGINNING = "segfw "
DIGITS = 16
SETTINGS = ("step_size", "mirror", "depth", "samples", "seed", "postprocessing")
"""The settings of `inference` that change a segmentation, besides the members, which a `Bundle` holds."""


def signature_of(bundle: Bundle, settings: InferenceSettings) -> str:
    """Return what tells segmentations by this model and these settings from others; the same wherever it lies."""
    parts = {
        "members": sorted((each.configuration, str(each.fold), each.sha256) for each in bundle.members),
        "deciding": sorted(bundle.last_stages),
        "mirror_axes": sorted(bundle.mirror_axes),
        "postprocessing": [to_plain(step) for step in bundle.postprocessing],
        **{name: getattr(settings, name) for name in SETTINGS},
    }
    return BEGINNING + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:DIGITS]


def refuse_others(cases: Sequence[PredictionCase]) -> None:
    """Raise `UsageError` for segmentations that are there and say that they were made otherwise."""
    there = [(case, read_notes(case.target)) for case in cases if case.is_there]
    others = [case.target for case, notes in there if notes.startswith(BEGINNING) and notes != case.signature]
    if others:
        raise UsageError(
            f"output: {counted(len(others), 'segmentation')} there, {others[0]} first, "
            f"{'was' if len(others) == 1 else 'were'} made by another model or with other inference settings; give "
            "another folder, or overwrite=true to replace what is there"
        )
