"""Captioners, asked once: sentences and forced choices, cached (taught in notebook 05).

A captioner has a name, `caption` and `score`. What it answers is kept on disk by the
picture's bytes, the prompt and the name: a second call costs nothing, and a session that
was lost goes on where it was. So a name must say all that shapes an answer: which
weights, in which precision, fine-tuned on what.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from . import saved
from .files import below_out, writing
from .settings import CourseError, watched
from .slots import CANNOT, STRUCTURES

# The source's own words (its section 3.4), with its slip "a expert".
PROMPTS = {
    "GLOBAL": "You are a expert in examining images of lesions. "
    "Provide one clinical sentence. State symmetry (symmetric/asymmetric), "
    "border (regular/irregular), color (single/multiple), "
    "texture (flat/raised, scaly/smooth). No diagnosis.",
    "ROI": "Focus only on the lesion. One clinical sentence stating symmetry, border, "
    "color distribution, diameter in millimeters if visible, and texture. "
    "No diagnosis.",
    "FOCUSED": "With background dimmed, describe symmetry, border, "
    "color distribution, texture, and any visible structures "
    "(dots, streaks, network). No diagnosis.",
}
ENDLESS = " …"  # marks an answer that did not come to its end
CHUNK = 16  # pictures between two writings: what a lost session loses


class Captioner(Protocol):
    name: str

    def caption(self, images: list[np.ndarray], prompt: str) -> list[str]:
        """A sentence for each picture (H×W×3 uint8)."""

    def score(
        self, images: list[np.ndarray], prompt: str, answers: list[str]
    ) -> np.ndarray:
        """Log-probability of each answer, summed over its tokens (N×A)."""


def ask(captioner: Captioner, images: list[np.ndarray], prompt: str) -> list[str]:
    """What a captioner says of each picture, without the prompt; asked only once."""
    said = _kept(
        captioner,
        images,
        ("ask", prompt),
        lambda some: [checked(text) for text in captioner.caption(some, prompt)],
    )
    return [bare(answer, prompt) for answer in said]


def choose(
    captioner: Captioner,
    images: list[np.ndarray],
    prompt: str,
    options: list[str],
    seed: int = 0,
) -> list[str]:
    """The option that a captioner finds likeliest for each picture; asked only once.

    A model likes what it read first or last. So each picture is asked as often as there
    are options, in orders that put each option in each place once (the seed draws the
    first order). An option's score is the mean over the orders of its log-probability,
    divided by its number of words: a second word is hardly ever a free choice, and
    words, unlike tokens, are the same for all models. Equal scores: first in the alphabet.
    """
    options = sorted(set(options))
    if len(options) < 2 or not all(option.strip() for option in options):
        raise CourseError(f"a choice needs two options with words, not {options}")
    order = np.random.default_rng(seed).permutation(options).tolist()
    orders = [order[turn:] + order[:turn] for turn in range(len(order))]
    scores = [_scores(captioner, images, question(prompt, o), options) for o in orders]
    words = [len(option.split()) for option in options]
    best = (np.mean(scores, 0) / words).argmax(1)
    return [options[i] for i in best]


def question(prompt: str, options: list[str]) -> str:
    """A prompt with the answers to choose from, in this order."""
    return f"{prompt} Options: {', '.join(options)}. Answer:"


def _scores(captioner, images, prompt: str, options: list[str]) -> np.ndarray:
    """Log-probabilities N×A, in the order of `options`."""
    rows = _kept(
        captioner,
        images,
        ("score", prompt, options),
        lambda some: np.asarray(captioner.score(some, prompt, options)).tolist(),
    )
    return np.reshape(rows, (-1, len(options)))


def of_slots(answers: dict[str, str]) -> str:
    """A caption that says what slots hold, such as PH2's experts': to learn from.

    What one cannot tell is left out; what is absent is denied.
    """
    form = {"symmetric": "A symmetric", "asymmetric": "An asymmetric"}
    text = f"{form.get(answers['asymmetry'], 'A')} lesion"
    colours = {"one": "one colour", "two": "two colours"}
    colours["three or more"] = "multiple colours"
    if answers["colours"] in colours:
        text += f" in {colours[answers['colours']]}"
    border = answers["border"]
    if border in ("regular", "irregular"):
        text += f" with {'an' if border == 'irregular' else 'a'} {border} border"
    there, gone = [], []
    for slot in STRUCTURES:
        name = slot.split(" or ")[0]
        if answers[slot] == "absent":
            gone.append(f"no {name}")
        elif answers[slot] != CANNOT:
            there.append(f"{answers[slot]} {name}".replace("present ", ""))
    text += f", showing {', '.join(there)}" if there else ""
    return f"{text}; {', '.join(gone)}." if gone else f"{text}."


def checked(text: str, ended: bool = True) -> str:
    """An answer as one line. One without end is cut after its last full sentence, marked.

    Where it has no full sentence, all of it stays, marked likewise; nothing said is ''.
    """
    text = " ".join(text.split())
    if ended:
        return text
    full = re.match(r".*[.!?](?=\s|$)", text)
    return f"{full.group() if full else text}{ENDLESS}".strip()


def bare(answer: str, prompt: str) -> str:
    """The answer without the prompt, where the model begins by repeating it."""
    answer, prompt = " ".join(answer.split()), " ".join(prompt.split())
    rest = answer[len(prompt) :]
    echoed = prompt and answer.lower().startswith(prompt.lower())
    return answer if not echoed or rest[:1].isalnum() else rest.strip()


def counts(answers: list[str]) -> dict[str, int]:
    """How many answers there are, how many are empty, and how many did not end."""
    return {
        "answers": len(answers),
        "empty": sum(not answer.removesuffix(ENDLESS.strip()) for answer in answers),
        "endless": sum(answer.endswith(ENDLESS.strip()) for answer in answers),
    }


def _kept(captioner, images, about: tuple, answer: Callable[[list], list]) -> list:
    """An answer about each picture: from the cache, or from `answer` and kept at once."""
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise CourseError(
                f"a picture to caption must be H×W×3 uint8, not {image.shape} "
                f"{image.dtype}: helpers.images.load gives such pictures"
            )
    name = re.sub(r"[^\w.-]+", "-", captioner.name)[-80:]
    path = below_out("cache", "captions", f"{name}.jsonl")
    keys = [saved.key(captioner.name, *about, image) for image in images]
    with _locked(path):
        known = dict(_read(path))
    new = {k: p for k, p in zip(keys, images, strict=True) if k not in known}
    todo = list(new)
    for start in tqdm(
        range(0, len(todo), CHUNK), desc=captioner.name, disable=not watched()
    ):
        some = todo[start : start + CHUNK]
        said = answer([new[k] for k in some])
        fresh = dict(zip(some, said, strict=True))
        known |= fresh
        rows = [{"key": k, "about": about, "answer": a} for k, a in fresh.items()]
        with _locked(path), path.open("a", encoding="utf-8") as file:
            # A line begins with its break: one that was cut off spoils no other.
            file.writelines(f"\n{json.dumps(row)}" for row in rows)
    return [known[k] for k in keys]


def _locked(path: Path) -> FileLock:
    with writing(path):
        return FileLock(path.with_suffix(".lock"))


def _read(path: Path) -> Iterator[tuple[str, str | list]]:
    """Key and answer of each whole line of a cache; a broken line is asked again."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
            yield row["key"], row["answer"]
        except (ValueError, TypeError, KeyError):
            continue
