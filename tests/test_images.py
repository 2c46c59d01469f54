"""Reading pictures and masks, and their cache."""

import errno
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from helpers import files, images
from helpers.settings import CourseError

# PIL warns of some of the files that we spoil on purpose
pytestmark = [
    pytest.mark.usefixtures("folders"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning"),
]

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]


def table(paths, masks=None) -> pd.DataFrame:
    names = [f"p{i}" for i in range(len(paths))]
    return pd.DataFrame(
        {"image_id": names, "path": list(map(str, paths)), "mask_path": masks}
    )


def saved(folder, picture, name="a.png", **options):
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(folder / name, **options)
    return folder / name


def test_colour_and_grey_are_read_exactly(tmp_path):
    assert (images.read(saved(tmp_path, COLOUR)) == COLOUR).all()
    grey = images.read(saved(tmp_path, GREY))
    assert grey.shape == (12, 16, 3) and (grey == GREY[..., None]).all()


def test_opaque_alpha_is_dropped_and_transparency_lies_on_black(tmp_path):
    alpha = np.full((12, 16, 1), 255, np.uint8)
    opaque = np.concatenate([COLOUR, alpha], axis=2)
    assert (images.read(saved(tmp_path, opaque)) == COLOUR).all()
    clear = np.concatenate([COLOUR, alpha * 0], axis=2)
    assert (images.read(saved(tmp_path, clear)) == 0).all()


def test_a_palette_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (16, 12), 1)
    image.putpalette([255, 0, 0, 0, 200, 0])
    path = saved(tmp_path, image)
    assert (images.read(path) == (0, 200, 0)).all()
    image.putpixel((0, 0), 0)
    path = saved(tmp_path, image, transparency=0)
    assert (images.read(path)[0, :2] == [[0, 0, 0], [0, 200, 0]]).all()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_is_scaled_not_clipped(tmp_path, name):
    deep = np.linspace(0, 65535, 12 * 16).astype(np.uint16).reshape(12, 16)
    read = images.read(saved(tmp_path, deep, name))
    assert (read[..., 0] == np.round(deep / 257)).all()


def test_cmyk(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (16, 12), (0, 255, 255, 0)), "a.jpg")
    assert np.abs(images.read(path).astype(int) - (255, 0, 0)).max() < 6


def test_exif_orientation_is_honoured_by_all_readers(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path, COLOUR, "a.jpg", exif=exif)
    assert images.read(path).shape == (16, 12, 3)
    assert images.shape(path) == (16, 12)
    left = COLOUR * 0
    left[:, :8] = 255  # turned clockwise, the left half is the upper one
    path = saved(tmp_path, left, "b.jpg", exif=exif)
    small = images.load(table([path]), 4)
    assert small[0, 0].min() > 200 and small[0, -1].max() < 50


def broken(folder, kind):
    path = folder / "bad.jpg"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "not a picture":
        path.write_text("<html>404</html>")
    elif kind == "truncated":
        noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        whole = saved(folder, noise, "whole.jpg").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "a folder":
        path.mkdir()
    return path


KINDS = ["missing", "empty", "not a picture", "truncated", "a folder"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "reader",
    [images.read, images.read_mask, lambda path: images.load(table([path]), 8)],
)
def test_a_bad_file_is_named_with_what_it_is(tmp_path, kind, reader):
    path = broken(tmp_path, kind)
    with pytest.raises(CourseError) as error:
        reader(path)
    assert str(path) in str(error.value) and kind in str(error.value)
    assert "usable" in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.glob("out/cache/*.npy"))


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path):
    path = saved(tmp_path, Image.new("1", (20_000, 5_001)))
    with pytest.raises(CourseError, match="over 100 million pixels"):
        images.read(path)


@given(cut=st.integers(0, 900), flips=st.lists(st.integers(0, 8000), max_size=3))
@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.gif"])
def test_a_spoiled_file_is_read_or_refused_never_anything_else(
    tmp_path, name, cut, flips
):
    data = bytearray(saved(tmp_path, COLOUR, name).read_bytes())
    for flip in flips:
        data[flip // 8 % len(data)] ^= 1 << flip % 8
    path = tmp_path / ("spoiled" + name)
    path.write_bytes(data[: max(0, len(data) - cut)])
    try:
        assert images.read(path).dtype == np.uint8
    except CourseError as error:
        assert str(path) in str(error)


def test_masks_of_ones_and_of_255_are_the_same(tmp_path):
    mask = GREY > 100
    for values in (mask, mask.astype(np.uint8), mask * np.uint8(255)):
        assert (images.read_mask(saved(tmp_path, values)) == mask).all()
    assert not images.read_mask(saved(tmp_path, GREY * 0)).any()


def test_a_mask_of_another_size_is_refused(tmp_path):
    with pytest.raises(CourseError, match="mask is 16×12 and its picture 20×10"):
        images.read_mask(saved(tmp_path, GREY), like=(10, 20))


@given(count=st.integers(1, 5), size=st.integers(1, 20), seed=st.integers(0, 99))
@hypothesis_settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_cache_holds_what_reading_gives(tmp_path, count, size, seed):
    rng = np.random.default_rng(seed)
    shapes = rng.integers(1, 30, (count, 2))
    pictures = [rng.integers(0, 256, (*s, 3), dtype=np.uint8) for s in shapes]
    paths = [
        saved(tmp_path, p, f"{seed}-{count}-{i}.png") for i, p in enumerate(pictures)
    ]
    cached = images.load(table(paths), size)
    assert cached.shape == (count, size, size, 3) and cached.dtype == np.uint8
    for row, path in zip(cached, paths, strict=True):
        image = Image.fromarray(images.read(path))
        assert (row == np.asarray(image.resize((size, size), Image.BICUBIC))).all()


def test_the_second_call_reads_the_cache_and_a_new_file_makes_a_new_one(
    tmp_path, monkeypatch
):
    cases = table([saved(tmp_path, COLOUR), saved(tmp_path, GREY, "b.png")])
    first = images.load(cases, 8)
    assert isinstance(first, np.memmap) and not first.flags.writeable
    with monkeypatch.context() as patch:
        patch.setattr(images, "_decode", None)  # nothing is decoded any more
        assert (images.load(cases, 8) == first).all()
    turned = images.load(cases[::-1], 8)
    assert (turned[::-1] == first).all()
    saved(tmp_path, np.vstack([COLOUR, COLOUR]) // 2)
    assert not (images.load(cases, 8) == first).all()


def test_a_broken_cache_is_made_again(tmp_path):
    cases = table([saved(tmp_path, COLOUR)])
    first = np.array(images.load(cases, 8))
    (cache,) = tmp_path.glob("out/cache/*.npy")
    cache.write_bytes(cache.read_bytes()[:-5])
    assert (images.load(cases, 8) == first).all()


def test_two_at_once_make_one_cache(tmp_path):
    cases = table([saved(tmp_path, COLOUR, f"{i}.png") for i in range(30)])
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: images.load(cases, 8), range(2))
    assert (one == other).all() and len(list(tmp_path.glob("out/cache/*.npy"))) == 1


def test_an_empty_table_has_no_pictures():
    assert images.load(table([]), 8).shape == (0, 8, 8, 3)


def test_masks_keep_their_rows_and_their_geometry(tmp_path):
    mask = np.zeros((12, 16), bool)
    mask[:, 8:] = True
    where = str(saved(tmp_path, mask, "m.png"))
    path = saved(tmp_path, COLOUR)
    masks = images.load_masks(table([path, path], [where, where]), 4)
    assert masks.dtype == bool and masks.shape == (2, 4, 4)
    assert (masks == [False, False, True, True]).all()


def test_rows_without_a_mask_are_refused_by_name(tmp_path):
    path = saved(tmp_path, COLOUR)
    with pytest.raises(CourseError, match=r"p0 has no mask \(2 of 2 rows\)"):
        images.load_masks(table([path, path], [None, None]), 4)


def test_masks_of_another_size_than_the_picture(tmp_path):
    mask = saved(tmp_path, GREY[:6] > 9, "m.png")
    with pytest.raises(CourseError, match="16×6 and its picture 16×12"):
        images.load_masks(table([saved(tmp_path, COLOUR)], [str(mask)]), 4)


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(ZeroDivisionError), files.atomic(tmp_path / "a.txt") as part:
        part.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), files.atomic(tmp_path / "folder") as part:
        part.mkdir()
        (part / "a.txt").write_text("half")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_and_leaves_nothing_behind(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1234)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with (
        pytest.raises(CourseError, match="the disk is full, 1,234 bytes are free"),
        files.atomic(tmp_path / "a.npy") as part,
    ):
        part.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_an_out_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XAI_DERM_OUT", str(tmp_path / "file"))
    with pytest.raises(CourseError, match="XAI_DERM_OUT"):
        images.load(table([saved(tmp_path, COLOUR)]), 8)
