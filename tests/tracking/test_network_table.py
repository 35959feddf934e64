"""The table of what networks cost."""

from segfw.tracking.network_table import NetworkRow, network_table


def test_numbers_have_units_and_what_is_not_known_a_dash():
    rows = [
        NetworkRow("3d_fullres", "unet (planned)", 31_196_399, 957.4e9, 7.86),
        NetworkRow("2d", "mine", 1_234, None, None),
    ]
    text = network_table(rows)
    cells = "".join(f"<td>{cell}</td>" for cell in ("3d_fullres", "unet (planned)", "31.2 M", "957.4 GFLOP", "7.86 GB"))
    assert cells in text
    assert "On the patch and batch of this command, before either is reduced" in text
    assert "<td>1.23 k</td><td>–</td><td>–</td>" in text


def test_nothing_without_rows():
    assert network_table([]) == ""
