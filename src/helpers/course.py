"""The cases that every notebook after 01 starts from."""

import pandas as pd

from . import datasets, duplicates, images, splits
from .settings import Settings


def cases(cfg: Settings) -> pd.DataFrame:
    """The usable cases of a run with the split that notebook 01 made: `group`, `split`.

    Groups are lesions, patients, and pairs of pictures found or known to be one lesion.
    """
    folder = datasets.folder_of(cfg.dataset, cfg.profile, cfg.seed)
    table = datasets.usable(datasets.load(cfg.dataset, folder))
    ids = table.image_id.to_numpy()
    alike = duplicates.find(images.load(table, cfg.size))[["first", "second"]]
    pairs = [*ids[alike.to_numpy()], *duplicates.known(folder)]
    split, group = splits.make(table, cfg.seed, pairs), splits.groups(table, pairs)
    return table.assign(split=split, group=group).reset_index(drop=True)
