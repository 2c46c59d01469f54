"""One model of Hugging Face as a captioner: sentences and scores (taught in notebook 05).

Answers are greedy, so the same picture and prompt give the same words. `vlm.load` and
`vlm.wrap` make such captioners; `lora` fine-tunes them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import torch
from PIL import Image

from .captions import checked
from .settings import CourseError

LIMIT = 80  # tokens of an answer
BATCH = 8  # pictures at once
BY_TOKEN = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")


@dataclass(frozen=True)
class HubCaptioner:
    model: Any
    processor: Any
    name: str  # also says the precision and what it was fine-tuned on: see `captions`

    @property
    def queries(self) -> bool:
        """Does a Q-Former stand between eye and words (InstructBLIP, BLIP-2)?"""
        return hasattr(self.model.config, "num_query_tokens")

    @property
    def shares(self) -> bool:
        """Does it take what its Q-Former has seen? Colab's transformers (5.15) does not."""
        base = getattr(self.model, "get_base_model", lambda: self.model)()
        return (
            self.queries and "mm_encoder_outputs" in signature(base.forward).parameters
        )

    @property
    def decoder_only(self) -> bool:
        """Does the language model write on from the prompt (or has it an encoder: T5)?"""
        return getattr(self.model.config, "use_decoder_only_language_model", True)

    @property
    def ends(self) -> list[int]:
        """The tokens that end an answer, by the model's settings or by its tokenizer."""
        speaker = self.model.language_model if self.queries else self.model
        told = speaker.generation_config.eos_token_id
        told = told if isinstance(told, list) else [told]
        ends = {*told, self.processor.tokenizer.eos_token_id} - {None}
        return sorted(ends)

    @torch.inference_mode()
    def caption(self, images: list[np.ndarray], prompt: str) -> list[str]:
        """A sentence for each picture (H×W×3 uint8), without the prompt's tokens."""
        said, ends, tokenizer = [], self.ends, self.processor.tokenizer
        for some in batches(images):
            inputs = self.encode(some, prompt)
            rows = self.model.generate(
                **inputs,
                do_sample=False,
                num_beams=1,
                max_new_tokens=LIMIT,
                eos_token_id=ends,
                pad_token_id=tokenizer.pad_token_id,
            )
            if self.decoder_only:  # its answer begins with what it was given
                rows = rows[:, inputs["input_ids"].shape[1] :]
            texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
            ended = np.isin(rows.cpu().numpy(), ends).any(1)
            said += [checked(t, e) for t, e in zip(texts, ended, strict=True)]
        return said

    @torch.inference_mode()
    def score(
        self, images: list[np.ndarray], prompt: str, answers: list[str]
    ) -> np.ndarray:
        """Log-probability of each answer, summed over its tokens (N×A); no end token."""
        tokens = [self.tokens(prompt, answer) for answer in answers]
        scores = [np.zeros((0, len(answers)), np.float32)]
        for some in batches(images):
            inputs = self.encode(some, prompt)
            if self.shares:  # one look at the picture is enough for all answers
                look = {k: v for k, v in inputs.items() if k not in BY_TOKEN}
                seen = self.model.get_image_features(**look, return_dict=True)
                inputs |= {"pixel_values": None, "mm_encoder_outputs": {"image": seen}}
            sums = [self.given(inputs, answer).sum(1) for answer in tokens]
            scores.append(torch.stack(sums, 1).cpu().numpy())
        if np.isnan(np.concatenate(scores)).any():
            raise CourseError(
                f"{self.name}: its log-probabilities are no numbers, which fp16 does to "
                "some models; load it with precision='bf16'"
            )
        return np.concatenate(scores)

    def given(self, inputs: dict, answer: list[int]) -> torch.Tensor:
        """Log-probability of each of an answer's L tokens, by picture and prompt (N×L)."""
        first = inputs["input_ids"]
        said = torch.tensor(answer, device=first.device).repeat(len(first), 1)
        if self.decoder_only:
            more = {"input_ids": said, "attention_mask": torch.ones_like(said)}
            longer = {
                k: torch.cat([inputs[k], more.get(k, torch.zeros_like(said))], 1)
                for k in BY_TOKEN
                if k in inputs
            }
            logits = self.model(**inputs | longer).logits[:, -1 - len(answer) : -1]
        else:
            logits = self.model(**inputs, labels=said).logits
        return logits.float().log_softmax(2).gather(2, said[:, :, None])[:, :, 0]

    def encode(self, images: list[np.ndarray], prompt: str) -> dict:
        """What the model reads of pictures with one prompt: token numbers and pixels."""
        base = getattr(self.model, "get_base_model", None)  # peft's models have one
        if base is None and hasattr(self.model, "peft_config"):
            raise CourseError(
                f"{self.name}: was fine-tuned since; ask the captioner that lora gave, or "
                "load this one again"
            )
        pictures = [Image.fromarray(image) for image in images]
        if self.queries:
            read = self.processor(
                images=pictures, text=[prompt] * len(pictures), return_tensors="pt"
            )
        else:
            read = self.processor.apply_chat_template(
                [_message(prompt, {"image": picture}) for picture in pictures],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True},
            )
        return dict(read.to(self.model.device, self.model.dtype))

    def tokens(self, prompt: str, answer: str) -> list[int]:
        """The tokens of an answer (L): by itself, or as what follows the prompt."""
        if not self.decoder_only:
            return self._numbers(answer)
        if not self.queries:
            prompt = self.processor.apply_chat_template(
                _message(prompt), add_generation_prompt=True, tokenize=False
            )
        gap = " " if prompt and not prompt[-1].isspace() else ""
        return self._numbers(prompt + gap + answer)[len(self._numbers(prompt)) :]

    def _numbers(self, text: str) -> list[int]:
        return self.processor.tokenizer(text, add_special_tokens=False).input_ids


def batches(images: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    for start in range(0, len(images), BATCH):
        yield images[start : start + BATCH]


def _message(prompt: str, picture: dict | None = None) -> list[dict]:
    """A conversation of one turn: a picture, or its place, and a prompt."""
    seen = {"type": "image", **(picture or {})}
    return [{"role": "user", "content": [seen, {"type": "text", "text": prompt}]}]
