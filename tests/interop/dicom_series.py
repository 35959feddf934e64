"""Writes a DICOM series as a scanner would, with all that its class of object requires, to refer to in tests."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
TURN = np.deg2rad(20)
OBLIQUE = ((1.0, 0.0, 0.0), (0.0, float(np.cos(TURN)), float(np.sin(TURN))))
REQUIRED = {
    "CT": {
        "SOPClassUID": CTImageStorage,
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "KVP": "120",
        "AcquisitionNumber": 1,
        "RescaleType": "HU",
    },
    "MR": {
        "SOPClassUID": MRImageStorage,
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "ScanningSequence": "SE",
        "SequenceVariant": "NONE",
        "ScanOptions": "",
        "MRAcquisitionType": "2D",
        "RepetitionTime": "500",
        "EchoTime": "10",
        "EchoTrainLength": 1,
    },
}
PATIENT = {
    "PatientName": "Doe^Jane",
    "PatientID": "P7",
    "PatientBirthDate": "19700101",
    "PatientSex": "F",
    "StudyDate": "20240102",
    "StudyTime": "101112",
    "AccessionNumber": "A9",
    "StudyID": "S3",
    "ReferringPhysicianName": "Roe^R",
    "SpecificCharacterSet": "ISO_IR 100",
}


def write_series(
    folder,
    array,
    axes=AXIAL,
    spacing=(2.5, 0.7, 0.9),
    origin=(-10.0, 20.0, 30.0),
    modality="CT",
    backwards=False,
    study=None,
    frame_of_reference=None,
    **changes,
):
    """Write `array` (Z, Y, X), slice z at origin + z * step, as files in a shuffled order of names.

    `axes`: unit vectors along a row and down a column; `backwards`: slices numbered and acquired from the last to the
    first. `changes`: further attributes; None leaves one out. Returns the UIDs of the slices in the array's order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study, series = study or generate_uid(), generate_uid()
    frame_of_reference = frame_of_reference or generate_uid()
    normal = np.cross(*axes)
    names = np.random.default_rng(0).permutation(len(array))
    uids = []
    for z, (name, pixels) in enumerate(zip(names, array, strict=True)):
        data = Dataset()
        position = np.array(origin) + z * spacing[0] * normal
        own = {
            **PATIENT,
            **REQUIRED[modality],
            "Modality": modality,
            "SOPInstanceUID": generate_uid(),
            "StudyInstanceUID": study,
            "SeriesInstanceUID": series,
            "FrameOfReferenceUID": frame_of_reference,
            "PositionReferenceIndicator": "",
            "SeriesNumber": 4,
            "InstanceNumber": len(array) - z if backwards else z + 1,
            "Manufacturer": "Acme",
            "ManufacturerModelName": "One",
            "ImagePositionPatient": [f"{value:.8g}" for value in position],
            "ImageOrientationPatient": [f"{value:.10g}" for value in (*axes[0], *axes[1])],
            "PixelSpacing": [str(spacing[1]), str(spacing[2])],
            "SliceThickness": str(spacing[0]),
            "PatientPosition": "HFS",
            "Rows": pixels.shape[0],
            "Columns": pixels.shape[1],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 1,
            "PixelData": pixels.astype("<i2").tobytes(),
            **({"RescaleIntercept": "0", "RescaleSlope": "1"} if modality == "CT" else {}),
            **changes,
        }
        for key, value in own.items():
            if value is not None:
                setattr(data, key, value)
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.save_as(folder / f"IM{name:03d}", enforce_file_format=True)
        uids.append(str(own["SOPInstanceUID"]))
    return uids
