"""What the seven classes look like, in numbers and words. Behind the synthetic set (01).

A class is told by its hallmarks, the structures that dermatologists look for; shape and
colour overlap between classes on purpose.
"""

import numpy as np

from .dermoscopy import STRUCTURES

TONES = {  # how often each skin tone is drawn
    "very light": 0.24,
    "light": 0.26,
    "intermediate": 0.22,
    "tan": 0.14,
    "brown": 0.09,
    "dark": 0.05,
}

COLOURS = ("light brown", "dark brown", "black", "blue-grey", "purple", "red", "white")

REDDENS = {"lacunae", "arborising vessels", "strawberry pattern", "ulceration"}
REDDENS |= {"central white patch"}  # its rim is pink
WHITENS = {"central white patch", "regression", "scale", "milia-like cysts"}

# A class: ranges of its shape and colour, chances of its colour zones, of its hallmarks
# (the structures that tell it) and of structures that it shares with other classes.
RECIPES = {
    "akiec": {
        "shape": dict(
            radius=(0.20, 0.42),
            lopsided=(0.1, 0.8),
            irregularity=(0.2, 0.8),
            elongation=(1.0, 1.7),
            softness=(5, 14),
            islands=(0, 3),
        ),
        "colour": dict(
            brown=(0.05, 0.45), red=(0.15, 0.50), purple=(0, 0.1), pale=(0, 0.12)
        ),
        "zones": {"light brown": 0.2, "dark brown": 0.25, "red": 0.35},
        "hallmarks": {"scale": 0.8, "strawberry pattern": 0.7},
        "shared": {"regular globules": 0.05, "ulceration": 0.08},
        "age": 68,
    },
    "bcc": {
        "shape": dict(
            radius=(0.16, 0.40),
            lopsided=(0.1, 0.8),
            irregularity=(0.1, 0.6),
            elongation=(1.0, 1.7),
            softness=(4, 11),
            islands=(0, 2),
        ),
        "colour": dict(
            brown=(0.0, 0.25), red=(0.10, 0.38), purple=(0, 0.2), pale=(0.05, 0.22)
        ),
        "zones": {"red": 0.35, "white": 0.3, "light brown": 0.15, "dark brown": 0.1},
        "hallmarks": {"arborising vessels": 0.8, "blue-grey nests": 0.6},
        "shared": {"ulceration": 0.3, "scale": 0.08, "irregular dots": 0.08},
        "age": 67,
    },
    "bkl": {
        "shape": dict(
            radius=(0.18, 0.42),
            lopsided=(0.0, 0.7),
            irregularity=(0.1, 0.7),
            elongation=(1.0, 1.7),
            softness=(0.7, 4),
            islands=(0, 2),
        ),
        "colour": dict(
            brown=(0.25, 1.0), red=(0.0, 0.22), purple=(0, 0.05), pale=(0, 0.10)
        ),
        "zones": {"dark brown": 0.4, "light brown": 0.4, "black": 0.1},
        "hallmarks": {"milia-like cysts": 0.8, "comedo-like openings": 0.7},
        "shared": {"typical network": 0.15, "scale": 0.1, "irregular dots": 0.1},
        "age": 64,
    },
    "df": {
        "shape": dict(
            radius=(0.14, 0.32),
            lopsided=(0.0, 0.3),
            irregularity=(0.0, 0.25),
            elongation=(1.0, 1.35),
            softness=(5, 13),
            islands=(0, 1),
        ),
        "colour": dict(
            brown=(0.25, 0.75), red=(0.05, 0.35), purple=(0, 0.2), pale=(0, 0.05)
        ),
        "zones": {"light brown": 0.2, "red": 0.15},
        "hallmarks": {"central white patch": 0.95, "peripheral network": 0.7},
        "shared": {"regular globules": 0.05},
        "age": 51,
    },
    "mel": {
        "shape": dict(
            radius=(0.18, 0.46),
            lopsided=(0.35, 1.0),
            irregularity=(0.2, 1.0),
            elongation=(1.0, 1.8),
            softness=(1, 5),
            islands=(0, 2),
        ),
        "colour": dict(
            brown=(0.35, 1.4), red=(0.0, 0.28), purple=(0, 0.12), pale=(0, 0.06)
        ),
        "zones": {
            "dark brown": 0.55,
            "black": 0.4,
            "blue-grey": 0.3,
            "light brown": 0.4,
            "red": 0.25,
            "white": 0.1,
        },
        "hallmarks": {
            "atypical network": 0.55,
            "irregular dots": 0.5,
            "streaks": 0.4,
            "blue-white veil": 0.45,
            "regression": 0.25,
        },
        "shared": {"typical network": 0.1, "milia-like cysts": 0.06},
        "age": 61,
    },
    "nv": {
        "shape": dict(
            radius=(0.11, 0.38),
            lopsided=(0.0, 0.6),
            irregularity=(0.0, 0.5),
            elongation=(1.0, 1.6),
            softness=(1.5, 7),
            islands=(0, 1),
        ),
        "colour": dict(
            brown=(0.35, 1.4), red=(0.0, 0.25), purple=(0, 0.06), pale=(0, 0.05)
        ),
        "zones": {"dark brown": 0.45, "light brown": 0.3, "black": 0.1, "red": 0.08},
        "hallmarks": {"typical network": 0.7, "regular globules": 0.5},
        "shared": {"irregular dots": 0.06, "milia-like cysts": 0.04},
        "age": 46,
    },
    "vasc": {
        "shape": dict(
            radius=(0.09, 0.32),
            lopsided=(0.0, 0.4),
            irregularity=(0.0, 0.4),
            elongation=(1.0, 1.5),
            softness=(1, 5),
            islands=(0, 2),
        ),
        "colour": dict(
            brown=(0.0, 0.15), red=(0.2, 0.6), purple=(0.1, 0.5), pale=(0, 0.08)
        ),
        "zones": {"purple": 0.35, "white": 0.15},
        "hallmarks": {"lacunae": 1.0},
        "shared": {"scale": 0.05},
        "age": 51,
    },
}


def describe(rng, label: str) -> dict:
    """The attributes of one lesion of a class, drawn by chance."""
    recipe = RECIPES[label]
    a = {k: round(rng.uniform(*v), 3) for k, v in recipe["shape"].items()}
    a |= {k: round(rng.uniform(*v), 3) for k, v in recipe["colour"].items()}
    a["islands"] = int(a["islands"] * rng.random())
    a["mottle"] = round(rng.uniform(0.10, 0.20) + 0.25 * a["lopsided"], 3)
    a["zones"] = [c for c, p in recipe["zones"].items() if rng.random() < p]
    marks, shared = recipe["hallmarks"], recipe["shared"]
    has = [s for s, p in (marks | shared).items() if rng.random() < p]
    if not set(has) & set(marks):  # the class is always told by something
        p = np.array(list(marks.values()))
        has.append(str(rng.choice(list(marks), p=p / p.sum())))
    a["structures"] = [s for s in STRUCTURES if s in has]
    a["hallmarks"] = [s for s in a["structures"] if s in marks]
    a["skin_tone"] = str(rng.choice(list(TONES), p=list(TONES.values())))
    a["colours"] = colours(a)
    return a


def colours(a: dict) -> list[str]:
    """The names of the colours that one would see, at least one."""
    has = set(a["structures"])
    seen = set(a["zones"])
    if a["brown"] > 0.15 or (not seen and a["brown"] >= a["red"]):
        seen.add("dark brown" if a["brown"] > 0.8 else "light brown")
    if a["red"] > 0.28 or not seen or has & REDDENS:
        seen.add("red")
    if a["purple"] > 0.2:
        seen.add("purple")
    if has & {"blue-white veil", "blue-grey nests", "regression"}:
        seen.add("blue-grey")
    if has & WHITENS:
        seen.add("white")
    return [name for name in COLOURS if name in seen]


def caption(a: dict, present: list[str]) -> str:
    """One sentence that is true of the picture, made from its attributes."""

    def join(words):
        *most, last = words
        return f"{', '.join(most)} and {last}" if most else last

    even = a["lopsided"] <= 0.5 and a["irregularity"] <= 0.6 and not a["islands"]
    form = "A symmetric" if even else "An asymmetric"
    edge = "irregular" if a["irregularity"] > 0.45 else "regular"
    sharp = "sharp" if a["softness"] < 5 else "blurred"
    text = f"{form} lesion in {join(a['colours'])} with an {edge}, {sharp} border"
    text = text.replace("an regular", "a regular")
    text += f" on {a['skin_tone']} skin, showing {join(a['structures'])}"
    return f"{text}; {join(present)} in the picture." if present else f"{text}."
