"""LoRA: a captioner fine-tuned by small matrices beside its own (taught in notebook 05).

The model's weights stay as they are. Beside the query and value projections of its
language model, two thin matrices each learn the domain's words.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import peft
import torch
from tqdm import tqdm

from . import saved
from .hub import HubCaptioner
from .settings import CourseError, watched

TARGETS = ("q", "v", "q_proj", "v_proj")  # T5's names, and those of OPT, LLaMA, Gemma
EYES = ("vision", "visual")  # parts of names that are not the language model's


def lora(
    captioner: HubCaptioner,
    pairs: Sequence[tuple[np.ndarray, str, str]],
    epochs: int = 3,
    rate: float = 2e-4,
    rank: int = 8,
    together: int = 8,
    seed: int = 0,
) -> tuple[HubCaptioner, list[float]]:
    """A captioner taught on (picture H×W×3 uint8, prompt, caption), and its losses.

    One pair at a time fits a small GPU; `together` of them make a step. The captioner
    that was given is used up. `tuned.model.save_pretrained(folder)` keeps the matrices.
    """
    if not pairs:
        raise CourseError(
            "no pairs to learn from: give (picture, prompt, caption) each"
        )
    draw = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tuned = adapted(captioner, rank)
        learnt = [p for p in tuned.model.parameters() if p.requires_grad]
        adam = torch.optim.AdamW(learnt, rate)
        tuned.model.train()
        losses = []
        for _ in tqdm(range(epochs), desc="LoRA", disable=not watched()):
            order = draw.permutation(len(pairs))
            for start in range(0, len(order), together):
                rows = order[start : start + together]
                adam.zero_grad()
                losses.append(sum(_learn(tuned, pairs[i], len(rows)) for i in rows))
                if not np.isfinite(losses[-1]):
                    raise CourseError(
                        f"{captioner.name}: the loss is no number; lower the rate "
                        f"(now {rate}), or load the model in bf16"
                    )
                torch.nn.utils.clip_grad_norm_(learnt, 1.0)
                adam.step()
    tuned.model.eval()
    key = saved.key(list(pairs), epochs, rate, rank, together, seed)
    return replace(tuned, name=f"{captioner.name} LoRA {key[:8]}"), losses


def adapted(captioner: HubCaptioner, rank: int = 8) -> HubCaptioner:
    """The captioner with new matrices, which change nothing yet and alone can learn."""
    model = captioner.model
    config = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules=targets(model)
    )
    if getattr(model, "is_quantized", False):
        model = peft.prepare_model_for_kbit_training(model)
    return replace(captioner, model=peft.get_peft_model(model, config))


def targets(model: torch.nn.Module) -> list[str]:
    """The names of the language model's query and value projections."""
    names = [
        name
        for name, part in model.named_modules()
        if isinstance(part, torch.nn.Linear)
        and name.rpartition(".")[2] in TARGETS
        and not any(eye in name for eye in EYES)
    ]
    if not names:
        raise CourseError(
            f"{type(model).__name__}: no layer is called {', '.join(TARGETS)}; "
            "LoRA needs to know a model's query and value projections"
        )
    return names


def _learn(tuned: HubCaptioner, pair: tuple, share: int) -> float:
    """Adds one pair's part to the gradients: the mean loss of its tokens, end included."""
    image, prompt, caption = pair
    end = tuned.processor.tokenizer.eos_token_id
    answer = [*tuned.tokens(prompt, caption), end]
    loss = -tuned.given(tuned.encode([image], prompt), answer).mean() / share
    loss.backward()
    return loss.item()
