"""From a caption to a class by keywords, printed and repaired (taught in notebook 05).

`as_printed` counts substrings, as the plainest program would. `counts` reads by rules for
short English: whole words in either spelling, denials, adjectives that share a noun.
"""

import re
from dataclasses import dataclass

SOURCE = {  # the source's keyword sets, in its order and spelling
    "mel": ("asymmetric", "irregular border", "multiple colors"),
    "bkl": ("waxy", "sharply demarcated", "keratotic"),
    "nv": ("uniform", "regular border", "even color"),
}
_OWN = (  # dermoscopy's own words: form and colour count 1, structures 3
    ("mel", 1, "asymmetric|irregular border|multiple colours|three colours|variegated"),
    ("mel", 3, "atypical network|irregular dots|irregular globules|streaks|regression"),
    ("mel", 3, "blue-white veil"),
    ("bkl", 1, "sharply demarcated|well demarcated|waxy|stuck on"),
    ("bkl", 3, "milia-like cysts|comedo-like openings|keratotic|cerebriform"),
    ("nv", 1, "symmetric|regular border|uniform|even colour|one colour"),
    ("nv", 3, "typical network|regular dots|regular globules|cobblestone"),
)
COURSE = {
    k: {word: n for label, n, own in _OWN if label == k for word in own.split("|")}
    for k in SOURCE
}

SPELLINGS = {  # what is made the same before words are compared
    r"n['’]t\b": " not",
    r"colour": "color",
    r"grey": "gray",
    r"\b(blu|whit)ish": r"\1e",
    r"symmetrical(?:ly)?\b": "symmetric",
    r"\b(?:no|lacks?|(?:lack|absence) of) symmetry\b|asymmetry\b(?! ?:)": "asymmetric",
    r"\bnon[- ]": "non",
    r"/": " or ",
    r"[()\[\]]": ",",
    r"[!?\n]|\.(?!\d)": " . ",
    r"(?<=ch)es\b|(?<=[a-z]{2}[a-rtv-z])s\b": "",
}
NOUNS = set(  # what an adjective can belong to
    "area background border boundary center color corner cyst dot edge globule hair "
    "lesion margin mole nest network opening outline patch pattern pigmentation nevus "
    "regression ruler shape skin spot streak structure surface veil vessel".split()
)
JOINS = {"and", "or"}
LINKS = set("is are was were be appear look seem :".split())
STARTS = LINKS | set("a an the its it has have show no with without showing".split())
STOPS = STARTS | set("in on of at by for from to as . ; however".split())
NEGATORS = set("no not without never nor neither lack lacking absence free".split())
ENDS = set(". ; but yet however although while except with showing".split())
ABSENT = r"(?:absent|missing|lacking|none|not (?:present|seen|visible|found))\b"
GONE = re.compile(  # "… is absent" after a noun, or after the list that it begins
    rf"((is |are |was |: )?|(, (\w+ ){{1,3}})*(and|or) (\w+ ){{1,3}}are ){ABSENT}"
)
UNSURE = re.compile(r"\b(?:can ?not|can['’]t|unable|(?:im|not )possible|whether)\b")
CLAUSES = re.compile(r"([.;!?\n](?!\d)|\bbut\b|,(?= (?:and )?(?:the|its|an?|no) ))")


@dataclass(frozen=True)
class Reading:
    """A caption's words; which are denied; where each noun's adjectives are."""

    words: tuple[str, ...]
    denied: tuple[bool, ...]
    adjectives: dict[int, list[int]]


def as_printed(caption: str) -> dict[str, int]:
    """Keywords of each class by substring, as the source counted: with its mistakes."""
    text = caption.lower()
    return {k: sum(text.count(word) for word in words) for k, words in SOURCE.items()}


def answer_as_printed(caption: str, order=tuple(SOURCE)) -> str:
    """The class counted most; a tie, and no keyword too, goes to the first in order.

    The source names no order. Most of its captions have no keyword: the order answers.
    """
    return max(order, key=as_printed(caption).get)


def counts(caption: str, words=SOURCE) -> dict[str, int]:
    """Keywords of each class that a caption asserts, times their weights if any."""
    return {label: count for label, (count, _) in _found(caption, words).items()}


def answer(caption: str, words=SOURCE, otherwise: str | None = None) -> str | None:
    """The class counted most; `otherwise` (None: cannot tell) if there is none.

    A tie goes to the class whose keywords found have more words in all ("irregular
    border" says more than "uniform"); if these are level too, it does not tell.
    """
    found = _found(caption, words)
    best = max(found.values())
    first, *more = (label for label, score in found.items() if score == best)
    return first if best[0] and not more else otherwise


def _found(caption: str, words) -> dict[str, tuple[int, int]]:
    """For each class: keywords asserted, with their weights, and the words in them."""
    reading, found = read(caption), {}
    for label, keywords in words.items():
        weights = keywords if isinstance(keywords, dict) else dict.fromkeys(keywords, 1)
        said = {word: mentions(reading, word).count(True) for word in weights}
        length = sum(n * len(tokens(word)) for word, n in said.items())
        found[label] = sum(n * weights[word] for word, n in said.items()), length
    return found


def mentions(reading: Reading, keyword: str) -> list[bool]:
    """Each mention of a keyword: True where it is asserted, False where denied."""
    *first, head = tokens(keyword)
    words, found = reading.words, []
    for i in (i for i, word in enumerate(words) if word == head):
        near = reading.adjectives.get(i, range(max(i - len(first), 0), i))
        at = [j for j in near if words[j] in first]
        if {words[j] for j in at} == set(first):
            gone = GONE.match(" ".join(words[i + 1 :])) is not None
            found.append(not (gone or any(reading.denied[j] for j in at or [i])))
    return found


def read(caption: str) -> Reading:
    """A caption as words, what it denies, and the adjectives of its nouns."""
    words = tokens(sure(caption))
    adjectives: dict[int, list[int]] = {}
    for i in (i for i, word in enumerate(words) if word in NOUNS):
        adjectives[i] = _before(words, i, adjectives) + _after(words, i)
    return Reading(tuple(words), tuple(_denied(words)), adjectives)


def sure(caption: str) -> str:
    """A caption without the clauses which say that one cannot tell."""
    clauses = CLAUSES.split(caption.lower())
    return "".join(clause for clause in clauses if not UNSURE.search(clause))


def tokens(text: str) -> list[str]:
    """Words and marks: lower case, American, singular, hyphens undone."""
    text = text.lower()
    for pattern, same in SPELLINGS.items():
        text = re.sub(pattern, same, text)
    return re.findall(r"[a-z]+|\d+(?:\.\d+)?|[.,;:]", text)


def _before(words: list[str], i: int, known: dict) -> list[int]:
    """Where the adjectives before a noun are; "and" hands on those of a noun before."""
    if i > 1 and words[i - 1] in JOINS and i - 2 in known:
        return known[i - 2]
    j = i
    while j and words[j - 1] not in STOPS | NOUNS:
        j -= 1
    return list(range(j, i))


def _after(words: list[str], i: int) -> list[int]:
    """Where the adjectives after a noun are: "the border is irregular and blurred"."""
    if i + 2 < len(words) and words[i + 1] in JOINS:
        return _after(words, i + 2) if words[i + 2] in NOUNS else []
    j = i + 1
    while j < len(words) and words[j] in LINKS:
        j += 1
    end = j
    while end < len(words) and words[end] not in STOPS | NOUNS:
        if words[end] == "," and j == i + 1:  # no "is": no list
            break
        end += 1
    if end < len(words) and words[end] in NOUNS:  # the last ones belong to that noun
        end = max((k for k in range(j, end) if words[k] in JOINS | {","}), default=j)
    return list(range(j, end))


def _denied(words: list[str]) -> list[bool]:
    """Which words a denial before them covers, up to the end of its clause.

    A comma ends it unless "or" closes the list: "no streaks, dots or veil".
    """
    covered = [False] * len(words)
    for i, word in enumerate(words):
        rest = words[i + 1 :]
        lone = word == "absent" and (not i or words[i - 1] in STOPS - LINKS | {","})
        back = word == "not" and re.match(ABSENT, " ".join(words[i:]))  # what is before
        if not (word in NEGATORS or lone) or back or rest[:1] == ["only"]:
            continue
        for k, said in enumerate(rest):
            if said in ENDS or (said in {",", "and"} and _anew(word, rest[k:])):
                break
            covered[i + 1 + k] = True
    return covered


def _anew(denial: str, rest: list[str]) -> bool:
    """Whether a comma or "and", the first of the rest, starts anew after a denial."""
    join, *later = rest
    near = next((w for w in later if w in {"or", "nor"} | ENDS | STARTS), ".")
    if join == ",":
        return near not in ("or", "nor")
    return later[:1] == [near] or (denial == "not" and near in LINKS)
