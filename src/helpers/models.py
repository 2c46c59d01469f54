"""The networks of the course, with their preprocessing attached (taught in 02).

A `Classifier` takes pictures as they are, x: N×3×H×W in [0, 1], and normalises them
itself: training, explanation and service cannot disagree about it. Its trunk keeps the
library's own names, so that "layer4" is where every paper says it is.
"""

import warnings
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from . import weights
from .settings import CourseError

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # TensorFlow's habit: [0, 1] becomes [-1, 1]


@dataclass(frozen=True)
class Backbone:
    name: str  # as its library writes it; torchvision's, where it has the network
    trunk: str  # its children up to the pooling
    layers: tuple[str, str, str]  # where to look: early, middle, deep
    norm: tuple = IMAGENET  # mean and standard deviation that its weights know
    timm: bool = False
    tokens: bool = False  # a transformer: the trunk ends in a vector, not in a map


# A picture of 224 pixels gives maps of 28, 14 and 7 pixels; a ViT's are always 14.
BACKBONES = {
    "resnet50": Backbone(
        "resnet50",
        "conv1 bn1 relu maxpool layer1 layer2 layer3 layer4",
        ("layer2", "layer3", "layer4"),
    ),
    "mobilenet_v2": Backbone(
        "mobilenet_v2", "features", ("features.6", "features.13", "features.18")
    ),
    "efficientnet_b0": Backbone(
        "efficientnet_b0", "features", ("features.3", "features.5", "features.8")
    ),
    "efficientnet_lite0": Backbone(
        "tf_efficientnet_lite0",
        "conv_stem bn1 blocks conv_head bn2",
        ("blocks.2", "blocks.4", "bn2"),
        HALF,
        timm=True,
    ),
    "vit_tiny": Backbone(
        "vit_tiny_patch16_224",
        "",
        ("blocks.3.norm1", "blocks.7.norm1", "blocks.11.norm1"),
        HALF,
        timm=True,
        tokens=True,
    ),
}
HEADS = ("linear", "fastai")


class Classifier(nn.Module):
    """Pictures in [0, 1] → logits. `trunk` makes the map, `head` pools it and decides.

    The linear head is what CAM needs: the mean over the map, then one weight a channel
    and class. fastai's own head is deeper; recipe B has it, for its source had it.
    """

    def __init__(self, backbone: str, classes, size: int = 224, head: str = "linear"):
        super().__init__()
        spec = known(backbone)
        if head not in HEADS:
            raise CourseError(f"unknown head {head!r}; choose {' or '.join(HEADS)}")
        if spec.tokens and head != "linear":
            raise CourseError(f"{backbone} ends in a vector: it takes the linear head")
        self.backbone, self.classes, self.size = backbone, tuple(classes), size
        self.kind = head
        words = all(isinstance(name, str) for name in self.classes)
        if not words or not 0 < len(set(self.classes)) == len(self.classes):
            raise CourseError(f"classes are words, each once, not {list(self.classes)}")
        self.trunk, width = _cut(spec, network(backbone))
        self.head = _head(head, width, len(self.classes), spec.tokens)
        self.normalise(*spec.norm)
        self.to(
            memory_format=torch.channels_last
        )  # as the pictures lie; a third faster

    def normalise(self, mean, std) -> None:
        """Attaches the mean and the standard deviation that the weights know."""
        try:
            values = torch.tensor([list(mean), list(std)], dtype=torch.float32)
            good = values.shape == (2, 3) and values.isfinite().all()
        except (TypeError, ValueError):
            good = False
        if not good or not (values[1] > 0).all():
            raise CourseError(
                f"mean and std must be three numbers each, and std above 0, not {mean} "
                f"and {std}; those of ImageNet are {IMAGENET[0]} and {IMAGENET[1]}"
            )
        values = values.view(2, 3, 1, 1).to(next(self.parameters()).device)
        self.register_buffer("mean", values[0], persistent=False)
        self.register_buffer("std", values[1], persistent=False)

    def forward(self, x):
        return self.head(self.map(x))

    def map(self, x):
        """The last feature map, N×D×h×w (of a transformer its last vector, N×D)."""
        return self.trunk((x - self.mean) / self.std)

    def features(self, x):
        """What the linear head's last layer sees, N×D, before dropout."""
        if self.kind != "linear":
            raise CourseError(
                "only a linear head has features: build with head='linear'"
            )
        return self.head.flat(self.head.pool(self.map(x)))

    def layer(self, depth: str) -> nn.Module:
        """The layer to explain: early, middle or deep."""
        names = dict(
            zip(("early", "middle", "deep"), layers(self.backbone), strict=True)
        )
        if depth not in names:
            raise CourseError(
                f"unknown depth {depth!r}; choose one of {', '.join(names)}"
            )
        return self.trunk.get_submodule(names[depth])


def known(backbone: str) -> Backbone:
    if backbone not in BACKBONES:
        raise CourseError(
            f"unknown backbone {backbone!r}; choose one of {', '.join(BACKBONES)}"
        )
    return BACKBONES[backbone]


def layers(backbone: str) -> tuple[str, str, str]:
    return known(backbone).layers


def stages(model: Classifier) -> list[str]:
    """The dotted names of a trunk's stages, in the order in which a picture meets them."""
    names = []
    for name, child in model.trunk.named_children():
        inner = (
            child.named_children() if isinstance(child, nn.Sequential) else [("", 0)]
        )
        names += [f"trunk.{name}.{one}".rstrip(".") for one, _ in inner]
    return names


def network(backbone: str) -> nn.Module:
    """The library's own network with its 1,000 classes, weights drawn at random."""
    spec = known(backbone)
    if not spec.timm:
        import torchvision

        return torchvision.models.get_model(spec.name, weights=None)
    import timm

    any_size = {"dynamic_img_size": True} if spec.tokens else {}
    return timm.create_model(spec.name, **any_size)


def build(
    backbone: str, classes, size: int = 224, head: str = "linear", start="imagenet"
) -> Classifier:
    """A classifier for these classes, its trunk with ImageNet's weights.

    `start="random"` asks for no weights at all.
    """
    model = Classifier(backbone, classes, size, head)
    if start == "random":
        return model
    if start != "imagenet":
        raise CourseError(f"unknown start {start!r}; choose imagenet or random")
    state, norm = weights.imagenet(backbone)
    trunk = model.trunk.state_dict()
    source = str(weights.local(backbone) or f"ImageNet weights of {backbone}")
    weights.check(trunk, state, source, extra=True)
    model.trunk.load_state_dict({n: state[n] for n in trunk if n in state})
    if norm:
        with weights.about(source):
            model.normalise(*norm)
    return model


def _cut(spec: Backbone, net: nn.Module) -> tuple[nn.Module, int]:
    """The trunk of a network, under its own names, and how many channels it ends in."""
    if spec.tokens:
        net.reset_classifier(0)
        return net, net.num_features
    names = spec.trunk.split()
    trunk = nn.Sequential(OrderedDict((name, getattr(net, name)) for name in names))
    last = [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
    return trunk, last.in_features


def _head(kind: str, width: int, classes: int, tokens: bool) -> nn.Module:
    if kind == "fastai":
        # fastai 2.8 uses what torch and pandas will drop
        with warnings.catch_warnings(action="ignore"):
            from fastai.vision.learner import apply_init, create_head

        head = create_head(width, classes)
        apply_init(head, nn.init.kaiming_normal_)
        return head
    parts = {
        "pool": nn.Identity() if tokens else nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
        "drop": nn.Dropout(0.2),
        "linear": nn.Linear(width, classes),
    }
    return nn.Sequential(OrderedDict(parts))


def tensor(pixels: np.ndarray, device="cpu") -> torch.Tensor:
    """Pictures N×H×W×3 uint8 → x: N×3×H×W in [0, 1], channels last in memory."""
    pixels = np.array(pixels)  # a copy: what lies on disk is read-only
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise CourseError(
            f"pictures must be N×H×W×3 of uint8, as images.load gives them, not "
            f"{'×'.join(map(str, pixels.shape))} of {pixels.dtype}"
        )
    x = torch.from_numpy(pixels).to(device)
    return x.permute(0, 3, 1, 2).float() / 255


def logits(
    model: Classifier, pixels: np.ndarray, views: int = 1, batch: int | None = None
):
    """Logits (N×C, float32) of pictures N×H×W×3 uint8; the mean over `views` of 1–8.

    The views are the picture mirrored and turned, which changes no diagnosis.
    """
    if isinstance(views, bool) or views not in range(1, 9):
        raise CourseError(f"views must be a whole number from 1 to 8, not {views!r}")
    views = int(views)
    return each(
        model, pixels, lambda x: sum(map(model, turns(x, views))) / views, batch
    )


def features(model: Classifier, pixels: np.ndarray) -> np.ndarray:
    """What the last linear layer sees (N×D, float32), for every picture."""
    return each(model, pixels, model.features)


def turns(x: torch.Tensor, views: int) -> list[torch.Tensor]:
    """The first `views` of: turned by 0, 180, 90, 270°, each then mirrored as well."""
    ways = [(turn, mirrored) for turn in (0, 2, 1, 3) for mirrored in (False, True)]
    seen = [torch.rot90(x, turn, (2, 3)) for turn, _ in ways[:views]]
    return [
        (v.flip(3) if mirrored else v).contiguous(memory_format=torch.channels_last)
        for v, (_, mirrored) in zip(seen, ways, strict=False)
    ]


def each(
    model: Classifier, pixels: np.ndarray, function, batch: int | None = None
) -> np.ndarray:
    """`function` on every batch, in eval mode and without a graph; modes as before.

    A processor is fastest on 16 pictures, which fit its cache; a GPU wants more.
    """
    batch = (16 if model.mean.device.type == "cpu" else 64) if batch is None else batch
    if batch < 1:
        raise CourseError(f"batch must be 1 or more, not {batch}")
    if not len(pixels):  # no rows, but as wide as those of a picture
        return each(model, np.zeros((1, *pixels.shape[1:]), np.uint8), function)[:0]
    starts = tqdm(range(0, len(pixels), batch), desc=model.backbone, disable=None)
    with quiet(model), torch.inference_mode():
        done = [
            function(tensor(pixels[i : i + batch], model.mean.device)).float().cpu()
            for i in starts
        ]
    return torch.cat(done).numpy()


@contextmanager
def quiet(model: nn.Module):
    """Eval mode for a while: every module's own mode is restored."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
