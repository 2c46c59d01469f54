"""A DICOM file as a grey picture, where pydicom is installed (used by images, for 07)."""

from pathlib import Path

import numpy as np
from PIL import Image

from .settings import CourseError


def picture(path: str | Path) -> Image.Image:
    """The first frame as RGB of 8 bit: windowed as the file says, white is dense.

    MONOCHROME1 stores a film as its negative: it is turned.
    """
    file = _opened(path)
    try:
        from pydicom.pixels import apply_rescale, apply_voi_lut

        stored = file.pixel_array
        if int(file.get("SamplesPerPixel", 1)) == 3:
            return Image.fromarray(np.asarray(stored, np.uint8))
        stored = stored if stored.ndim == 2 else stored[0]
        values = np.asarray(apply_voi_lut(apply_rescale(stored, file), file), float)
    except Exception as error:  # a decoder's, of any kind
        raise ValueError(f"its pixels: {error}") from None
    low, high = values.min(), values.max()
    grey = (values - low) / max(high - low, 1e-12)
    if file.PhotometricInterpretation == "MONOCHROME1":
        grey = 1 - grey
    return Image.fromarray(np.uint8(np.rint(255 * grey))).convert("RGB")


def shape(path: str | Path) -> tuple[int, int]:
    """(H, W), from the header alone."""
    file = _opened(path, stop_before_pixels=True)
    return int(file.Rows), int(file.Columns)


def _opened(path, **options):
    try:
        import pydicom
    except ImportError:
        raise CourseError(
            f"{path}: a DICOM file needs pydicom: pip install pydicom, or export the "
            "film as PNG"
        ) from None
    try:
        return pydicom.dcmread(path, **options)
    except pydicom.errors.InvalidDicomError:
        raise ValueError("no DICOM file") from None
