"""Rules of file names: the forms that datasets really have, and the law that one rule for all finds every case."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.cases.affixes import Affix, find_rule
from segfw.core.errors import DataError

PATIENTS = [f"{number:03}" for number in range(1, 4)]
WORD = st.text("abcdeXY", min_size=1, max_size=4)
KEYS = st.lists(
    st.builds("{}{}{}".format, WORD, st.sampled_from(["", "_", "-", " "]), st.integers(0, 120)),
    min_size=2,
    max_size=8,
    unique=True,
)
BEFORE = st.one_of(st.just(""), st.builds("{}{}".format, WORD, st.sampled_from("_- .")))
SUFFIX = st.builds("{}{}".format, st.sampled_from("_- ."), WORD)
AFTER = st.one_of(st.just(""), SUFFIX)


def rule(images, labels, mixed=False):
    return str(find_rule(images, labels, mixed))


@pytest.mark.parametrize(
    ("images", "labels", "expected"),
    [
        ("a b c", "a b c", "images {case}; label maps {case}"),
        ("a_0000 a_0001 b_0000 b_0001", "a b", "images {case}_0000, {case}_0001; label maps {case}"),
        ("case1_img case2_img", "case1_seg case2_seg", "images {case}_img; label maps {case}_seg"),
        ("IMG_001 IMG_002", "SEG_001 SEG_002", "images IMG_{case}; label maps SEG_{case}"),
        ("ct_1 ct_12", "ct_1_label ct_12_label", "images {case}; label maps {case}_label"),
        (
            "volume-3 volume-13",
            "segmentation-3 segmentation-13",
            "images volume-{case}; label maps segmentation-{case}",
        ),
        ("c1_t1 c1_flair c2_t1 c2_flair", "c1_seg c2_seg", "images {case}_flair, {case}_t1; label maps {case}_seg"),
        ("B_1/B_1_t2 B_2/B_2_t2", "B_1/B_1_seg B_2/B_2_seg", "images {case}_t2; label maps {case}_seg"),
        ("p1/ct p2/ct", "p1 p2", "images {case}/ct; label maps {case}"),
        ("p1_ct2 p1_ct10 p2_ct2 p2_ct10", "p1 p2", "images {case}_ct2, {case}_ct10; label maps {case}"),
        ("xAimg xBimg", "xAseg xBseg", "images {case}img; label maps {case}seg"),
        ("liver", "liver_seg", "images {case}; label maps {case}_seg"),
        ("c1_0000 c1_0001", "c1_seg", "images {case}_0000, {case}_0001; label maps {case}_seg"),
        ("Pat1_2019-04-10", "Pat1_seg", "images {case}_2019-04-10; label maps {case}_seg"),
        ("scan7Image", "scan7Mask", "images {case}Image; label maps {case}Mask"),
    ],
)
def test_the_forms_that_datasets_have(images, labels, expected):
    assert rule(images.split(), labels.split()) == expected


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("case_1", "case_10"),
        ("case_1 case_2", "case_10 case_20"),
        ("ct_1 ct_2", "ct_3 ct_4"),
        ("2020-01-05_x", "2020-01-09_y"),
        ("spleen_2_ct", "liver_3_ct"),
        ("Pat13_2019-04-10", "Pat04_2019-04-10"),
        ("sub-12_ses-10", "sub-10_ses-1"),
        ("sub-12_ses-1", "sub-1"),
        ("case_13_2019", "mask_case_04_2019"),
        ("2019_Pat13", "Pat04_2019"),
        ("apple_ct", "pear_ct"),
        ("a b", "c d"),
        ("", ""),
    ],
)
def test_other_numbers_and_mere_likeness_are_no_pair(images, labels):
    assert find_rule(images.split(), labels.split()) is None


def test_the_closest_image_is_taken_and_not_what_shares_the_patient():
    images = [f"p{patient}_{what}" for patient in PATIENTS for what in ("frame01", "4d")]
    assert rule(images, [f"p{patient}_frame01_gt" for patient in PATIENTS]) == "images {case}; label maps {case}_gt"


def test_a_channel_that_a_minority_of_cases_has_is_none():
    images = [f"p{patient}_{what}" for patient in PATIENTS for what in ("ct", "mr")] + ["p001_old"]
    labels = [f"p{patient}_seg" for patient in PATIENTS]
    assert rule(images, labels) == "images {case}_ct, {case}_mr; label maps {case}_seg"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ("a1 a1_seg a2 a2_seg", "images {case}; label maps {case}_seg"),
        ("a1_img a1_seg a2_img a2_seg", "images {case}_img; label maps {case}_seg"),
        ("sub-2_ct sub-2_ct_seg-manual torso_ct_3mm", "images {case}; label maps {case}_seg-manual"),
        ("c1_t1 c1_t2 c1_seg c2_t1 c2_t2 c2_seg", "images {case}_t1, {case}_t2; label maps {case}_seg"),
        ("a1_x a1_y a2_x a2_y", "None"),
    ],
)
def test_in_one_folder_a_word_tells_label_maps(files, expected):
    assert rule(files.split(), files.split(), mixed=True) == expected


@pytest.mark.parametrize(
    ("images", "labels", "mixed"),
    [
        (["a1", "a2"], ["a1_liver", "a1_tumor", "a2_liver", "a2_tumor"], False),
        (["a1", "a1_seg", "a1_mask", "a2", "a2_seg", "a2_mask"], None, True),
    ],
)
def test_two_ways_are_reported_and_not_guessed(images, labels, mixed):
    with pytest.raises(DataError, match=r"pair 2 of them differently:\n  images \{case\}.*\n  images \{case\}"):
        find_rule(images, labels or images, mixed)


def test_ten_thousand_names_take_seconds():
    numbers = range(10_000)
    found = rule([f"ISIC_{n:07}_a_b" for n in numbers], [f"ISIC_{n:07}_segmentation" for n in numbers])
    assert found == "images {case}_a_b; label maps {case}_segmentation"


@given(keys=KEYS, image=st.builds(Affix, BEFORE, AFTER), label=st.builds(Affix, BEFORE, AFTER))
def test_any_cases_with_any_affixes_pair_exactly(keys, image, label):
    images = {image.name(key): key for key in keys}
    labels = {label.name(key): key for key in keys}
    found = find_rule(images, labels)
    assert found is not None
    (affix,) = found.images
    paired = {name: affix.name(found.label.case(name)) for name in labels if found.label.case(name)}
    assert {labels[name]: images[other] for name, other in paired.items()} == {key: key for key in keys}


@given(
    keys=KEYS,
    channels=st.lists(SUFFIX, min_size=2, max_size=4, unique=True),
    label=st.builds(Affix, BEFORE, st.sampled_from(["", "_seg", "-mask", " v"])),
)
def test_any_channels_pair_exactly(keys, channels, label):
    images = {f"{key}{channel}" for key in keys for channel in channels}
    found = find_rule(images, [label.name(key) for key in keys])
    assert found is not None
    for key in keys:
        case = found.label.case(label.name(key))
        assert case is not None
        assert {affix.name(case) for affix in found.images} == {f"{key}{channel}" for channel in channels}


@given(before=st.text(max_size=5), after=st.text(max_size=5), case=st.text(min_size=1, max_size=5))
def test_name_and_case_are_inverse(before, after, case):
    affix = Affix(before, after)
    assert affix.case(affix.name(case)) == case


@pytest.mark.parametrize(
    ("images", "channels"),
    [
        ("a1 a2", ("",)),
        ("a1_t1 a1_t1ce a2_t1 a2_t1ce", ("t1", "t1ce")),
        ("a1_0000 a1_0001 a2_0000 a2_0001", ("0000", "0001")),
        ("T1_a1 T2_a1 T1_a2 T2_a2", ("T1", "T2")),
    ],
)
def test_the_words_that_vary_name_the_channels(images, channels):
    assert find_rule(images.split(), ["a1", "a2"]).channels == channels
