"""What layers give in a forward pass, and the gradient of a score there (taught in 03).

Until the first of the layers nothing is recorded; from there on a graph is. So the way
back is as short as the way from the layer to the logits, and the trunk's is not walked.
"""

from contextlib import contextmanager

import torch
from torch import nn

from .settings import CourseError


@contextmanager
def kept(modules: dict[str, nn.Module]):
    """What modules give in a forward pass, with a graph from the first of them on.

    Each output is handed on as a copy, which an in-place ReLU after it may overwrite.
    """
    outputs, handles = {}, []

    def keep(name):
        def hook(module, inputs, output):
            if not torch.is_tensor(output) or not output.is_floating_point():
                raise CourseError(f"layer {name} gives no tensor: take one that does")
            if name in outputs:
                raise CourseError(
                    f"layer {name} is used twice in one pass: take one used once"
                )
            torch.set_grad_enabled(True)
            start = not output.requires_grad
            outputs[name] = output.detach().requires_grad_() if start else output
            return outputs[name].clone()

        return hook

    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(keep(name)))
        with torch.no_grad():
            yield outputs
    finally:
        for handle in handles:
            handle.remove()


def forward(model, x, named) -> tuple[torch.Tensor, dict]:
    """Logits (N×C) and the layers' outputs, from one pass."""
    try:
        with kept(named) as outputs:
            logits = model(x)
    except RuntimeError as error:
        if "not implemented for" not in str(error):
            raise
        raise CourseError(
            f"{x.device.type} cannot compute in {x.dtype} here: take model.float()"
        ) from None
    if not torch.is_tensor(logits) or logits.ndim != 2 or len(logits) != len(x):
        raise CourseError("the model must give logits, N×C for N pictures")
    if not logits.isfinite().all():
        raise CourseError("the model's logits are not finite: look at its weights")
    for name in named:
        if name not in outputs:
            raise CourseError(f"layer {name} took no part in the pass: take another")
    return logits, {name: outputs[name] for name in named}


def gradients(logits, outputs, target) -> dict[str, torch.Tensor]:
    """Of the score, to the outputs of the layers and to the logits; of each picture."""
    to = outputs | {"logits": logits}
    with torch.enable_grad():
        score = target.of(logits).sum()
        found = dict.fromkeys(to)
        if score.requires_grad:
            ways = torch.autograd.grad(
                score, to.values(), None, True, allow_unused=True
            )
            found = dict(zip(to, ways, strict=True))
    for name, gradient in found.items():
        if gradient is None:
            raise CourseError(f"layer {name} is not on the way to the score")
    return found


def modules(model, layers) -> dict[str, nn.Module]:
    """The modules of layers given by depth, by dotted name, or themselves."""
    layers = [layers] if isinstance(layers, (str, nn.Module)) else list(layers)
    names, known = {m: n for n, m in model.named_modules()}, dict(model.named_modules())
    depths = ("early", "middle", "deep") if hasattr(model, "layer") else ()
    found = {}
    for layer in layers:
        if isinstance(layer, nn.Module):
            if layer not in names:
                raise CourseError(
                    "the layer is no part of this model: take one of its own"
                )
            found[names[layer]] = layer
        elif layer in depths:
            found[layer] = model.layer(layer)
        elif layer and layer in known:
            found[layer] = known[layer]
        else:
            near = [*depths, *(n for n, _ in model.named_children())]
            raise CourseError(
                f"unknown layer {layer!r}: there are {', '.join(near)}, …"
            )
    return found


def as_map(output, layer: str, x, reshape):
    """What a layer gives as a map N×K×h×w, in at least single precision."""
    found = wide(output)
    if reshape is not None:
        found = reshape(found)
    elif found.ndim == 3:
        found = tokens_to_map(found, *x.shape[2:])
    if not torch.is_tensor(found) or found.ndim != 4 or len(found) != len(x):
        raise CourseError(
            f"layer {layer} gives {shape(output)}, not maps N×K×h×w: take an earlier "
            "layer, or say how to arrange it with reshape="
        )
    return found


def tokens_to_map(tokens, height: int, width: int):
    """A transformer's tokens (N×T×K) as a map (N×K×h×w), without those before them."""
    for extra in range(6):  # a class token, and up to four registers
        n = tokens.shape[1] - extra
        h = round((n * height / width) ** 0.5) if n > 0 else 0
        if h and n % h == 0 and n // h * height == h * width:
            grid = tokens[:, extra:].transpose(1, 2)
            return grid.reshape(*grid.shape[:2], h, n // h)
    return tokens


def wide(t):
    """Half precision is too coarse for sums: single, at least."""
    return t.float() if t.dtype.itemsize < 4 else t


def shape(t) -> str:
    return "×".join(map(str, t.shape))
