"""Fine-tuning on fastai, in phases: the head, the frozen trunk, everything (taught in 02).

A frozen trunk is run once: its features are kept, and the head learns from those. Every
phase leaves checkpoints, so that a training that broke goes on where it was.
"""

import gc
import io
import traceback
import warnings
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

# fastai 2.8 uses what torch and pandas will drop
with warnings.catch_warnings(action="ignore"):
    from fastai.callback import fp16, schedule  # noqa: F401  (both add to Learner)
    from fastai.callback.data import WeightedDL
    from fastai.callback.tracker import EarlyStoppingCallback, ReduceLROnPlateau
    from fastai.data.core import DataLoaders, TfmdDL
    from fastai.data.transforms import IntToFloatTensor
    from fastai.distributed import DistributedDL
    from fastai.learner import Learner
    from fastai.losses import CrossEntropyLossFlat, FocalLossFlat
    from fastai.metrics import BalancedAccuracy
    from fastai.optimizer import Adam
    from fastai.torch_core import TensorCategory, TensorImage, num_distrib, params

from . import augments, features, models, settings
from .callbacks import Finite, Keeper, Pictures, Seeded, read_state
from .recipes import Recipe
from .settings import CourseError

PLAIN = partial(Adam, sqr_mom=0.999, eps=1e-8, wd=0.0)  # Adam as everyone else has it
MEMORY = (MemoryError, torch.OutOfMemoryError)
FULL = ("out of memory", "allocate memory", "ALLOC_FAILED")  # as other errors call it


class Rows(torch.utils.data.Dataset):
    """Some rows of the pictures (N×H×W×3 uint8) or features (N×K×D), with targets."""

    n_inp = 1  # else fastai finds out by a draw, which moves those of the first epoch

    def __init__(self, x: np.ndarray, y: np.ndarray, rows: np.ndarray, train: bool):
        self.x, self.y, self.rows, self.train = x, y, rows, train
        self.split_idx = 0 if train else 1  # fastai: 0 is what training alone does

    def __len__(self) -> int:
        return len(self.rows)

    def new_empty(self) -> "Rows":
        """The same without a picture: what fastai's export keeps of the data."""
        return Rows(self.x[:0], self.y[:0], self.rows[:0], self.train)

    def __getitem__(self, i):
        row = self.rows[i]
        x, y = self.x[row], TensorCategory(torch.tensor(int(self.y[row])))
        if x.ndim == 3:
            return TensorImage(torch.from_numpy(np.array(x)).permute(2, 0, 1)), y
        drawn = np.random.randint(len(x)) if self.train else 0
        return torch.from_numpy(np.array(x[drawn])), y


class Shared(DistributedDL):
    """fastai's, but on any device: `Seeded` gives every process the same order already."""

    def _broadcast(self, t, rank):
        return t

    def __len__(self) -> int:  # fastai's counts a last batch that drop_last drops
        mine = -(-self.dl.n // self.world_size)
        return mine // self.bs if self.drop_last else -(-mine // self.bs)


def loaders(x, y, parts, recipe: Recipe, device) -> DataLoaders:
    """Batches of the training rows, shuffled, and of the calibration rows, in order."""
    train, held = (np.flatnonzero(parts == part) for part in ("train", "calibration"))
    size = min(recipe.batch, max(1, len(train) // max(1, num_distrib())))
    common = {"bs": size, "device": torch.device(device), "num_workers": 0}
    scale = [IntToFloatTensor()] if x.ndim == 4 else []
    drawn = augments.transforms(recipe.augment, recipe.size) if x.ndim == 4 else []
    weighted = recipe.imbalance == "oversampled"
    wgts = {"wgts": 1 / np.bincount(y[train])[y[train]]} if weighted else {}
    first = (WeightedDL if weighted else TfmdDL)(
        Rows(x, y, train, True),
        shuffle=True,
        drop_last=True,  # a last batch of one picture has no batch statistics
        after_batch=[*scale, *drawn],
        **wgts,
        **common,
    )
    second = TfmdDL(Rows(x, y, held, False), after_batch=scale, **common)
    return DataLoaders(first, second, device=torch.device(device))


def loss(recipe: Recipe, counts: np.ndarray, device) -> nn.Module:
    """The loss of a recipe, given how many training pictures each class has (C)."""
    shares = torch.tensor(counts / counts.sum(), dtype=torch.float32, device=device)
    if recipe.imbalance == "weighted":  # a class counts alike, however few it has
        return CrossEntropyLossFlat(weight=1 / (len(counts) * shares))
    if recipe.imbalance == "focal":
        return FocalLossFlat(gamma=2.0)
    if recipe.imbalance == "adjusted":  # logit adjustment, Menon et al. 2021
        return Adjusted(shares.log())
    return CrossEntropyLossFlat()


class Adjusted(nn.Module):
    """Cross-entropy that adds log share to the logits, so that they need not learn it."""

    def __init__(self, log_shares: torch.Tensor):
        super().__init__()
        self.register_buffer("log_shares", log_shares)

    def forward(self, logits, targets):
        return nn.functional.cross_entropy(logits + self.log_shares, targets.long())


def precision(learn: Learner, device: str) -> Learner:
    """Half precision where the hardware has it: bf16 from compute capability 8, else fp16.

    (`torch.cuda.is_bf16_supported()` says yes on a T4, which only emulates it.)
    """
    if device != "cuda":
        return learn
    modern = torch.cuda.get_device_capability()[0] >= 8
    return learn.to_bf16() if modern else learn.to_fp16()


def learner(dls: DataLoaders, model: nn.Module, recipe: Recipe, device: str) -> Learner:
    """A fastai Learner for a classifier or for its head alone."""
    counts = np.bincount(dls.train_ds.y[dls.train_ds.rows])
    whole = isinstance(model, models.Classifier)
    learn = Learner(
        dls,
        model,
        loss_func=loss(recipe, counts, device),
        opt_func=PLAIN if recipe.schedule == "flat" else Adam,
        metrics=BalancedAccuracy(),
        splitter=_halves if whole else params,
        cbs=[Pictures(recipe.small_epochs if whole else 0)],
        path=settings.out_folder(),  # where lr_find leaves a file for a moment
        model_dir="cache",
    )
    return precision(learn, device)


def _halves(model: models.Classifier) -> list:
    """fastai's parameter groups: the trunk, and the head on top of it."""
    return [params(model.trunk), params(model.head)]


def fit(learn: Learner, recipe: Recipe, kind: str, epochs: int) -> None:
    """One phase: `head` or `frozen` (the head learns), or `all`."""
    if kind == "frozen":
        learn.freeze()
    elif kind == "all":
        learn.unfreeze()
    if recipe.schedule == "flat":
        learn.fit(epochs, recipe.lr)
    elif kind == "frozen":  # this and the next are the halves of fastai's fine_tune
        learn.fit_one_cycle(epochs, slice(recipe.lr), pct_start=0.99)
    elif recipe.schedule == "fine_tune":
        learn.fit_one_cycle(
            epochs, slice(recipe.lr / 200, recipe.lr / 2), pct_start=0.3, div=5.0
        )
    else:
        rates = recipe.lr if kind == "head" else slice(recipe.lr / 10, recipe.lr)
        learn.fit_one_cycle(epochs, rates)


def train(
    recipe: Recipe, pixels, y, parts, classes, folder: Path, seed: int = 0, device="cpu"
) -> tuple[models.Classifier, pd.DataFrame]:
    """Trains a recipe on pictures (N×H×W×3 uint8), targets (N) and their parts (N).

    `folder` takes the checkpoints; a training that broke goes on from them. Returns the
    model in eval mode and its history, one row an epoch.
    """
    check(y, parts, classes)
    if not recipe.head_epochs + recipe.frozen_epochs + recipe.epochs:
        raise CourseError(f"recipe {recipe.name} has no epochs: give it some")
    join(device)
    with explained(recipe, device):
        model = _phases(recipe, pixels, y, parts, classes, folder, seed, device)
    return model.eval(), pd.DataFrame(read_state(folder)["history"])


def _phases(recipe, pixels, y, parts, classes, folder, seed, device):
    """The phases that a recipe has, one after the other, on one model."""
    torch.manual_seed(seed)
    model = models.build(recipe.backbone, classes, recipe.size, recipe.head).to(device)
    phases = {
        "head": recipe.head_epochs,
        "frozen": recipe.frozen_epochs,
        "all": recipe.epochs,
    }
    for number, (kind, epochs) in enumerate(phases.items()):
        if not epochs or number < read_state(folder)["phase"]:
            continue
        x, part = pixels, model
        if kind == "head":
            x = _kept(model, pixels, parts == "train", recipe, seed)
            part = nn.Sequential(model.head.drop, model.head.linear)
        learn = learner(loaders(x, y, parts, recipe, device), part, recipe, device)
        _run(learn, recipe, kind, epochs, number, folder, seed)
    return model


def _kept(model, pixels, train: np.ndarray, recipe: Recipe, seed: int) -> np.ndarray:
    """Features (N×K×D): K views of a training picture, the others as they are."""
    if recipe.drawn == 1:
        return features.of(model, pixels)
    drawn = features.of(model, pixels[train], recipe.augment, recipe.drawn, seed)
    x = np.empty((len(pixels), *drawn.shape[1:]), np.float32)
    x[train], x[~train] = drawn, features.of(model, pixels[~train])
    return x


def check(y: np.ndarray, parts: np.ndarray, classes) -> None:
    """Refuses what cannot be learnt or measured, by name."""
    if len(classes) < 2:
        raise CourseError(f"one class ({', '.join(classes)}) is nothing to tell apart")
    for part in ("train", "calibration"):
        found = np.bincount(y[parts == part], minlength=len(classes))
        lost = [name for name, n in zip(classes, found, strict=True) if not n]
        if part == "train" and lost:
            raise CourseError(
                f"class {lost[0]!r} has no training picture: leave it out, or split again"
            )
        if len(lost) > len(classes) - 2:
            raise CourseError(
                f"the {part} part has {len(classes) - len(lost)} class(es): nothing can be "
                "measured on it; take more pictures, or another seed for the split"
            )


def _run(learn: Learner, recipe: Recipe, kind, epochs, number, folder, seed) -> None:
    """One phase with everything around it: seeds, checkpoints, trackers, processes."""
    device = learn.dls.device.type
    learn.add_cbs([Seeded(seed, number), Finite(f"recipe {recipe.name}")])
    learn.add_cb(Keeper(folder, number, bool(recipe.patience)))
    if recipe.plateau:
        learn.add_cb(ReduceLROnPlateau(patience=2))
    if recipe.patience:
        learn.add_cb(EarlyStoppingCallback(patience=recipe.patience))
    many = nullcontext()
    if num_distrib() > 1:  # each with a whole batch, and with statistics of its own
        learn.dls.loaders = [Shared(dl, device=device) for dl in learn.dls.loaders]
        many = learn.distrib_ctx(sync_bn=False)
    try:
        with many, watching(learn):
            fit(learn, recipe, kind, epochs)
    finally:
        half = getattr(learn, "mixed_precision", None)
        if half and half.autocast and torch.is_autocast_enabled(device):
            half.autocast.__exit__(None, None, None)  # a batch that broke left it on


def join(device: str) -> None:
    """Where `accelerate launch` started several processes: they meet, each on its GPU."""
    if num_distrib() > 1:
        from accelerate import PartialState

        PartialState(cpu=device == "cpu")


@contextmanager
def explained(recipe: Recipe, device: str):
    """What can stop a training, as one line that says what to do."""
    what = f"recipe {recipe.name}"
    try:
        yield
    except KeyboardInterrupt:
        raise CourseError(
            f"{what}: interrupted; the next run goes on from the last epoch"
        ) from None
    except CourseError as error:  # fastai writes where it was before what it was
        raise CourseError(str(error).split(":\n\t")[-1]) from None
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MEMORY) and not any(t in str(error) for t in FULL):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the memory
        gc.collect()
        raise CourseError(
            f"{what}: out of memory on {device}; lower batch (now {recipe.batch}) or "
            f"size (now {recipe.size}) in the recipe"
        ) from None


@contextmanager
def watching(learn: Learner):
    """fastai's bar, table and remarks where someone watches; none in a headless run."""
    with ExitStack() as stack:
        if not settings.watched():
            for quiet in (learn.no_bar(), learn.no_logging()):
                stack.enter_context(quiet)
            stack.enter_context(redirect_stdout(io.StringIO()))
        yield
