"""What the recipes do to their training pictures, on whole batches (taught in 02)."""

import warnings

import torch

# fastai 2.8 uses what torch and pandas will drop
with warnings.catch_warnings(action="ignore"):
    from fastai.torch_core import TensorImage
    from fastai.vision.augment import (
        RandomErasing,
        RandomResizedCropGPU,
        aug_transforms,
    )
    from fasttransform import Pipeline, Transform

from .settings import CourseError


class Clamp(Transform):
    """Back to [0, 1]: what is erased is filled with noise that knows no bounds."""

    order = RandomErasing.order + 1

    def encodes(self, x: TensorImage):
        return x.clamp(0, 1)


def transforms(augment: str, size: int) -> list:
    """fastai's batch transforms of a recipe: for pictures of `size` pixels a side."""
    if augment == "none":
        return []
    if augment == "light":  # recipe A: crops, mirrored, turned a little
        return aug_transforms(max_rotate=10, max_zoom=1.15, max_lighting=0, max_warp=0)
    if augment == "crops":  # recipe C: mirrored both ways, turned, colours
        crop = RandomResizedCropGPU(size, min_scale=0.35)
        rest = aug_transforms(flip_vert=True, max_rotate=20, max_zoom=1, max_warp=0)
        return [crop, *rest]
    if augment == "strong":  # recipe E: a lesion has no upper side
        turned = aug_transforms(
            flip_vert=True, max_rotate=180, max_zoom=1.25, max_warp=0.1
        )
        return [*turned, RandomErasing(p=0.25, max_count=2), Clamp()]
    raise CourseError(
        f"unknown augmentation {augment!r}; choose none, light, crops or strong"
    )


def drawing(augment: str, size: int):
    """A function that draws training pictures (N×3×H×W in [0, 1]) from pictures."""
    pipeline = Pipeline(transforms(augment, size), split_idx=0)
    return lambda x: pipeline(TensorImage(x)).as_subclass(torch.Tensor)
