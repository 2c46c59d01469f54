"""Trained models on disk: tensors as safetensors, all else as JSON (taught in 02).

`model.json` says what the model is (backbone, classes, preprocessing), how it came about
(recipe, data set, split) and what it scored; `weights.safetensors` holds the numbers.
Both are data: opening them runs nothing.
"""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from . import weights
from .files import atomic
from .models import Classifier
from .settings import CourseError

WEIGHTS, PAGE = "weights.safetensors", "model.json"
NEEDED = {
    "backbone": str,
    "classes": list,
    "size": int,
    "head": str,
    "mean": list,
    "std": list,
    "sha256": str,
}


def save(model: Classifier, folder: Path, **told) -> dict:
    """Writes a model into a folder, with all that is told about it; returns the page.

    The page is as `load` reads it again: lists for arrays, None for what is no number.
    """
    if taken := sorted(told.keys() & NEEDED.keys()):
        raise CourseError(f"{taken[0]!r} is the model's own; tell it by another name")
    page = {
        "backbone": model.backbone,
        "head": model.kind,
        "classes": model.classes,
        "size": model.size,
        "mean": _shortest(model.mean),
        "std": _shortest(model.std),
    }
    folder = Path(folder)
    with atomic(folder / PAGE) as words, atomic(folder / WEIGHTS) as numbers:
        page["sha256"] = weights.write(model.state_dict(), numbers)
        text = json.dumps(_plain(page | told), indent=1, allow_nan=False)
        words.write_text(text, encoding="utf-8")
    return json.loads(text)


def load(folder: str | Path, device="cpu") -> tuple[Classifier, dict]:
    """The model of a folder, ready to predict, and its page; refused if they disagree."""
    folder = Path(folder)
    page = read_page(folder)
    path = folder / WEIGHTS
    state = weights.read(path)
    if weights.digest(path) != page["sha256"]:
        raise CourseError(
            f"{path}: not the weights that {PAGE} speaks of (another checksum); "
            "take both from the same training"
        )
    with weights.about(folder / PAGE):
        model = Classifier(
            page["backbone"], page["classes"], page["size"], page["head"]
        )
        model.normalise(page["mean"], page["std"])
    weights.check(model.state_dict(), state, str(path))
    model.load_state_dict(state)
    return model.to(device).eval(), page


def read_page(folder: str | Path) -> dict:
    """What model.json says, refused if it does not say enough."""
    path = Path(folder) / PAGE
    try:
        page = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CourseError(
            f"{folder}: no {PAGE} here; give the folder of a trained model "
            "(python -m helpers.trained lists them)"
        ) from None
    except (ValueError, OSError, RecursionError) as error:
        raise CourseError(
            f"{path}: not readable as JSON ({error}); save the model again"
        ) from None
    for name, kind in NEEDED.items():
        if not isinstance(page, dict) or not isinstance(page.get(name), kind):
            raise CourseError(
                f"{path}: does not say {name!r}, or not as a {kind.__name__}; "
                "save the model again"
            )
    return page


def _shortest(values: torch.Tensor) -> list[float]:
    """float32 in the fewest digits that give the same float32 again."""
    return [float(str(value)) for value in values.flatten().cpu().numpy()]


def _plain(value):
    """NumPy's and pandas' values as JSON knows them; what is no finite number is null."""
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if hasattr(value, "tolist"):  # an array, a tensor, a column, NumPy's own numbers
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    return None if value is pd.NA or value is pd.NaT else str(value)


def key(*things) -> str:
    """A short hash of arrays, tensors and plain values: what a cached file depends on."""
    hashed = hashlib.sha256()
    _feed(hashed, things)
    return hashed.hexdigest()[:16]


def _feed(hashed, thing) -> None:
    """Hashes a value, each with its kind and length: (1, 23) is neither (12, 3) nor 123."""
    if isinstance(thing, torch.Tensor):
        thing = thing.detach().cpu().numpy()
    elif hasattr(thing, "to_numpy"):  # a column or a table, whose repr leaves out much
        thing = thing.to_numpy()
    elif isinstance(thing, dict):
        thing = list(thing.items())
    if isinstance(thing, np.ndarray) and thing.dtype == object:
        thing = thing.tolist()
    if isinstance(thing, np.ndarray):
        hashed.update(f"array {thing.shape} {thing.dtype};".encode())
        hashed.update(np.ascontiguousarray(thing).reshape(-1).view(np.uint8))
    elif isinstance(thing, (list, tuple)):
        hashed.update(f"list {len(thing)};".encode())
        for part in thing:
            _feed(hashed, part)
    else:
        text = repr(thing.item() if isinstance(thing, np.generic) else thing)
        hashed.update(f"value {len(text)};{text}".encode())
