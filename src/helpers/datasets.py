"""The data sets by name: load them, list them, download them (taught in 01).

Every loader returns the same table of cases (cases.py). In a terminal:
`python -m helpers.datasets list` and `python -m helpers.datasets download NAME`.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from . import cases, downloads, settings
from .cases import COLUMNS, usable
from .chest import chestxray14, chexpert
from .dermamnist import dermamnist
from .settings import CourseError
from .skin import ham10000, isic2019, ph2

__all__ = ["COLUMNS", "LOADERS", "load", "usable"]

LOADERS = {
    "ham10000": ham10000,
    "isic2019": isic2019,
    "ph2": ph2,
    "dermamnist": dermamnist,
    "chestxray14": chestxray14,
    "chexpert": chexpert,
}
DOWNLOADS = {
    "ham10000": downloads.ham10000,
    "isic2019": downloads.isic2019,
    "dermamnist": downloads.dermamnist,
    "chestxray14": downloads.chestxray14,
}


def load(
    name: str,
    folder: str | Path | None = None,
    profile: str = "quick",
    seed: int = 0,
    need_images: bool = True,
) -> pd.DataFrame:
    """The table of cases of a data set, from its folder below the data folder.

    `need_images=False` keeps the rows whose picture is not there (`path` missing).
    `profile` and `seed` matter to the synthetic set alone, which is drawn if need be.
    """
    settings.check_dataset(name)
    folder = folder or folder_of(name, profile, seed)
    if name == "synthetic":  # written in HAM10000's own layout
        return ham10000(folder, need_images, name)
    return LOADERS[name](folder, need_images)


def folder_of(name: str, profile: str = "quick", seed: int = 0) -> Path:
    """Where a data set lies; the synthetic one is drawn now if it is not there yet."""
    settings.check_dataset(name)
    if name == "synthetic":
        from . import synthetic  # it draws: OpenCV is not needed to read a table

        return synthetic.ensure(profile, seed)
    return settings.data_folder() / name


def download(name: str, folder: str | Path | None = None) -> Path:
    """Fetches a data set into its folder, or says how it is to be had."""
    if name == "synthetic":
        return folder_of(name)
    settings.check_dataset(name)
    folder = Path(folder or settings.data_folder() / name)
    if name in cases.ASKED_FOR:
        raise CourseError(f"{name} cannot be downloaded: {cases.way_out(name, folder)}")
    DOWNLOADS[name](folder)
    return folder


def _line(name: str) -> str:
    """One line on a data set: is it there, how many picture files (masks too), where."""
    folder = settings.data_folder() / name
    if name == "synthetic":
        return f"{name:12} drawn when first used"
    if not folder.is_dir():
        return f"{name:12} not found         {folder}"
    endings = [path.suffix.lower() for path in cases.walk(folder)]
    count = sum(ending in (*cases.PICTURES, ".npz") for ending in endings)
    return f"{name:12} {count:>8,} files    {folder}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m helpers.datasets")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="which data sets are here, and where")
    get = commands.add_parser("download", help="fetch a data set")
    get.add_argument("name", metavar="NAME", help=", ".join(settings.DATASETS))
    get.add_argument("--to", metavar="FOLDER", help="default: the data folder")
    chosen = parser.parse_args(arguments)
    try:
        settings.check_variables()
        if chosen.command == "list":
            print(*map(_line, settings.DATASETS), sep="\n")
        else:
            print(f"{chosen.name} is in {download(chosen.name, chosen.to)}")
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it broke", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
