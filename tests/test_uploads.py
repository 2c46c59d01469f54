"""Pictures from strangers: what is taken, what is refused, and nothing else."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import served
from errors import refused
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers import images, uploads

PIXELS = served.skin(0, 48, 80)


def status(data: bytes, *told) -> int:
    refused(lambda: uploads.decode(data), *told)
    try:
        uploads.decode(data)
    except uploads.Refused as error:
        return error.status


def claiming(width: int, height: int) -> bytes:
    """A PNG whose header claims a size and that holds nothing of it."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))]
    parts += [(b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d))
        for n, d in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def modes() -> dict[str, bytes]:
    """The same picture in all ways that a file may hold it."""
    image = Image.fromarray(PIXELS)
    deep = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
    return {
        "CMYK": served.data(image.convert("CMYK"), "JPEG"),
        "grey": served.data(image.convert("L"), "JPEG"),
        "progressive": served.data(image, "JPEG", progressive=True),
        "16 bit": served.data(deep),
        "alpha": served.data(image.convert("RGBA")),
        "palette": served.data(image.convert("P")),
        "1 bit": served.data(image.convert("1")),
        "WebP": served.data(image, "WEBP"),
        "a phone's stack": served.data(
            image, "MPO", save_all=True, append_images=[image]
        ),
    }


@pytest.mark.parametrize("name", modes())
def test_every_way_of_keeping_a_picture_is_read(name):
    found = uploads.decode(modes()[name])
    assert found.shape == PIXELS.shape and found.dtype == np.uint8


def test_a_picture_is_what_the_notebooks_read(tmp_path):
    for kind in ("PNG", "JPEG", "WEBP"):
        path = tmp_path / kind
        path.write_bytes(served.data(PIXELS, kind))
        assert np.array_equal(uploads.decode(path.read_bytes()), images.read(path))
    assert np.array_equal(uploads.decode(served.data(PIXELS)), PIXELS)


@pytest.mark.parametrize("turn", range(1, 9))
def test_it_is_upright_and_all_else_of_its_exif_is_gone(turn):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = turn, "at home"
    found = uploads.decode(served.data(PIXELS, exif=exif))
    ways = [PIXELS, PIXELS[:, ::-1], PIXELS[::-1, ::-1], PIXELS[::-1]]
    ways += [np.swapaxes(ways[k], 0, 1) for k in (0, 3, 2, 1)]
    ways[5], ways[7] = np.rot90(PIXELS, -1), np.rot90(PIXELS, 1)
    ways[6] = np.swapaxes(PIXELS[::-1, ::-1], 0, 1)
    assert type(found) is np.ndarray and np.array_equal(found, ways[turn - 1])


REFUSED = {
    "nothing": (b"", 422, "no picture came"),
    "text": (b"melanoma? " * 50, 415, "JPEG, PNG or WebP"),
    "HTML with a picture in it": (
        b"<html>" + served.data(PIXELS), 415, "JPEG, PNG or WebP",
    ),
    "a drawing": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415, "JPEG"),
    "a GIF": (served.data(PIXELS, "GIF"), 415, "JPEG, PNG or WebP"),
    "a TIFF": (served.data(PIXELS, "TIFF"), 415, "JPEG, PNG or WebP"),
    "one pixel": (served.data(PIXELS[:1, :1]), 422, "1×1", f"{uploads.MIN_SIDE} or more"),
    "a thread": (served.data(np.zeros((40, 400, 3), np.uint8)), 422, "400×40", "cut it"),
    "half a JPEG": (served.data(PIXELS, "JPEG")[:700], 422, "cut short"),
    "half a PNG": (served.data(PIXELS)[:-3000], 422, "cut short"),
    "half a WebP": (served.data(PIXELS, "WEBP")[:-300], 422, "cut short"),
    "10¹⁰ pixels": (claiming(100_000, 100_000), 422, "50 million"),
    "2·10⁷ pixels in PNG": (claiming(5_000, 4_000), 422, "million", "16"),
    "no pixel of those told": (claiming(100, 100), 422, "cut short"),
    "a film in PNG": (
        served.data(PIXELS, save_all=True, append_images=[Image.fromarray(255 - PIXELS)]),
        422, "animated", "still",
    ),
    "a film in WebP": (
        served.data(
            PIXELS, "WEBP", save_all=True, append_images=[Image.fromarray(255 - PIXELS)]
        ),
        422, "animated", "still",
    ),
    "a JPEG of many scans": (
        served.data(PIXELS, "JPEG") + b"\xff\xda" * 80, 422, "too many scans",
    ),
    "too many bytes": (bytes(uploads.MAX_BYTES + 1), 413, "10 MB"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_told_in_one_line(name):
    data, expected, *told = REFUSED[name]
    assert status(data, *told) == expected


def large(kind: str) -> bytes:
    """The largest picture of a kind that is taken, and nearly."""
    n, m = int(uploads.MAX_PIXELS**0.5), int(uploads.MAX_WHOLE**0.5)
    mode, as_, how = {
        "JPEG": ("RGB", "JPEG", {}),
        "progressive": ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
        "CMYK": ("CMYK", "JPEG", {"progressive": True, "subsampling": 0}),
        "PNG": ("RGB", "PNG", {"compress_level": 1}),
        "grey": ("L", "PNG", {"compress_level": 1}),
        "alpha": ("RGBA", "PNG", {"compress_level": 1}),
        "grey alpha": ("LA", "PNG", {"compress_level": 1}),
        "one colour clear": ("P", "PNG", {"compress_level": 1, "transparency": 0}),
        "16 bit": ("I;16", "PNG", {"compress_level": 1}),
        "WebP": ("RGB", "WEBP", {"method": 0}),
        "WebP alpha": ("RGBA", "WEBP", {"method": 0, "lossless": True}),
    }[kind]
    turned = Image.Exif()
    turned[0x0112] = 6
    image = Image.new(mode, (n, n) if as_ == "JPEG" else (m, m))
    return served.data(image, as_, exif=turned, **how)


PEAK = """
import sys
import numpy as np
from helpers import uploads
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("VmHWM")) * 1024
data = sys.stdin.buffer.read()
before = peak()
print(uploads.decode(data).nbytes, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux")
@pytest.mark.parametrize("kind", ["CMYK", "PNG", "alpha", "16 bit", "WebP alpha"])
def test_the_largest_picture_of_a_kind_takes_no_more_than_this_memory(kind):
    """450 MB at the worst: two are decoded at once."""
    run = [sys.executable, "-c", PEAK]
    done = subprocess.run(run, input=large(kind), capture_output=True, check=True)
    pixels, peak = map(int, done.stdout.split())
    assert pixels > 2e6 and pixels < peak < 450e6


def test_a_polyglot_is_its_picture_and_no_more():
    for kind in ("JPEG", "PNG"):
        alone = served.data(PIXELS, kind)
        for tail in (b"PK\x03\x04 a zip", b"<script>alert(1)</script>", alone):
            assert np.array_equal(uploads.decode(alone + tail), uploads.decode(alone))


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=400))
@example(b"\xff\xd8\xff")
@example(b"RIFF\x00\x00\x00\x00WEBPVP8 ")
def test_any_bytes_are_a_picture_or_refused(data):
    try:
        assert uploads.decode(data).dtype == np.uint8
    except uploads.Refused as error:
        assert error.status in (415, 422) and "\n" not in str(error)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.data())
def test_damage_anywhere_is_refused_or_survived(kind, draw):
    broken = bytearray(served.data(PIXELS, kind))
    for _ in range(draw.draw(st.integers(1, 8))):
        broken[draw.draw(st.integers(0, len(broken) - 1))] = draw.draw(
            st.integers(0, 255)
        )
    try:
        assert uploads.decode(bytes(broken)).ndim == 3
    except uploads.Refused as error:
        assert error.status in (415, 422)
