"""Films as DICOM files: white is dense whatever the file says, and what is refused."""

import builtins

import numpy as np
import pytest
from errors import refused

from helpers import images

RAMP = np.linspace(0, 4095, 20 * 30).reshape(20, 30).astype(np.uint16)


def written(path, pixels=RAMP, photometric="MONOCHROME2", **more):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset, FileMetaDataset

    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    file.SOPClassUID, file.SOPInstanceUID = (
        file.file_meta.MediaStorageSOPClassUID,
        "1.2.3",
    )
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, photometric
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, 12, 11
    file.PixelRepresentation, file.PixelData = 0, pixels.tobytes()
    for name, value in more.items():
        setattr(file, name, value)
    pydicom.dcmwrite(path, file, enforce_file_format=True)
    return path


def test_a_film_of_twelve_bits_is_scaled(tmp_path):
    path = written(tmp_path / "a.dcm")
    film = images.read(path)
    assert film.shape == (20, 30, 3) and film.dtype == np.uint8
    assert film[..., 0].ravel()[[0, -1]].tolist() == [0, 255]
    assert np.abs(film[..., 0] - RAMP / 4095 * 255).max() <= 0.5 + 1e-9
    assert images.shape(path) == (20, 30) and images.fault(path) is None


def test_monochrome1_is_turned(tmp_path):
    plain = images.read(written(tmp_path / "a.dcm"))
    turned = images.read(written(tmp_path / "b.dcm", photometric="MONOCHROME1"))
    assert np.abs(turned.astype(int) + plain - 255).max() <= 1


def test_the_window_that_the_file_asks_for_is_used(tmp_path):
    path = written(tmp_path / "a.dcm", WindowCenter="1000", WindowWidth="400")
    grey = images.read(path)[..., 0].ravel()
    values = RAMP.ravel()
    assert (grey[values < 790] == 0).all() and (grey[values > 1210] == 255).all()
    assert 100 < grey[np.abs(values.astype(int) - 1000).argmin()] < 155


def test_what_is_broken_is_named(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(b"not a film" * 30)
    refused(lambda: images.read(path), path, "damaged")
    path = written(tmp_path / "b.dcm")
    path.write_bytes(path.read_bytes()[:-300])
    refused(lambda: images.read(path), path)
    assert images.fault(path)
    refused(lambda: images.read(tmp_path / "none.dcm"), "missing")


def test_without_pydicom_it_says_how_to_go_on(tmp_path, monkeypatch):
    path, real = written(tmp_path / "a.dcm"), builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("pydicom"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    refused(lambda: images.read(path), path, "pip install pydicom", "PNG")
    refused(lambda: images.shape(path), path, "pip install pydicom")
