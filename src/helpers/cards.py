"""Model cards: what a trained model is for, what it scored, what nobody knows (in 02)."""

from . import figures, settings
from .files import atomic, below_out

RECALL = ("recall", "recall low", "recall high")
PAINTED = ". Painted pictures: no score here is a statement about patients"
UNKNOWN = (
    "how it does on other cameras, clinics, skin tones and ages; whether its classes are "
    "all that a patient can have; whether anyone decides better with it"
)


def rows(page: dict) -> dict[str, str]:
    """The card of a model as topic → sentence, from what its model.json says."""
    recipe, told = page["recipe"], page["scores"]["balanced accuracy"]
    classes = ", ".join(f"{c} ({figures.NAMES.get(c, c)})" for c in page["classes"])
    total = {
        part: sum(counts.get(part, 0) for counts in page["pictures"].values())
        for part in ("train", "calibration", "test")
    }
    recalls = (_score(c, row, RECALL, 2) for c, row in page["recalls"].items())
    return {
        "Model": f"recipe {recipe['name']}: {page['backbone']}, {page['size']} pixels, "
        f"{page['head']} head, {page['epochs']} epochs",
        "Intended use": "teaching how such models are trained, explained and doubted. "
        "Not a medical device, not for diagnosis, not for triage",
        "Classes": classes,
        "Data": f"{settings.TITLES[page['dataset']]} ({page['profile']} profile, seed "
        f"{page['seed']}): " + ", ".join(f"{n:,} {part}" for part, n in total.items())
        + " pictures, split by lesion"
        + PAINTED * (page["dataset"] == "synthetic"),
        "Split": page["split"],
        "Preprocessing": f"RGB in [0, 1], squashed to {page['size']}×{page['size']}, mean "
        f"{page['mean']}, standard deviation {page['std']}: part of the model itself",
        "Test scores, answers as trained": _scores(page["scores"]),
        "Always " + page["commonest"]: _scores(page["blind"]),
        "Recall of each class": ", ".join(recalls),
        "Calibration": _calibration(page),
        "Not known": UNKNOWN,
        "Counted by": f"{told['n']:,} test pictures of {told['lesions']:,} lesions; "
        "intervals are 95%, from drawing lesions; temperature from the calibration split",
    }  # fmt: skip


def card(page: dict) -> str:
    """The card as Markdown."""
    lines = [f"**{topic}.** {text}." for topic, text in rows(page).items()]
    return "\n\n".join([f"# Model card: recipe {page['recipe']['name']}", *lines, ""])


def keep(page: dict) -> None:
    """Puts the card among the results, where the report finds it."""
    path = below_out("results", "cards", f"{page['recipe']['name']}.md")
    with atomic(path) as part:
        part.write_text(card(page), encoding="utf-8")


def _scores(scores: dict) -> str:
    return ", ".join(_score(name, row) for name, row in scores.items())


def _score(name: str, row: dict, columns=("score", "low", "high"), digits=3) -> str:
    """A score and its interval; it is missing where no test picture tells it."""
    score, low, high = (row[column] for column in columns)
    if score is None:
        return f"{name} not measured"
    return f"{name} {score:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _calibration(page: dict) -> str:
    ece = page["calibration"]["ECE"]
    return (
        f"temperature {page['temperature']:.2f}; expected calibration error "
        f"{ece['score']:.3f} [{ece['low']:.3f}, {ece['high']:.3f}], where a perfectly "
        f"calibrated model of this size would show {ece['floor']:.3f}"
    )
