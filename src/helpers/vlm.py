"""Vision–language models by name, for the memory at hand (taught in notebook 05).

`load` takes a name of `MODELS` or a local folder, and says what to do where there is not
enough memory, no network or no query tokens; `wrap` takes a model and a processor.
"""

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers

from . import saved
from .hub import HubCaptioner
from .settings import CourseError

ROOM = 2.0  # GB beside the weights, for pictures and answers
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1, "nf4": 0.57}  # of a parameter
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
CLASSES = {
    "instructblip": ("InstructBlipForConditionalGeneration", "InstructBlipProcessor"),
    "blip2": ("Blip2ForConditionalGeneration", "Blip2Processor"),
    "chat": ("AutoModelForImageTextToText", "AutoProcessor"),
}


@dataclass(frozen=True)
class Row:
    hub: str  # the name on the hub, or a folder
    family: str  # of CLASSES
    precision: str  # that a T4 (16 GB) runs it in
    billions: float  # of parameters

    def memory(self, precision: str) -> float:
        """GB that it needs in a precision, with room for pictures and answers."""
        return self.billions * BYTES[precision] + ROOM


MODELS = {
    "instructblip-flan-t5-xl": Row(
        "Salesforce/instructblip-flan-t5-xl", "instructblip", "fp16", 3.96
    ),
    "instructblip-vicuna-7b": Row(
        "Salesforce/instructblip-vicuna-7b", "instructblip", "nf4", 7.91
    ),
    "blip2-flan-t5-xl": Row("Salesforce/blip2-flan-t5-xl", "blip2", "fp16", 3.94),
    "blip2-opt-2.7b": Row("Salesforce/blip2-opt-2.7b", "blip2", "fp16", 3.74),
    "smolvlm-500m": Row("HuggingFaceTB/SmolVLM-500M-Instruct", "chat", "bf16", 0.51),
    "smolvlm-2.2b": Row("HuggingFaceTB/SmolVLM-Instruct", "chat", "bf16", 2.25),
    "qwen3-vl-2b": Row("Qwen/Qwen3-VL-2B-Instruct", "chat", "bf16", 2.13),
    "medgemma-4b": Row("google/medgemma-4b-it", "chat", "bf16", 4.3),  # fp16 overflows
}


def load(name: str, device: str = "cpu", precision: str | None = None) -> HubCaptioner:
    """The captioner of a name of `MODELS` or of a local folder, ready to answer.

    Without `precision`, a GPU gets the table's and a CPU fp32.
    """
    row = _row(name)
    precision = precision or (row.precision if "cuda" in device else "fp32")
    if precision not in BYTES:
        raise CourseError(
            f"unknown precision {precision!r}; choose one of {', '.join(BYTES)}"
        )
    half = torch.bfloat16 if row.precision == "bf16" else torch.float16
    how: dict = {"dtype": DTYPES.get(precision, half)}
    if precision not in DTYPES:
        how["quantization_config"] = quantised(precision, half)
        how["device_map"] = {"": device}
    if row.memory(precision) > free(device):
        raise CourseError(_too_large(name, row, precision, device))
    model_class, processor_class = (
        getattr(transformers, c) for c in CLASSES[row.family]
    )
    try:
        model = model_class.from_pretrained(row.hub, **how)
        processor = processor_class.from_pretrained(row.hub)
        if precision in DTYPES:
            model = model.to(device)
    except torch.OutOfMemoryError:
        raise CourseError(_too_large(name, row, precision, device)) from None
    except (OSError, ValueError) as error:
        raise CourseError(_unreadable(name, row, str(error))) from None
    return wrap(model, processor, f"{_told(name)} in {precision}")


def wrap(model: Any, processor: Any, name: str) -> HubCaptioner:
    """A model and its processor as a captioner; `name` is what answers are kept under."""
    if hasattr(model.config, "num_query_tokens"):
        _check_queries(model, processor, name)
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"  # answers begin right after the prompt
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return HubCaptioner(model.eval(), processor, name)


def _check_queries(model, processor, name: str) -> None:
    """As many places for the picture in the text as the Q-Former fills; else refused."""
    wanted, written = model.config.num_query_tokens, processor.num_query_tokens
    image = processor.tokenizer.convert_tokens_to_ids("<image>")
    if model.config.image_token_id != image:
        raise CourseError(
            f"{name}: a checkpoint without query tokens, as before 2025 (its <image> is "
            f"{model.config.image_token_id}, the tokenizer's {image}); download it again"
        )
    if written is None:  # an old processor: the model knows
        processor.num_query_tokens = wanted
    elif written != wanted:
        raise CourseError(
            f"{name}: the processor writes {written} query tokens, the model has "
            f"{wanted}; take both from one checkpoint"
        )


def quantised(precision: str, dtype: torch.dtype) -> transformers.BitsAndBytesConfig:
    """How bitsandbytes stores the weights: 'int8', or 'nf4' that computes in `dtype`."""
    if find_spec("bitsandbytes") is None:
        raise CourseError(
            f"{precision} needs bitsandbytes, which is not installed: "
            "pip install bitsandbytes, or choose precision='fp16'"
        )
    if precision == "int8":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
    )


def free(device: str) -> float:
    """GB of memory that are free on a device."""
    if "cuda" in device:
        return torch.cuda.mem_get_info(device)[0] / 1e9
    return psutil.virtual_memory().available / 1e9


def fitting(device: str, there: float) -> list[str]:
    """The models of the table that fit into so many GB, each in its best precision."""
    found = []
    for name, row in MODELS.items():
        tried = (row.precision, "int8", "nf4") if "cuda" in device else ("fp32",)
        fits = [p for p in tried if row.memory(p) <= there]
        found += [f"{name} in {p}" for p in fits[:1]]
    return found


def _row(name: str) -> Row:
    """What is known of a name, or of a folder by its config.json and its weights' size."""
    if name in MODELS:
        return MODELS[name]
    folder = Path(name).expanduser()
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CourseError(
            f"unknown model {name!r}; choose one of {', '.join(MODELS)}, or give a folder "
            "with a config.json and weights"
        ) from None
    family = str(told.get("model_type")).replace("-", "")  # blip-2
    family = family if family in CLASSES else "chat"
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    each = BYTES["fp32" if told.get("dtype") == "float32" else "fp16"]
    half = "bf16" if family == "chat" else "fp16"
    return Row(str(folder), family, half, size / each / 1e9)


def _told(name: str) -> str:
    """The name for the cache; a folder's says which files lie there now."""
    if name in MODELS:
        return name
    files = sorted(Path(name).expanduser().glob("*.*"))
    stats = [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    return f"{name} {saved.key(stats)[:8]}"


def _too_large(name: str, row: Row, precision: str, device: str) -> str:
    there = free(device)
    fits = ", ".join(fitting(device, there)) or "none of the table"
    return (
        f"{name} needs {row.memory(precision):.1f} GB in {precision}, and {there:.1f} GB "
        f"are free on {device}; what fits: {fits}, the course's compact captioner"
    )


def _unreadable(name: str, row: Row, error: str) -> str:
    if "gated" in error:
        return (
            f"{name}: accept its licence on https://huggingface.co/{row.hub} and log in "
            "with `hf auth login`, or choose another model"
        )
    cause = error.strip().split("\n")[0][:120]
    return (
        f"{name}: neither in the cache nor to be had ({cause}); connect to the network, "
        "give a local folder in place of the name, or use the course's compact captioner"
    )
