"""Pictures of a case: labels come back exactly, images look like themselves, and nothing weighs more than it may."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segfw.core.imaging.slices import View
from segfw.tracking.case_pictures import SIZES, CaseMaps, Channel, make_pictures, pack, unpack

GREY = (Channel("CT", (0,), 0.0, 100.0),)
AXIAL = View((0, 1, 2))


def decoded(uri: str) -> np.ndarray:
    """Return the pixels of a data URI."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/webp;base64,")))))


def noise(shape: tuple[int, int, int], num_labels: int, channels: int = 1, seed: int = 0) -> CaseMaps:
    """Return a case that cannot be compressed."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 100, (channels, *shape)).astype(np.float32)
    reference, prediction = (rng.integers(0, num_labels + 1, shape, dtype=np.int16) for _ in range(2))
    return CaseMaps(image, reference, prediction, (3.0, 1.0, 0.5))


@given(st.integers(1, 2), st.integers(0, 2**32 - 1))
def test_label_maps_come_back_exactly(bytes_per_pixel, seed):
    labels = np.random.default_rng(seed).integers(0, 256**bytes_per_pixel, (2, 3, 5))
    assert np.array_equal(unpack(pack(labels, bytes_per_pixel), labels.shape, bytes_per_pixel), labels)


@pytest.mark.parametrize(("num_labels", "bytes_per_pixel"), [(25, 1), (300, 2)])
def test_pictures_hold_the_labels_of_the_frame(num_labels, bytes_per_pixel):
    case = noise((4, 20, 30), num_labels)
    pictures = make_pictures(case, GREY, AXIAL, 10_000_000)
    assert (pictures.slices, pictures.num_slices) == ((0, 1, 2, 3), 4)
    assert (pictures.height, pictures.width, pictures.aspect) == (20, 30, 2.0)  # 1 mm high, 0.5 mm wide
    assert pictures.bytes_per_pixel == bytes_per_pixel
    assert pictures.voxel_mm3 == 1.5
    for text, wanted in ((pictures.reference, case.reference), (pictures.prediction, case.prediction)):
        assert np.array_equal(unpack(text, (4, 20, 30), bytes_per_pixel), wanted)


def test_the_image_looks_like_itself():
    image = np.zeros((1, 1, 40, 40), np.float32)
    image[0, 0, :20] = 80.0
    empty = np.zeros((1, 40, 40), np.int16)
    pictures = make_pictures(CaseMaps(image, empty, empty, (1.0, 1.0, 1.0)), GREY, AXIAL, 10_000_000)
    pixels = decoded(pictures.channels["CT"][0])[..., 0].astype(int)
    assert abs(pixels[:16] - 204).max() <= 4  # 80 % of 255
    assert pixels[24:].max() <= 4


def test_colors_stay_colors():
    image = np.zeros((3, 1, 40, 40), np.float32)
    image[1] = 100.0
    empty = np.zeros((1, 40, 40), np.int16)
    case = CaseMaps(image, empty, empty, (999.0, 1.0, 1.0))
    pictures = make_pictures(case, (Channel("color", (0, 1, 2), 0.0, 100.0),), AXIAL, 10_000_000)
    red, green, blue = decoded(pictures.channels["color"][0])[20, 20].astype(int)
    assert green > 245
    assert max(red, blue) < 10


def test_a_turned_view_is_drawn_turned():
    case = noise((4, 20, 30), 3)
    pictures = make_pictures(case, GREY, View((2, 0, 1), flip_rows=True), 10_000_000)
    assert (pictures.num_slices, pictures.height, pictures.width, pictures.aspect) == (30, 4, 20, 3.0)
    found = unpack(pictures.reference, (30, 4, 20), 1)
    assert np.array_equal(found, case.reference.transpose(2, 0, 1)[:, ::-1])


def test_what_is_not_annotated_makes_no_frame():
    reference = np.full((9, 300, 300), 2, np.int16)
    reference[4, 150, 150] = 1
    empty = np.zeros_like(reference)
    image = np.zeros((1, *reference.shape), np.float32)
    case = CaseMaps(image, reference, empty, (1.0, 1.0, 1.0), background=(0, 2))
    pictures = make_pictures(case, GREY, AXIAL, 10_000_000)
    assert (pictures.slices, pictures.height, pictures.width) == ((2, 3, 4, 5, 6), 97, 97)


def test_pictures_get_smaller_until_they_fit():
    case = noise((20, 128, 128), 25)
    large = make_pictures(case, GREY, AXIAL, 10_000_000)
    small = make_pictures(case, GREY, AXIAL, 400_000)
    assert large.num_bytes > 400_000 >= small.num_bytes
    assert small.width < large.width


def test_the_smallest_pictures_fit_whatever_the_images_are():
    """Four channels of noise and 300 labels: 8 slices of 64 x 64 pixels, far below a fifth of what a page has."""
    channels = tuple(Channel(str(index), (index,), 0.0, 100.0) for index in range(4))
    case = noise((8, 64, 64), 300, channels=4)
    assert (SIZES[-1].slices, SIZES[-1].edge) == (8, 64)
    assert make_pictures(case, channels, AXIAL, 0).num_bytes < 600_000
