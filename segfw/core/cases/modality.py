"""Own words for modalities and CT windows, and what they make of a channel's intensities.

A modality's word becomes the channel's name; from then on nnU-Net's rule decides (`scheme_for_channel`): CT is clipped
and scaled by the dataset's statistics, everything else is z-scored image by image.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from segfw.core.cases.dataset import Dataset, Window
from segfw.core.errors import UsageError
from segfw.core.imaging.normalization import scheme_for_channel
from segfw.core.plan import NORMALIZATIONS, IntensityStatistics
from segfw.core.support.conversion import nearest

MODALITIES: dict[str, tuple[str, ...]] = {
    "CT": ("computed tomography", "CAT", "CTA", "CT angiography", "CECT", "NCCT", "LDCT", "HRCT", "low-dose CT"),
    "CBCT": ("cone-beam CT",),  # its grey values are no Hounsfield units, so it is not clipped like CT
    "MRI": (
        *("MR", "MRT", "magnetic resonance", "magnetic resonance imaging", "NMR", "cine MRI", "cine"),
        *("T1", "T1w", "T1-weighted", "T1c", "T1ce", "T1Gd", "T1post", "T2", "T2w", "T2-weighted", "T2*", "PD", "PDw"),
        *("FLAIR", "T2-FLAIR", "DWI", "ADC", "SWI", "bSSFP", "LGE", "DCE", "MPRAGE", "MRA", "fMRI", "DTI"),
    ),
    "PET": ("positron emission tomography", "PT", "FDG-PET", "SUV"),
    "SPECT": ("single photon emission computed tomography",),
    "X-ray": ("radiograph", "radiography", "CR", "DX", "DR", "CXR", "chest X-ray", "fluoroscopy", "RF", "XA"),
    "mammography": ("mammogram", "MG", "tomosynthesis", "DBT"),
    "ultrasound": ("US", "sonography", "echo", "echocardiography", "IVUS"),
    "OCT": ("optical coherence tomography", "OCTA"),
    "microscopy": ("light microscopy", "EM", "electron microscopy", "SEM", "TEM", "phase contrast", "brightfield"),
    "fluorescence": ("fluorescence microscopy", "confocal", "DAPI", "immunofluorescence", "light sheet"),
    "histology": ("pathology", "histopathology", "H&E", "HE", "WSI", "slide microscopy", "SM"),
    "endoscopy": ("colonoscopy", "laparoscopy", "gastroscopy", "ES", "surgical video"),
    "dermoscopy": ("dermatoscopy", "dermatology"),
    "fundus": ("fundus photography", "OP", "retinal photograph"),
    "photo": ("photograph", "photography", "RGB", "color", "colour", "XC"),
}
COLOR = ("histology", "endoscopy", "dermoscopy", "fundus", "photo")
COLOR_CHANNELS = ("R", "G", "B")

# (level, width) in HU as they are usually set at the workstation (Radiopaedia, "Windowing (CT)"; the middle of ranges)
WINDOWS: dict[str, tuple[float, float]] = {
    "brain": (40, 80),
    "subdural": (75, 215),
    "stroke": (40, 40),
    "temporal bone": (600, 2800),
    "soft tissue": (50, 400),
    "spine": (50, 250),
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "angio": (300, 600),
    "abdomen": (50, 400),
    "liver": (30, 150),
    "bone": (400, 1800),
}


def find_modality(word: str, place: str) -> str:
    """Return the modality that `word` names, in any case; `UsageError` lists those there are."""
    known = {_plain(other): name for name, words in MODALITIES.items() for other in (name, *words)}
    if _plain(word) not in known:
        raise UsageError(
            f"{place}: unknown modality {word!r}{nearest(_plain(word), known) or '.'} "
            f"There are {', '.join(MODALITIES)} (and usual synonyms); "
            "a channel of any other name, z-scored, is given as task.channels=[NAME]"
        )
    return known[_plain(word)]


def channels_of_modality(word: str, num_files: int, place: str) -> tuple[str, ...]:
    """Return the channel names of a dataset of one modality whose cases have `num_files` files each.

    Several files are as many channels; a single file of what is photographed in color holds red, green and blue.
    """
    name = find_modality(word, place)
    return COLOR_CHANNELS if name in COLOR and num_files == 1 else (name,) * num_files


def find_scheme(word: str, place: str) -> str:
    """Return the normalization scheme called `word`, in any case; `UsageError` lists those there are."""
    scheme = word.casefold()
    if scheme not in NORMALIZATIONS:
        raise UsageError(
            f"{place}: unknown normalization {word!r}{nearest(scheme, NORMALIZATIONS) or '.'} "
            f"There are {', '.join(NORMALIZATIONS)}, and null to follow the channel's name"
        )
    return scheme


def find_window(stated: Any, place: str) -> Window:
    """Return the CT window that a word or `{level, width}` in HU names; `UsageError` for anything else."""
    if isinstance(stated, str):
        known = {_plain(name): values for name, values in WINDOWS.items()}
        if _plain(stated) not in known:
            named = ", ".join(f"{name} ({level:g}/{width:g})" for name, (level, width) in WINDOWS.items())
            raise UsageError(
                f"{place}: unknown CT window {stated!r}{nearest(_plain(stated), known) or '.'} "
                f"There are (level/width in HU) {named}; or give {{level: 40, width: 400}}"
            )
        return Window(*known[_plain(stated)])
    if not isinstance(stated, Mapping) or set(stated) != {"level", "width"}:
        raise UsageError(f"{place} must be {{level: 40, width: 400}} in HU, or a word such as lung, got {stated!r}")
    level, width = (stated[key] for key in ("level", "width"))
    for key, value in (("level", level), ("width", width)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(f"{place}: the {key} must be a number of HU, got {value!r}")
    if width <= 0:
        raise UsageError(f"{place}: the width must be above 0 HU, got {width}")
    return Window(float(level), float(width))


def channel_schemes(dataset: Dataset) -> tuple[str, ...]:
    """Return the normalization scheme of each channel: what the dataset states, else what the channel's name asks for.

    `UsageError` for another number of stated schemes than channels, and for a window without a CT channel.
    """
    names = dataset.channel_names
    stated = dataset.normalization or (None,) * len(names)
    if len(stated) != len(names):
        raise UsageError(
            f"task.normalization needs one entry for each of the {len(names)} channels {list(names)}, "
            f"got {list(stated)}"
        )
    schemes = tuple(given or scheme_for_channel(name) for given, name in zip(stated, names, strict=True))
    if dataset.window is not None and "ct" not in schemes:
        raise UsageError(
            f"task.window is for CT, but the channels {list(names)} are normalized as {list(schemes)}; "
            "leave it out, or give task.normalization=[ct] (one entry per channel)"
        )
    return schemes


def windowed(statistics: IntensityStatistics, window: Window) -> IntensityStatistics:
    """Return the statistics with which the scheme `ct` clips to `window` and scales it to -1..1, whatever the data."""
    half = window.width / 2
    return IntensityStatistics(
        mean=window.level,
        median=statistics.median,
        std=half,
        min=statistics.min,
        max=statistics.max,
        percentile_99_5=window.level + half,
        percentile_00_5=window.level - half,
    )


def describe_scheme(scheme: str, use_mask: bool, statistics: IntensityStatistics) -> str:
    """Say in words what a scheme does to the intensities of a channel."""
    if scheme == "ct":
        low, high = statistics.percentile_00_5, statistics.percentile_99_5
        clipped = f"clipped to {low:.6g}..{high:.6g} HU"
        level, half = (low + high) / 2, (high - low) / 2
        if max(abs(statistics.mean - level), abs(statistics.std - half)) <= 1e-9 * max(abs(level), half):
            return f"{clipped} (window {statistics.mean:.6g}/{high - low:.6g}), scaled to -1..1"
        return (
            f"{clipped} (percentiles 0.5 and 99.5 of the foreground), "
            f"then minus {statistics.mean:.6g}, divided by {statistics.std:.6g} (its mean and standard deviation)"
        )
    return {
        "zscore": "z-score of each image" + (", inside the nonzero mask" if use_mask else ""),
        "nonorm": "left as it is",
        "rescale_to_0_1": "each image scaled to 0..1",
        "rgb_to_0_1": "divided by 255",
    }[scheme]


def _plain(word: str) -> str:
    """Return a word without case, blanks, hyphens and underscores."""
    return re.sub(r"[\s_\-]+", "", word).casefold()
