"""A captioner of our own: the course's network sees, a small decoder speaks (taught in 05).

The network stays as it is. Its middle and deep maps are the words' context; the decoder
(two layers of GPT-2's kind, from `transformers`) learns which words follow. It knows the
words of its training captions and no others, and it takes no orders: a prompt is ignored.
"""

from time import perf_counter

import numpy as np
import torch
from filelock import FileLock
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from . import images, models, saved, weights
from .files import below_out
from .settings import CourseError, Settings, watched

SPECIAL = ("<pad>", "<start>", "<end>", "<unknown>")
PAD, START, END = range(3)
LONGEST = 80  # words of a caption
DEPTHS = ("middle", "deep")


class Compact(nn.Module):
    """Pictures → sentences, by the maps of a classifier (frozen)."""

    def __init__(self, eye: models.Classifier, vocabulary: list[str], width=128):
        from transformers import GPT2Config, GPT2LMHeadModel  # seconds to import

        super().__init__()
        self.name, self.vocabulary = "compact, untrained", list(vocabulary)
        self.eye = [eye.eval()]  # in a list: its weights are not ours to save or train
        self.tokenizer = _tokenizer(self.vocabulary)
        blank = np.zeros((1, eye.size, eye.size, 3), np.uint8)
        shapes = [seen.shape[1:] for seen in see(eye, blank)]
        self.places = nn.Parameter(torch.zeros(sum(t for t, _ in shapes), width))
        self.project = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(k), nn.Linear(k, width)) for _, k in shapes
        )
        self.decoder = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(SPECIAL) + len(self.vocabulary),
                n_positions=LONGEST + 2,
                n_embd=width,
                n_layer=2,
                n_head=4,
                add_cross_attention=True,
                bos_token_id=START,
                eos_token_id=END,
                pad_token_id=None,  # else it warns of what it is given anyway
            )
        )

    def forward(self, seen: list[torch.Tensor], words: torch.Tensor):
        """Logits (N×L×V) of each next word, for maps as `see` gives them and words N×L."""
        return self.decoder(
            input_ids=words,
            attention_mask=words != PAD,
            encoder_hidden_states=self.context(seen),
        ).logits

    def context(self, seen) -> torch.Tensor:
        """The maps as one row of places (N×T×width)."""
        parts = [layer(s) for layer, s in zip(self.project, seen, strict=True)]
        return torch.cat(parts, 1) + self.places

    def words(self, captions: list[str]) -> torch.Tensor:
        """Captions as numbers (N×L), each between start and end, then padding."""
        rows = [[START, *one.ids, END] for one in self.tokenizer.encode_batch(captions)]
        rows = [torch.tensor(row[: LONGEST + 2]) for row in rows]
        return pad_sequence(rows, batch_first=True, padding_value=PAD)

    @torch.inference_mode()
    def caption(self, pictures, prompt: str = "") -> list[str]:
        """A sentence for each picture (H×W×3 uint8); `prompt` is not listened to."""
        seen, said = see(self.eye[0], _squashed(pictures, self.eye[0].size)), []
        for rows in torch.arange(len(pictures)).split(64):
            context = self.context([s[rows] for s in seen])
            found = self.decoder.generate(
                input_ids=torch.full((len(rows), 1), START),
                attention_mask=torch.ones(len(rows), 1, dtype=torch.long),
                encoder_hidden_states=context,
                max_new_tokens=LONGEST,
                pad_token_id=PAD,
                do_sample=False,
            )
            said += [self.sentence(row.tolist()) for row in found]
        return said

    def sentence(self, numbers: list[int]) -> str:
        """Numbers as a sentence, with its stops where they belong."""
        known = [*SPECIAL, *self.vocabulary]
        words = [known[n] for n in numbers if n >= len(SPECIAL)]
        text = " ".join(words)
        for mark in ",;.":
            text = text.replace(f" {mark}", mark)
        return (text[:1].upper() + text[1:]).replace(" - ", "-")

    @torch.inference_mode()
    def score(self, pictures, prompt: str, answers: list[str]) -> np.ndarray:
        """Log-probability of each answer as the beginning of the caption (N×A)."""
        seen, found = see(self.eye[0], _squashed(pictures, self.eye[0].size)), []
        for answer in answers:
            words = self.words([answer])[:, :-1].expand(len(pictures), -1)
            said = self(seen, words[:, :-1]).log_softmax(2)
            found.append(said.gather(2, words[:, 1:, None]).sum((1, 2)))
        return torch.stack(found, 1).numpy()


def see(eye: models.Classifier, pixels: np.ndarray) -> list[torch.Tensor]:
    """The middle and the deep map of pictures (N×H×W×3 uint8): N×places×channels each."""
    shapes = []

    def maps(x):
        outputs, shapes[:] = [], []
        handles = [
            eye.layer(depth).register_forward_hook(
                lambda *args: outputs.append(args[2])
            )
            for depth in DEPTHS
        ]
        try:
            eye.map(x)
        finally:
            for handle in handles:
                handle.remove()
        rows = [o.flatten(2).transpose(1, 2) if o.ndim == 4 else o for o in outputs]
        shapes.extend(row.shape[1:] for row in rows)
        return torch.cat([row.flatten(1) for row in rows], 1)

    flat = torch.from_numpy(models.each(eye, pixels, maps))
    parts = flat.split([t * k for t, k in shapes], 1)
    return [p.reshape(len(p), *s) for p, s in zip(parts, shapes, strict=True)]


def train(
    eye, pixels: np.ndarray, captions: list[str], epochs: int = 10, seed: int = 0
) -> Compact:
    """A captioner taught on pictures (N×H×W×3 uint8) and a caption each.

    Its name tells what it learnt from: captions are kept by the name of who said them.
    """
    if len(pixels) != len(captions) or not len(captions):
        raise CourseError(
            f"{len(pixels)} pictures and {len(captions)} captions: one each"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Compact(eye, vocabulary(captions))
        seen, words = see(eye, pixels), model.words(captions)
        batches = max(1, len(pixels) // 32)
        adam = torch.optim.AdamW(model.parameters(), 2e-3)
        plan = torch.optim.lr_scheduler.OneCycleLR(adam, 2e-3, epochs * batches + 1)
        model.train()
        for _ in tqdm(range(epochs), desc="captioner", disable=not watched()):
            order = torch.randperm(len(pixels))
            for rows in order.tensor_split(batches):
                logits = model([s[rows] for s in seen], words[rows, :-1])
                loss = nn.functional.cross_entropy(
                    logits.flatten(0, 1), words[rows, 1:].flatten(), ignore_index=PAD
                )
                adam.zero_grad()
                loss.backward()
                adam.step()
                plan.step()
    model.name = _named(eye, captions, epochs, seed)
    return model.eval()


def _named(eye, captions: list[str], epochs: int, seed: int) -> str:
    return (
        f"compact-{saved.key(*eye.state_dict().values(), captions, epochs, seed)[:8]}"
    )


def untrained(eye, captions: list[str], seed: int = 0) -> Compact:
    """The same before it has learnt a word's place: a control."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Compact(eye, vocabulary(captions)).eval()


def ensure(run, captions: list[str], cfg: Settings, epochs: int = 10) -> Compact:
    """The captioner of a trained model, learnt from the training captions; kept.

    `captions` are those of all of `run.cases`, in their order.
    """
    mine = (run.cases.split == "train").to_numpy()
    taught = [text for text, learn in zip(captions, mine, strict=True) if learn]
    pixels, eye = images.load(run.cases, run.model.size), run.model.cpu()
    name = _named(eye, taught, epochs, cfg.seed)
    path = below_out("models", f"{name}.safetensors")
    with FileLock(path.with_suffix(".lock")):
        if not path.is_file():
            start = perf_counter()
            model = train(eye, pixels[mine], taught, epochs, cfg.seed)
            weights.write(_state(model), path)
            print(f"captioner: trained in {perf_counter() - start:.0f} s")
            return model
    model = untrained(eye, taught)
    state = weights.read(path)
    weights.check(_state(model), state, str(path))
    model.load_state_dict(state, strict=False)
    model.name = name
    return model


def _state(model: Compact) -> dict[str, torch.Tensor]:
    """Its tensors, each once: the decoder's last layer shares the words' vectors."""
    state = model.state_dict()
    return {name: value for name, value in state.items() if "lm_head" not in name}


def vocabulary(captions: list[str]) -> list[str]:
    """Every word and stop of the captions, in the alphabet's order."""
    bare = _tokenizer([])
    split = bare.pre_tokenizer.pre_tokenize_str
    return sorted({word for text in captions for word, _ in split(text.lower())})


def _tokenizer(words: list[str]) -> Tokenizer:
    """Whole words, lower case, stops apart."""
    numbers = {word: n for n, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(WordLevel(numbers, unk_token=SPECIAL[-1]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def _squashed(pictures, size: int) -> np.ndarray:
    if not len(pictures):
        raise CourseError("no picture to describe: give at least one")
    return np.stack([images.squashed(picture, size) for picture in pictures])
