"""What a case says of its files."""

from segfw.core.cases.dataset import Case


def test_the_files_of_a_case_are_its_images_and_then_its_label_map():
    assert Case("a", ("ct", "pet"), "mask").files == ("ct", "pet", "mask")
    assert Case("a", ("ct",)).files == ("ct",)
