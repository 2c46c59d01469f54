"""What our training adds to fastai's loop: seeds, checkpoints, and a clear end (in 02).

fastai brings the loop, the schedules, early stopping and the plateau. What it does not
have is a run that can be interrupted and comes out the same.
"""

import json
import random
from pathlib import Path

import numpy as np
import torch
from fastai.callback.core import Callback, CancelEpochException, CancelFitException
from fastai.callback.tracker import TrackerCallback
from fastai.learner import load_model, save_model
from fastai.torch_core import distrib_barrier

from . import settings
from .files import atomic
from .settings import CourseError

STATE = "state.json"
TOLD = ("train_loss", "valid_loss", "score")  # what fastai's recorder says of an epoch


class Seeded(Callback):
    """Every epoch draws from the seed and its own number, whatever came before it."""

    order = -20  # before anyone draws

    def __init__(self, seed: int, phase: int):
        self.seed, self.phase = seed, phase

    def before_epoch(self):
        draw = np.random.SeedSequence((self.seed, self.phase, self.epoch))
        order, pictures = (int(n) for n in draw.generate_state(2))
        np.random.seed(order)  # fastai's weighted sampling draws from it
        pictures += settings.process()  # each process its own pictures,
        random.seed(pictures)
        torch.manual_seed(pictures)
        train = self.dls.train  # all of them one order
        getattr(train, "dl", train).rng = random.Random(order)


class Pictures(Callback):
    """Hands the network plain tensors in its memory layout; early epochs see less."""

    order = 9  # before mixed precision

    def __init__(self, small_epochs: int = 0):
        self.small_epochs = small_epochs

    def before_batch(self):
        x = self.x.as_subclass(torch.Tensor)
        if x.ndim == 4:
            if self.training and self.epoch < self.small_epochs:
                x = torch.nn.functional.interpolate(
                    x, scale_factor=0.75, mode="bilinear", antialias=True
                )
            x = x.contiguous(memory_format=torch.channels_last)
        self.learn.xb = (x,)


class Finite(Callback):
    """Stops at the first loss that is not a number, and says where."""

    def __init__(self, what: str):
        self.what = what

    def after_loss(self):
        if not torch.isfinite(self.loss):  # in validation: before such an epoch is kept
            part = "" if self.training else "calibration "
            raise CourseError(
                f"{self.what}: the loss is {self.loss.item()} in epoch {self.epoch + 1}, "
                f"{part}batch {self.iter + 1} of {self.n_iter}; lower lr (it was "
                f"{self.opt.hypers[-1]['lr']:.2g} there). The epochs before are kept"
            )


class Keeper(Callback):
    """Keeps every epoch on disk, goes on from the last one, and brings back the best."""

    order = 70  # after fastai's trackers, whose state is kept as well

    def __init__(self, folder: Path, phase: int, keep_best: bool):
        self.folder, self.phase, self.keep_best = folder, phase, keep_best
        self.state = read_state(folder)
        mine = self.state["phase"] == phase
        self.start = self.state["epoch"] + 1 if mine else 0
        self.stopped = mine and self.state["stopped"]

    @property
    def trackers(self) -> list[TrackerCallback]:
        return [cb for cb in self.learn.cbs if isinstance(cb, TrackerCallback)]

    def before_fit(self):
        if not self.start:
            return
        path, device = self._file(self.start - 1), self.dls.device
        load_model(path, self.model, self.opt, device=device, weights_only=True)
        smooth = self.recorder.smooth_loss  # runs on from epoch to epoch
        smooth.val, smooth.count = torch.tensor(self.state["smooth"]), self.state["n"]
        if self.state["scaler"]:
            self.learn.scaler.load_state_dict(self.state["scaler"])
        for tracker, kept in zip(self.trackers, self.state["trackers"], strict=True):
            vars(tracker).update(kept, run=False)

    def before_epoch(self):
        if self.epoch < self.start:
            told = self.mine()[self.epoch]  # fastai's table shows the epoch as it was
            self.recorder.log += [told[name] for name in TOLD]
            raise CancelEpochException
        if self.stopped:
            raise CancelFitException
        for tracker in self.trackers:
            tracker.run = True

    def after_epoch(self):
        if self.epoch >= self.start:
            self._keep()

    def after_cancel_fit(self):  # early stopping: the epoch was not kept yet
        if not self.stopped:
            self.stopped = True
            self._keep()

    def after_fit(self):
        distrib_barrier()  # until the first process has written
        kept = self.mine()[-1] if self.mine() else {}
        if self.keep_best and (self.folder / self._best()).is_file():
            load_model(self.folder / self._best(), self.model, None, with_opt=False)
            kept = min(self.mine(), key=lambda row: row["valid_loss"])
        kept["kept"] = True
        self._write()
        distrib_barrier()

    def mine(self) -> list[dict]:
        return [row for row in self.state["history"] if row["phase"] == self.phase]

    def _keep(self):
        told = dict(zip(TOLD, map(float, self.recorder.values[-1]), strict=False))
        best = all(told["valid_loss"] < row["valid_loss"] for row in self.mine())
        row = {"phase": self.phase, "epoch": self.epoch + 1, **told}
        row |= {"lr": float(self.recorder.lrs[-1]), "kept": False}
        self.state["history"].append(row)
        self.state |= self._now()
        if settings.process():
            return
        with atomic(self._file(self.epoch)) as part:
            save_model(part, self.model, self.opt)
        if best and self.keep_best:
            with atomic(self.folder / self._best()) as part:
                save_model(part, self.model, None, with_opt=False)
        self._write()
        self._file(self.epoch - 1).unlink(missing_ok=True)

    def _now(self) -> dict:
        """All that the next epoch depends on, but for weights and optimiser."""
        smooth, scaler = self.recorder.smooth_loss, getattr(self.learn, "scaler", None)
        return {
            "phase": self.phase,
            "epoch": self.epoch,
            "stopped": self.stopped,
            "smooth": float(smooth.val),
            "n": smooth.count,
            "scaler": scaler.state_dict() if scaler else {},
            "trackers": [
                {n: vars(t)[n] for n in ("best", "wait") if n in vars(t)}
                for t in self.trackers
            ],
        }

    def _write(self):
        if not settings.process():
            with atomic(self.folder / STATE) as part:
                part.write_text(json.dumps(self.state))

    def _file(self, epoch: int) -> Path:
        return self.folder / f"phase{self.phase}-epoch{epoch}.pth"

    def _best(self) -> str:
        return f"phase{self.phase}-best.pth"


def read_state(folder: Path) -> dict:
    """How far a training came: phase, epoch, the trackers and the history."""
    try:
        return json.loads((folder / STATE).read_text())
    except FileNotFoundError:
        return {"phase": -1, "epoch": -1, "stopped": False, "history": []}
