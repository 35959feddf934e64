import numpy as np
import pytest

from segfw.core.errors import ArtefactError, DataError
from segfw.core.support.locks import hold
from segfw.io.formats.readers import read_geometry, read_label
from segfw.stages.trainings.fold_files import CaseFiles, FoldFiles, fold_io
from tests.stages.tiny_dataset import SHAPE, image_file, label_file, label_of, make


def test_another_process_reads_writes_and_checks_the_lock(tmp_path):
    folder = make(tmp_path / "data")
    image, label = str(image_file(folder, "ann")), str(label_file(folder, "ann"))
    with hold(tmp_path / "lock", "run") as lock:
        files = FoldFiles(
            {"ann": CaseFiles(label, image), "bob": CaseFiles(None, image)}, {2: 7}, str(lock.path), lock.token
        )
        io = fold_io(files)
        array = io.read_reference("ann").array[0]
        assert np.array_equal(array, np.where(label_of("ann") == 2, 7, label_of("ann")))
        with pytest.raises(DataError, match="case bob: has no label map"):
            io.read_reference("bob")
        io.write_segmentation("ann", np.ones(SHAPE, np.uint8), tmp_path / "ann.nii.gz")
        assert read_geometry(tmp_path / "ann.nii.gz") == read_geometry(image)
        assert read_label(tmp_path / "ann.nii.gz").array.all()
        io.check_ownership()
    with pytest.raises(ArtefactError, match="lost the lock"):
        io.check_ownership()
