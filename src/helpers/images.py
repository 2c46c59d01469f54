"""Pictures and masks read safely, and their cache at working size (taught in 01).

A picture is H×W×3 uint8 RGB and a mask H×W bool, upright, whatever the file holds.
A bad file is a `CourseError` with the file's name, in `read` as in `load`.
"""

import hashlib
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from filelock import FileLock
from PIL import Image, ImageOps
from tqdm import tqdm

from . import dicom, settings
from .files import atomic, writing
from .settings import CourseError

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP", "PPM")  # none runs a program
MAX_PIXELS = 100_000_000
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
FAULTS = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError)
FAULTS += (struct.error, zlib.error, *BOMBS)  # all that PIL raises over a broken file


def read(path: str | Path, side: int | None = None) -> np.ndarray:
    """One picture as H×W×3 uint8 RGB: upright, 16 bit scaled, transparency on black.

    Where only `side` pixels are wanted, a JPEG may come smaller, at least twice that.

    (PIL gives colour of 16 bit as its upper 8: within one level of the scaled value.)
    """
    try:
        return np.asarray(_decode(path, side))
    except FAULTS as error:
        raise _refusal(path, error) from None


def read_mask(path: str | Path, like: tuple[int, int] | None = None) -> np.ndarray:
    """One mask as H×W bool (drawn in 0/255 or 0/1); `like` is its picture's (H, W)."""
    grey = read(path).max(axis=2)
    if like is not None and grey.shape != tuple(like):
        ours, theirs = (f"{w}×{h}" for h, w in (grey.shape, like))
        raise CourseError(
            f"{path}: the mask is {ours} and its picture {theirs}; "
            "take both from the same release of the data set"
        )
    return grey > (0 if grey.max(initial=0) <= 1 else 127)


def shape(path: str | Path) -> tuple[int, int]:
    """(H, W) as `read` would return it, from the file's header alone."""
    try:
        if _is_dicom(path):
            return dicom.shape(path)
        with _open(path) as image:
            exif = image.getexif() if "exif" in image.info else {}
            turned = exif.get(0x0112, 1) >= 5
            return image.size if turned else image.size[::-1]
    except FAULTS as error:
        raise _refusal(path, error) from None


def fault(path: str | Path) -> str | None:
    """What is wrong with a file in a word or two, or None: the picture is decoded."""
    try:
        _decode(path, side=1)
    except FAULTS as error:
        return _reason(path, error)


def load(table: pd.DataFrame, size: int, out: Path | None = None) -> np.ndarray:
    """The pictures of a table, N×size×size×3 uint8, in its order; memory-mapped.

    The whole picture is squashed to a square, antialiased: nothing is cropped, but the
    proportions change. Kept below `out` (or the course's own folder), and made again
    only when a picture, the order or `size` changes.
    """

    def small(path: str) -> np.ndarray:
        try:
            image = _decode(path, side=size)
        except FAULTS as error:
            raise _refusal(path, error) from None
        return squashed(image, size)

    files = [(path,) for path in _column(table, "path", "picture")]
    return _cached("images", files, (size, size, 3), np.uint8, small, out)


def squashed(image: Image.Image | np.ndarray, size: int) -> np.ndarray:
    """One picture as `load` has it: size×size×3, antialiased."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def boxed(image: np.ndarray, side: int) -> np.ndarray:
    """One picture in its own proportions, its longer side `side` pixels, antialiased."""
    scale = side / max(image.shape[:2])
    size = tuple(max(round(scale * n), 1) for n in image.shape[1::-1])
    way = Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(image).resize(size, way, reducing_gap=3))


def load_masks(table: pd.DataFrame, size: int, out: Path | None = None) -> np.ndarray:
    """The masks of a table, N×size×size bool, squashed just as their pictures are."""

    def small(path: str, picture: str) -> np.ndarray:
        mask = Image.fromarray(read_mask(path, shape(picture)))
        return np.asarray(mask.resize((size, size), Image.Resampling.NEAREST))

    masks, pictures = _column(table, "mask_path", "mask"), _column(table, "path")
    files = list(zip(masks, pictures, strict=True))
    return _cached("masks", files, (size, size), np.bool_, small, out)


def _is_dicom(path: str | Path) -> bool:
    return Path(path).suffix.lower() == ".dcm"


def _open(path: str | Path) -> Image.Image:
    """The file's header, nothing decoded yet."""
    image = Image.open(path, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    return image


def _decode(path: str | Path, side: int | None = None) -> Image.Image:
    """One picture as upright RGB; a JPEG may come smaller, but at least 2 × `side`."""
    if _is_dicom(path):
        return dicom.picture(path)
    with _open(path) as image:
        return upright(image, side)


def upright(image: Image.Image, side: int | None = None) -> Image.Image:
    """An opened picture, decoded: RGB, turned as its EXIF says, and nothing else."""
    if side:
        image.draft(None, (2 * side, 2 * side))  # as PIL's own thumbnails
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith(("I", "F")):
        deep = np.asarray(image)
        if image.mode == "F" or deep.min() < 0 or deep.max() > 65535:
            raise ValueError("32-bit values")
        deep = (deep.astype(np.int32) + 128) // 257  # rounds, and stays small
        return Image.fromarray(deep.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _reason(path: str | Path, error: Exception) -> str:
    path = Path(path)
    if isinstance(error, BOMBS):
        return f"over {MAX_PIXELS // 1_000_000} million pixels"
    if not path.is_file():
        return "a folder" if path.is_dir() else "missing"
    if path.stat().st_size == 0:
        return "empty"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not a picture"
    for reason in ("truncated", "32-bit values", "Permission denied"):
        if reason in str(error):
            return reason
    return "damaged"


def _refusal(path: str | Path, error: Exception) -> CourseError:
    return CourseError(
        f"{path}: {_reason(path, error)}; get the file again, "
        "or leave it out with datasets.usable(table)"
    )


def _column(table: pd.DataFrame, column: str, what: str = "picture") -> list[str]:
    """The paths of a column; a row without one is refused by name."""
    lost = table.loc[table[column].isna(), "image_id"]
    if len(lost):
        raise CourseError(
            f"{lost.iloc[0]} has no {what} ({len(lost):,} of {len(table):,} rows); "
            f"keep the rows that do: table[table.{column}.notna()]"
        )
    return table[column].tolist()


def _cached(kind: str, files: list, shape: tuple, dtype, small, out) -> np.ndarray:
    """The rows that `small(*paths)` makes of each tuple of paths, once."""
    if not files:
        return np.empty((0, *shape), dtype)
    key = hashlib.sha256(repr(shape).encode())
    for path in (path for paths in files for path in paths):
        try:
            stat = os.stat(path)
        except OSError as error:
            raise _refusal(path, error) from None
        key.update(f"\n{path} {stat.st_size} {stat.st_mtime_ns}".encode())
    name = f"{kind}_{shape[0]}_{key.hexdigest()[:16]}.npy"
    cache = Path(out or settings.out_folder()) / "cache" / name
    with writing(cache), FileLock(cache.with_suffix(".lock")):
        try:
            return np.load(cache, mmap_mode="r", allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError):  # none yet, or a broken one
            _write(cache, files, shape, dtype, small)
        return np.load(cache, mmap_mode="r", allow_pickle=False)


def _write(cache: Path, files: list, shape: tuple, dtype, small) -> None:
    """Streams the rows into an .npy file (in a memory map a full disk would kill)."""
    header = {"fortran_order": False, "shape": (len(files), *shape)}
    header["descr"] = np.lib.format.dtype_to_descr(np.dtype(dtype))
    with (
        atomic(cache) as part,
        open(part, "wb") as to,
        ThreadPoolExecutor(2) as pool,  # PIL decodes outside the interpreter's lock
        tqdm(total=len(files), desc=cache.stem, disable=None) as bar,
    ):
        np.lib.format.write_array_header_1_0(to, header)
        for start in range(0, len(files), 256):
            for row in pool.map(
                lambda paths: small(*paths), files[start : start + 256]
            ):
                to.write(row.tobytes())
                bar.update()


def typology_angle(pixels: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """ITA in degrees (N) of the skin in N×H×W×3 pictures: high is light, low is dark.

    From the median colour where `skin` (N×H×W) is true; missing where it never is.
    """
    masked = np.where(skin[..., None], pixels, np.float32(np.nan))
    colour = np.nanmedian(masked.reshape(len(pixels), -1, 3), axis=1)
    lab = cv2.cvtColor(np.float32(colour / 255)[None], cv2.COLOR_RGB2LAB)[0]
    return np.degrees(np.arctan2(lab[:, 0] - 50, lab[:, 2]))
