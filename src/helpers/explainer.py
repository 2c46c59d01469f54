"""Pictures in, rows out: the part of an archive that any engine can run (taught in 08)."""

import ctypes
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from math import nan

import numpy as np
import torch

from . import engine, images, uploads
from .engine import Asked, Engine
from .settings import CourseError

BATCH = 16


@dataclass
class Explainer:
    """A dict of arrays with `id` and `path` in, a dict of arrays out, row by row.

    It can be pickled: the model is loaded where it is first called. A picture that
    cannot be read is a row as well, which says why in `error`.
    """

    folder: str  # of the trained model
    method: str = "grad-cam"
    layer: str = "deep"
    device: str = "cpu"
    threads: int = 1  # of the processor, for one Explainer

    def __post_init__(self):
        self._engine: Engine | None = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_engine": None}

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            keep_memory()
            torch.set_num_threads(self.threads)
            self._engine = engine.load(self.folder, self.device)
        return self._engine

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        names, size = self.engine.classes, self.engine.model.size
        rows: list[dict] = []

        def read(path: str):
            return _read(path, size)

        with ThreadPoolExecutor(
            2
        ) as pool:  # the next are read while these are explained
            starts = range(0, len(batch["path"]), BATCH)
            coming = None
            for start in [*starts, None]:
                pictures = [] if coming is None else list(coming)
                if start is not None:
                    coming = pool.map(
                        read, batch["path"][start : start + BATCH].tolist()
                    )
                rows += self._rows(pictures, names)
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        kinds = {"logits": np.float32, "map": np.float16, "valid": bool}
        kinds |= dict.fromkeys(("p", "strangeness"), np.float32)
        return {"id": batch["id"]} | {
            name: np.array(values, kinds.get(name, object))
            for name, values in columns.items()
        }

    def _rows(self, pictures: list, names: list[str]) -> list[dict]:
        """Of up to BATCH pictures, each with its small form, or of what is wrong."""
        if not pictures:
            return []
        good = [p for p in pictures if not isinstance(p, str)]
        asked = [Asked(None, self.method, self.layer)] * len(good)
        told = iter([])
        if good:
            told = iter(
                engine.answers(self.engine, np.stack([p[0] for p in good]), asked)
            )
        return [
            self._empty(p) if isinstance(p, str) else self._row(next(told), p[1], names)
            for p in pictures
        ]

    def _row(self, found, shown: np.ndarray, names: list[str]) -> dict:
        if isinstance(found, CourseError):  # the method does not fit the model
            raise found
        return {
            "error": "",
            "predicted": names[found.target],
            "p": found.probs[found.target],
            "logits": found.logits,
            "strangeness": found.strangeness,
            "valid": found.valid,
            "map": np.float16(found.small),
            "sentence": engine.sentence(self.engine, found, shown).text,
        }

    def _empty(self, why: str) -> dict:
        return {
            "error": why,
            "predicted": "",
            "p": nan,
            "logits": np.full(len(self.engine.classes), nan),
            "strangeness": nan,
            "valid": False,
            "map": np.zeros(self.shape()),
            "sentence": "",
        }

    def shape(self) -> tuple[int, int]:
        """Of the maps of this layer."""
        if not hasattr(self, "_shape"):
            size = self.engine.model.size
            blank = np.zeros((1, size, size, 3), np.uint8)
            (found,) = engine.answers(
                self.engine, blank, [Asked(0, self.method, self.layer)]
            )
            if isinstance(found, CourseError):
                raise found
            self._shape = found.small.shape
        return self._shape


def keep_memory() -> None:
    """Lets glibc keep what is freed: fetched anew for each batch, it costs a quarter."""
    with suppress(OSError, AttributeError):  # another C library has ways of its own
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 32 << 20)  # bytes: only larger pieces are the system's own affair
        mallopt(-1, 512 << 20)  # bytes that may lie free


def _read(path: str, size: int):
    """A picture as the model sees it and as it is shown, or what is wrong with it."""
    try:
        image = images.read(path, uploads.SIDE)
    except CourseError:
        return images.fault(path) or "damaged"
    try:
        uploads.fits(*image.shape[:2])
    except CourseError as error:
        return str(error)
    return images.squashed(image, size), images.boxed(image, uploads.SIDE)
