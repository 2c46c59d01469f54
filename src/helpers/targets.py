"""What is to be explained: a class, one class a picture, or any score (taught in 03)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from .settings import CourseError


@dataclass(frozen=True)
class Target:
    told: np.ndarray | str  # N classes by number, or the name of another score
    score: Callable  # (values M×C, the picture that each belongs to: M) → M

    def of(self, values: torch.Tensor, picture=None) -> torch.Tensor:
        """One number for each row of logits, or of probabilities."""
        if picture is None:
            picture = torch.arange(len(values), device=values.device)
        found = self.score(values, picture)
        if not torch.is_tensor(found) or found.shape != values.shape[:1]:
            raise CourseError(
                "a target's function must give one number a picture: N×C → N, as in "
                "lambda logits: logits[:, 0] - logits[:, 1]"
            )
        return found


def read(wanted, logits: torch.Tensor, classes=None) -> dict[str, Target]:
    """Targets by name, of a list or a dict of them.

    One is None (the class of the highest logit), a class by number or by name, one of
    these for each picture, or a function of the logits (N×C → N).
    """
    wanted = named(wanted, classes)
    return {name: _target(name, t, logits, classes) for name, t in wanted.items()}


def named(wanted, classes=None) -> dict:
    """What is wanted as a dict: a list's members get names."""
    if isinstance(wanted, dict):
        return wanted
    if wanted is None or isinstance(wanted, (str, int)) or callable(wanted):
        wanted = [wanted]
    names = [_name(target, classes) for target in wanted]
    if len(set(names)) < len(names):
        raise CourseError(
            f"targets {names} are not all different; one class for each picture is "
            f"{{'name': [...]}}, others get names of their own in a dict"
        )
    return dict(zip(names, wanted, strict=True))


def is_each(target) -> bool:
    """Does a target name a class for each picture?"""
    return not callable(target) and np.ndim(target) == 1


def _name(target, classes) -> str:
    if target is None:
        return "predicted"
    if callable(target):
        return getattr(target, "__name__", "score")
    if isinstance(target, (int, np.integer)) and classes and 0 <= target < len(classes):
        return classes[target]
    return str(target) if np.ndim(target) == 0 else "given"


def _target(name: str, target, logits, classes) -> Target:
    if callable(target):
        return Target(name or _name(target, classes), lambda v, _: target(v))
    n, c = logits.shape
    if target is None:
        numbers = logits.argmax(1).tolist()
    elif is_each(target):
        numbers = [_number(one, c, classes) for one in list(target)]
    else:
        numbers = [_number(target, c, classes)] * n
    if len(numbers) != n:
        raise CourseError(f"{len(numbers)} targets for {n} pictures: give one to each")
    index = torch.tensor(numbers, device=logits.device)

    def score(values, picture):
        return values.gather(1, index[picture][:, None])[:, 0]

    return Target(np.array(numbers), score)


def _number(target, c: int, classes) -> int:
    """The number of a class given by number or by name."""
    if isinstance(target, str):
        if not classes or target not in classes:
            known = ", ".join(classes) if classes else f"numbers 0 to {c - 1}"
            raise CourseError(f"unknown class {target!r}: the model knows {known}")
        return list(classes).index(target)
    try:
        number = int(target)
        whole = number == target and not isinstance(target, bool)
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or not 0 <= number < c:
        raise CourseError(f"class {target} is not there: the model has 0 to {c - 1}")
    return number
