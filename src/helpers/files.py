"""Files written whole or not at all, for caches and downloads (seen at work in 01)."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from .settings import CourseError, out_folder


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Makes the folder of `path`; what the disk refuses inside is a `CourseError`."""
    folder = Path(path).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CourseError(
            f"{folder}: cannot be made ({error.strerror}); "
            "choose a folder of yours (XAI_DERM_OUT, XAI_DERM_DATA)"
        ) from None
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(folder).free
            raise CourseError(
                f"{path}: the disk is full, {free:,} bytes are free; "
                "make room, or choose a folder on another disk (XAI_DERM_OUT, _DATA)"
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise CourseError(
                f"{path}: may not be written ({error.strerror}); "
                "choose a folder of yours (XAI_DERM_OUT, XAI_DERM_DATA)"
            ) from None
        raise


def below_out(*parts: str) -> Path:
    """A path below the folder of what the course makes; its own folder exists."""
    path = out_folder().joinpath(*parts)
    with writing(path):
        return path


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A path beside `path`, for a file or a folder: renamed at the end, or removed."""
    path = Path(path)
    part = path.with_name(f".{uuid4().hex[:8]}-{path.name}")
    try:
        with writing(path):
            yield part
            os.replace(part, path)
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)
