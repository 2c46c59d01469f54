"""What is said of a lesion, in fixed slots (taught in notebook 05).

An answer is a dict from slot to option, wherever it comes from: free text, JSON, the
synthetic truth, PH2's experts, a measured mask. What is not known is "cannot tell".
"""

import json
from collections.abc import Mapping

import numpy as np
import pandas as pd

from .lexicon import Reading, mentions, read
from .sentences import Lesion
from .settings import CourseError
from .skin import PH2_SIGNS

CANNOT = "cannot tell"
COUNTS = ("one", "two", "three or more")
SLOTS = {
    "asymmetry": ("symmetric", "asymmetric", CANNOT),
    "border": ("regular", "irregular", CANNOT),
    "colours": (*COUNTS, CANNOT),
    "network": ("absent", "typical", "atypical", CANNOT),
    "dots or globules": ("absent", "regular", "irregular", CANNOT),
    "streaks": ("absent", "present", CANNOT),
    "regression": ("absent", "present", CANNOT),
    "blue-white veil": ("absent", "present", CANNOT),
}

FORMS = {  # the words for each option
    "asymmetry": {"asymmetric": "asymmetric", "symmetric": "symmetric"},
    "border": {
        "irregular": "irregular border|irregular edge|irregular margin|jagged edge",
        "regular": "regular border|regular edge|regular margin|smooth border",
    },
    "colours": {
        "one": "one color|single color|uniform color|even color",
        "two": "two colors",
        "three or more": "three colors|four colors|multiple colors|variegated",
    },
}
STRUCTURES = {  # the same; the first wins where both are there, for the worse decides
    "network": {
        "atypical": "atypical network|irregular network",
        "typical": "typical network|regular network|peripheral network",
        "": "network",  # there, but of which kind is not said
    },
    "dots or globules": {
        "irregular": "irregular dots|irregular globules",
        "regular": "regular dots|regular globules",
        "": "dots|globules",
    },
    "streaks": {"present": "streaks"},
    "regression": {"present": "regression"},
    "blue-white veil": {"present": "blue-white veil"},
}
OTHERS = "cysts|openings|vessels|nests|lacunae|strawberry|scale|ulceration|patch"
HUES = set("white red pink tan brown blue gray black purple yellow orange".split())
SHADES = set("light dark reddish pinkish brownish purplish".split()) | HUES
NOT_ITS_OWN = {"skin", "background", "veil", "patch", "nest", "hair", "ruler", "ink"}

KEYS = {"symm": "asymmetry", "border": "border", "colo": "colours", "netw": "network"}
KEYS |= {"dot": "dots or globules", "glob": "dots or globules", "streak": "streaks"}
KEYS |= {"regress": "regression", "veil": "blue-white veil"}  # a part of a JSON key
VALUES = {"true": "present", "yes": "present", "1": "one", "single": "one", "2": "two"}
VALUES |= dict.fromkeys(("false", "no", "none"), "absent")
VALUES |= dict.fromkeys(("3", "4", "5", "6", "three", "multiple"), "three or more")

IN_JSON = "Fill in for the lesion in the picture, with one of the options each: " + (
    json.dumps({slot: "|".join(options) for slot, options in SLOTS.items()})
)


def of_text(caption: str) -> dict[str, str]:
    """What a caption says. Of form, border and colours only what it names.

    A structure not mentioned is absent if the caption asserts another one, for then it
    lists what it sees; else one cannot tell, nor where two forms are asserted.
    """
    reading = read(caption)
    found = {slot: _form(_said(reading, FORMS[slot])) for slot in FORMS}
    if found["colours"] == CANNOT:
        found["colours"] = _count(len(_hues(reading)))
    said = {slot: _said(reading, options) for slot, options in STRUCTURES.items()}
    named = [*said.values(), _said(reading, {"": OTHERS})]
    rest = "absent" if any(any(so) for o in named for so in o.values()) else CANNOT
    return found | {slot: _structure(options, rest) for slot, options in said.items()}


def of_json(text: str) -> dict[str, str] | None:
    """The first JSON object in an answer that fills a slot; None if there is none.

    Code fences, prose around it and single quotes do not matter. A slot that is left
    out, or filled with what is no option of it, is "cannot tell".
    """
    for tried in (text, text.replace("'", '"')):
        for at in (i for i, letter in enumerate(tried) if letter == "{"):
            try:
                parsed, _ = json.JSONDecoder().raw_decode(tried, at)
            except (ValueError, RecursionError):
                continue
            named = {_slot(key): value for key, value in parsed.items()}
            if set(named) & set(SLOTS):
                return {slot: _option(slot, named.get(slot, "")) for slot in SLOTS}
    return None


def of_truth(row: Mapping) -> dict[str, str]:
    """The answer for a row of `synthetic.truth`, by the rules of its captions.

    A peripheral network counts as typical: it is dermatofibroma's, fine and even.
    """
    even = row["lopsided"] <= 0.5 and row["irregularity"] <= 0.6 and not row["islands"]
    found = {
        "asymmetry": "symmetric" if even else "asymmetric",
        "border": "irregular" if row["irregularity"] > 0.45 else "regular",
        "colours": _count(len(row["colours"])),
    }
    has = set(row["structures"])
    for slot, options in STRUCTURES.items():
        there = (k for k, words in options.items() if has & set(words.split("|")))
        found[slot] = next(there, "absent")
    return found


def of_ph2(table: pd.DataFrame) -> pd.DataFrame:
    """The experts' answers for the cases of `datasets.load("ph2")`: a row each.

    Asymmetric is what is so in one axis or both. They scored no border.
    """
    if lost := sorted({"asymmetry", "colours", *PH2_SIGNS} - set(table)):
        raise CourseError(f"no {', '.join(lost)}: give datasets.load('ph2')")
    found = table[list(PH2_SIGNS)].rename(columns=_slot)
    words = {"typical": "regular", "atypical": "irregular"}
    found["dots or globules"] = found["dots or globules"].replace(words)
    found["asymmetry"] = np.where(table["asymmetry"] > 0, "asymmetric", "symmetric")
    found["border"] = CANNOT
    found["colours"] = [_count(len(seen)) for seen in table["colours"]]
    return pd.DataFrame(
        {k: found[k].where(found[k].isin(v), CANNOT) for k, v in SLOTS.items()}
    )


def of_lesion(lesion: Lesion) -> dict[str, str]:
    """What a lesion's mask and picture measure: its form, border and colours."""
    colours = _count(len(lesion.colours))
    found = {"asymmetry": lesion.form, "border": lesion.border, "colours": colours}
    return dict.fromkeys(SLOTS, CANNOT) | found


def _form(said: dict[str, list[bool]]) -> str:
    """The one option that a caption leaves: asserted, or the other of two denied."""
    left = [option for option, so in said.items() if any(so)]
    if not left and len(said) == 2:
        left = [option for option, so in said.items() if not so]
    return left[0] if len(left) == 1 else CANNOT


def _said(reading: Reading, options: dict[str, str]) -> dict[str, list[bool]]:
    """For each option whether each mention of its words is asserted."""
    return {
        option: [so for word in words.split("|") for so in mentions(reading, word)]
        for option, words in options.items()
    }


def _structure(said: dict[str, list[bool]], rest: str) -> str:
    """Its kind, if that is said; absent if denied; the rest if it is not mentioned."""
    for option, so in said.items():
        if any(so):
            return option or CANNOT
    kinds = [so for option, so in said.items() if option]
    if any(kinds) and not all(kinds):  # "no atypical network" leaves a typical one open
        return CANNOT
    return "absent" if any(said.values()) else rest


def _hues(reading: Reading) -> set[str]:
    """The lesion's colours: "light brown and blue-grey" are two."""
    words, found, run = [*reading.words, "."], set(), []
    for word, denied in zip(words, [*reading.denied, False], strict=True):
        if word in SHADES and not denied:
            run.append(word)
            continue
        if set(run) & HUES and word not in NOT_ITS_OWN:
            found.add(" ".join(run))
        run = []
    return found


def _count(colours: int) -> str:
    return COUNTS[min(colours, 3) - 1] if colours else CANNOT


def _slot(key: str) -> str:
    return next((slot for stem, slot in KEYS.items() if stem in key.lower()), "")


def _option(slot: str, value) -> str:
    """The option that a value of JSON means in a slot."""
    value = json.dumps(len(value) if isinstance(value, list) else value).lower()
    value = VALUES.get(value.strip('" '), value.strip('" '))
    return value if value in SLOTS[slot] else CANNOT
