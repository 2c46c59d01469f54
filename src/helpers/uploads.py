"""Pictures from strangers: bytes to pixels, or one line of refusal (taught in 08).

What a file says of itself counts for nothing: its content decides. The header is judged
before a pixel is decoded, all happens in memory, and nothing but pixels comes out.
"""

from io import BytesIO

import numpy as np
from PIL import Image

from . import images
from .settings import CourseError

FORMATS = ("JPEG", "PNG", "WEBP")
TYPES = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
MAX_BYTES = 10_000_000
MAX_PIXELS = 50_000_000  # of a JPEG, which is decoded smaller: a phone's largest
MAX_WHOLE = 16_000_000  # of what is decoded whole, for a moment up to 25 bytes a pixel
MIN_SIDE = 16  # pixels: below, there is nothing to see (DermaMNIST has 28)
MAX_RATIO = 5  # long to short: beyond, squashing it to a square leaves no likeness
MAX_SCANS = 64  # of a progressive JPEG, where 10 are usual: each costs a whole decoding
SIDE = 448  # pixels of the longer side of what is shown


class Refused(CourseError):
    """A picture that is not taken: one line, and HTTP's number for it."""

    def __init__(self, line: str, status: int = 422):
        super().__init__(line)
        self.status = status


def decode(data: bytes) -> np.ndarray:
    """The pixels of a file (H×W×3 uint8), upright, all else of it dropped."""
    if not data:
        raise Refused(
            "no picture came: send the file's bytes as the body of the request"
        )
    if len(data) > MAX_BYTES:
        raise too_large(MAX_BYTES)
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            judge(image)
            if image.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > MAX_SCANS:
                raise Refused("the JPEG has too many scans; save the picture again")
            return np.asarray(images.upright(image, SIDE))
    except Image.UnidentifiedImageError:
        raise Refused(
            "not a JPEG, PNG or WebP; send a picture of these kinds", 415
        ) from None
    except images.BOMBS:
        raise _too_many_pixels() from None
    except (*images.FAULTS, MemoryError):
        raise Refused(
            "the picture is damaged or cut short; take or send it again"
        ) from None


def judge(image: Image.Image) -> None:
    """Refuses by the header alone."""
    limit = MAX_PIXELS if image.format in ("JPEG", "MPO") else MAX_WHOLE
    if image.width * image.height > limit:
        raise _too_many_pixels()
    fits(image.height, image.width)
    moves = getattr(image, "is_animated", False)
    if (
        moves and image.format != "MPO"
    ):  # of a phone's stack of pictures the first counts
        raise Refused("the picture is animated; send a still one")


def fits(height: int, width: int) -> None:
    """Refuses what is too small or too long to be explained."""
    short, long = sorted((height, width))
    if short < MIN_SIDE:
        raise Refused(
            f"the picture is {width}×{height} pixels; send one of {MIN_SIDE} or more a side"
        )
    if long > MAX_RATIO * short:
        raise Refused(
            f"the picture is {width}×{height} pixels, over {MAX_RATIO} times as long as "
            "wide; cut it around the lesion"
        )


def too_large(limit: int) -> Refused:
    return Refused(f"over {limit / 1e6:g} MB; send a smaller picture", 413)


def _too_many_pixels() -> Refused:
    return Refused(
        f"over {MAX_PIXELS // 1_000_000} million pixels (of a PNG or WebP: "
        f"{MAX_WHOLE // 1_000_000}); send a smaller picture"
    )
