"""Transfers that resume, are verified, and never fill a disk (behind 01's downloads)."""

import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pooch
import requests
from filelock import FileLock
from tqdm import tqdm

from .files import atomic, writing
from .settings import CourseError

TIMEOUT = (10, 60)  # seconds to connect, seconds without a byte
LIMIT = 50_000_000_000  # bytes: no file of ours is larger
DAMAGE = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, NotImplementedError)
TRIES = 3  # broken connections in a row that brought nothing new

pooch.get_logger().setLevel("WARNING")


def fetch(
    url: str,
    path: str | Path,
    known_hash: str | None,
    size: int | None = None,
    unpacked: int = 0,
) -> Path:
    """A file from the net, resumed where it broke, verified, whole or not there at all.

    `known_hash` as pooch has it ("md5:…"), or None if nobody published one; `size` in
    bytes, `unpacked` what it will take on top.
    """
    path = Path(path)
    if path.is_file() and size is not None and path.stat().st_size != size:
        path.unlink()
    part, lock = (path.with_name(f".{path.name}.{end}") for end in ("part", "lock"))
    hand = f"open it in a browser and save it as {path}"

    def download(url: str, output: str, _pooch) -> None:
        _resume(url, part, size, unpacked)
        shutil.move(part, output)

    try:
        with writing(path), FileLock(lock), net(url, hand):
            pooch.retrieve(url, known_hash, path.name, path.parent, downloader=download)
    except ValueError:  # pooch's word for a wrong checksum: its file is gone
        raise CourseError(
            f"{url}: the checksum is wrong, so the file was removed; run again, or {hand}"
        ) from None
    return path


@contextmanager
def net(url: str, hand: str) -> Iterator[None]:
    """What goes wrong on the net is a `CourseError` that says what to do by hand."""
    try:
        yield
    except requests.RequestException as error:
        what = "no connection"
        if error.response is not None:
            what = f"the server answers {error.response.status_code}"
        elif isinstance(error, requests.Timeout):
            what = "no answer in time"
        raise CourseError(
            f"{url}: {what}; run the same again to go on where it broke, or {hand}"
        ) from None


def _resume(url: str, part: Path, size: int | None, unpacked: int) -> None:
    """Downloads into `part`, behind what is there; again while it brings new bytes."""
    tries = TRIES
    while True:
        have = part.stat().st_size if part.exists() else 0
        if size is not None:
            room(part.parent, size + unpacked - have)
        try:
            return _stream(url, part, have, size, unpacked)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            grew = part.exists() and part.stat().st_size > have
            tries = TRIES if grew else tries - 1
            if not tries:
                raise


def _stream(url: str, part: Path, have: int, size: int | None, unpacked: int) -> None:
    """One request for what is missing behind the first `have` bytes."""
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        code, span = answer.status_code, answer.headers.get("Content-Range", "")
        if code == 416 and span.endswith(f"/{have}"):  # we have it all
            return
        if code == 416 or (code == 206 and not span.startswith(f"bytes {have}-")):
            part.unlink()
            raise requests.ConnectionError("not what we asked for: begin anew")
        if code not in (200, 206):
            raise requests.HTTPError(response=answer)
        have = have if code == 206 else 0  # 200: the server begins anew
        length = answer.headers.get("Content-Length")
        total = size if length is None else have + int(length)
        if total is not None:
            _expected(url, total, size)
            room(part.parent, total - have + unpacked)
        meter = {"total": total, "initial": have, "unit": "B", "unit_scale": True}
        mode = "ab" if have else "wb"
        with open(part, mode) as to, tqdm(**meter, disable=None) as bar:
            for block in answer.iter_content(1 << 16):
                have += len(block)
                if have > (total or LIMIT):
                    _expected(url, have, total)
                to.write(block)
                bar.update(len(block))
    if total is not None and have < total:
        raise requests.ConnectionError(f"ended after {have:,} of {total:,} bytes")


def _expected(url: str, total: int, size: int | None) -> None:
    """Refuses a file of another size than it should have, or beyond any of ours."""
    if total > LIMIT or (size is not None and total != size):
        raise CourseError(
            f"{url}: {total:,} bytes instead of {size or LIMIT:,}; "
            "look at the address in a browser before you go on"
        )


def room(folder: Path, need: int) -> None:
    """Refuses what the disk cannot take."""
    there = next(p for p in (folder, *folder.resolve().parents) if p.exists())
    free = shutil.disk_usage(there).free
    if need > free:
        raise CourseError(
            f"{folder}: needs {need:,} bytes and {free:,} are free; "
            "make room, or choose a folder on another disk (--to FOLDER)"
        )


def unzip(archive: str | Path, folder: str | Path, discard: bool = False) -> Path:
    """Unpacks a zip into `folder`, which appears whole; its checksums are verified.

    macOS's stubs are left out; a name that leaves the folder, or an absurd size, is
    refused. One folder that holds all the rest is not repeated. With `discard` a
    damaged archive is removed, so that the next try gets another.
    """
    archive, folder = Path(archive), Path(folder)
    try:
        with zipfile.ZipFile(archive) as file, atomic(folder) as part:
            part.mkdir()
            members = _members(archive, file.infolist(), part.resolve())
            room(folder.parent, sum(m.file_size for m in members))
            tops = {m.filename.split("/")[0] for m in members}
            nested = len(tops) == 1 and all("/" in m.filename for m in members)
            for member in tqdm(members, desc=archive.name, disable=None):
                if nested:
                    member.filename = member.filename.split("/", 1)[1]
                file.extract(member, part)
    except DAMAGE as error:
        if discard:
            archive.unlink()
        what = "was removed: run" if discard else "remove it and run"
        raise CourseError(f"{archive}: is damaged ({error}); {what} again") from None
    return folder


def _members(archive: Path, members: list, inside: Path) -> list[zipfile.ZipInfo]:
    """Those that hold data, if none would lie outside and all have a sane size."""
    members = [m for m in members if not _stub(m)]
    total = sum(m.file_size for m in members)
    if total > 100 * archive.stat().st_size:
        raise CourseError(f"{archive}: would unpack to {total:,} bytes; refused")
    for member in members:
        if not (inside / member.filename).resolve().is_relative_to(inside):
            raise CourseError(
                f"{archive}: {member.filename} would lie outside; refused"
            )
    return members


def _stub(member: zipfile.ZipInfo) -> bool:
    """What holds no data: a folder's own entry, and what macOS leaves in zips."""
    *above, name = member.filename.split("/")
    return name == "" or name.startswith("._") or "__MACOSX" in above
