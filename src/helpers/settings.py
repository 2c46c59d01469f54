"""Profile, data set, seed, device, folders: the one place that reads the environment.

Used by the first cells of every notebook. A value is taken from, in this order: the
notebook's parameters cell (where papermill writes too), the environment, the default.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

PROFILES = ("quick", "full")
TITLES = {
    "synthetic": "the synthetic set",
    "ham10000": "HAM10000",
    "isic2019": "ISIC 2019",
    "ph2": "PH2",
    "dermamnist": "DermaMNIST",
    "chestxray14": "ChestX-ray14",
    "chexpert": "CheXpert",
}
DATASETS = tuple(TITLES)
CHEST = ("chestxray14", "chexpert")
SKIN = tuple(name for name in DATASETS if name not in CHEST)
VARIABLES = tuple(
    f"XAI_DERM_{name}"
    for name in ("PROFILE", "DATASET", "SEED", "DATA", "WEIGHTS", "OUT")
)


class CourseError(Exception):
    """A user's mistake, or bad data: one line with what is at fault and the way out."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the one line, not the way through our code."""
        return [f"{type(self).__name__}: {self}"]


@dataclass(frozen=True)
class Settings:
    profile: str
    dataset: str
    seed: int
    data: Path  # where data sets lie, one folder each
    out: Path  # what the course makes: caches, splits, results, the report

    @property
    def quick(self) -> bool:
        return self.profile == "quick"

    @property
    def title(self) -> str:
        """The data set's name as one writes it."""
        return TITLES[self.dataset]

    @property
    def size(self) -> int:
        """Side of the square pictures that models and metrics work on."""
        return 128 if self.quick else 224

    @property
    def device(self) -> str:
        import torch  # two seconds to import: only for those who ask

        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"


def load(
    profile: str | None = None,
    dataset: str | None = None,
    seed: int | None = None,
    among: tuple[str, ...] = (),
) -> Settings:
    """The settings of this run; an unknown name is refused, with those that exist.

    `among` are the data sets that the notebook is about, where these are not all.
    """
    check_variables()
    profile = profile or os.environ.get("XAI_DERM_PROFILE") or "quick"
    dataset = dataset or os.environ.get("XAI_DERM_DATASET") or "synthetic"
    seed = os.environ.get("XAI_DERM_SEED") or 0 if seed is None else seed
    if profile not in PROFILES:
        raise CourseError(
            f"unknown profile {profile!r}; choose {' or '.join(PROFILES)}"
        )
    check_dataset(dataset)
    try:
        seed = int(seed)
    except (TypeError, ValueError):
        raise CourseError(f"the seed must be a whole number, not {seed!r}") from None
    if among and dataset not in among:
        raise CourseError(
            f"this notebook is about {', '.join(among)}, not about {dataset}: "
            "choose another notebook or another data set"
        )
    if seed < 0:
        raise CourseError(f"the seed must be 0 or more, not {seed}")
    return Settings(profile, dataset, seed, data_folder(), out_folder())


def check_dataset(name: str) -> None:
    if name not in DATASETS:
        raise CourseError(
            f"unknown data set {name!r}; choose one of {', '.join(DATASETS)}"
        )


def check_variables() -> None:
    """Refuses a misspelt XAI_DERM_… variable, which would be silently without effect."""
    for name in os.environ:
        if name.startswith("XAI_DERM_") and name not in VARIABLES:
            raise CourseError(
                f"unknown variable {name}; known are {', '.join(VARIABLES)}"
            )


def process() -> int:
    """Which of several training processes this is (`accelerate launch` says); 0 alone."""
    return int(os.environ.get("RANK", 0))


def processes() -> int:
    """How many training processes there are (`accelerate launch` says); 1 alone."""
    return int(os.environ.get("WORLD_SIZE", 1))


def watched() -> bool:
    """Is someone looking on? A terminal, JupyterLab or Colab; not papermill or pytest."""
    lab = "JPY_SESSION_NAME" in os.environ or "google.colab" in sys.modules
    return lab or sys.stderr.isatty()


def root() -> Path:
    """The clone that holds this package; on Colab, which has none, where we are."""
    clone = Path(__file__).resolve().parents[2]
    return clone if (clone / "notebooks").is_dir() else Path.cwd()


def data_folder() -> Path:
    return _folder("XAI_DERM_DATA", "data")


def weights_folder() -> Path:
    """Where files of ImageNet weights may lie: below the data folder, or elsewhere."""
    if not os.environ.get("XAI_DERM_WEIGHTS"):
        return data_folder() / "weights"
    return _folder("XAI_DERM_WEIGHTS", "")


def out_folder() -> Path:
    return _folder("XAI_DERM_OUT", "build")


def _folder(variable: str, default: str) -> Path:
    """A relative path counts from the course's folder, wherever a kernel runs."""
    named = Path(os.environ.get(variable) or default).expanduser()
    return (root() / named).resolve()
