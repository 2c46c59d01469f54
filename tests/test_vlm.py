"""The code path of InstructBLIP, BLIP-2 and chat models, on tiny random ones, offline."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from errors import refused
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel

from helpers import captions, hub, lora, vlm

WORDS = "a is the brown lesion regular irregular border no what colour . yes :".split()
SPECIAL = ["<pad>", "</s>", "<unk>", "<s>"]
PROMPT = "what colour is the lesion"
EYE = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
Q_FORMER = EYE | {"num_hidden_layers": 2, "vocab_size": 19}
T5 = transformers.T5Config(
    vocab_size=19,
    d_model=16,
    d_kv=8,
    d_ff=16,
    num_layers=1,
    num_heads=2,
    dropout_rate=0.0,
    decoder_start_token_id=0,
)
OPT = transformers.OPTConfig(
    vocab_size=19,
    hidden_size=16,
    ffn_dim=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    word_embed_proj_dim=16,
    max_position_embeddings=160,
    dropout=0.0,
    pad_token_id=0,
    eos_token_id=1,
    bos_token_id=3,
)
LLAMA = transformers.LlamaConfig(
    vocab_size=19,
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    max_position_embeddings=160,
    pad_token_id=0,
    eos_token_id=1,
    bos_token_id=3,
)
TEMPLATE = (
    "{% for m in messages %}user : {% for c in m.content %}"
    "{{ '<image> ' if c.type == 'image' else c.text }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} model :{% endif %}"
)
pytestmark = pytest.mark.usefixtures("one_thread", "folders")


def tokenizer(frame: str):
    """A word-level tokenizer, built here; `frame` says where its special tokens go."""
    table = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    made = Tokenizer(WordLevel(table, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single=frame, special_tokens=[("</s>", 1), ("<s>", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        bos_token="<s>",
    )


def random_weights(model):
    """Weights large enough that answers depend on picture and prompt."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.4, generator=draw)
    return model.eval()


def blip(text, family="InstructBlip", queries=4, written=4):
    """A tiny random model of a family and its processor."""
    kinds = {
        kind: getattr(transformers, f"{family}{kind}")
        for kind in ("Config", "ForConditionalGeneration", "Processor")
    }
    config = kinds["Config"](
        vision_config=EYE,
        qformer_config=Q_FORMER,
        text_config=text.to_dict(),
        num_query_tokens=queries,
        image_token_index=len(SPECIAL) + len(WORDS),
    )
    eye = transformers.BlipImageProcessor(size={"height": 16, "width": 16})
    words = tokenizer("$A </s>" if text is T5 else "<s> $A")
    parts = [eye, words]
    if family == "InstructBlip":
        parts.append(tokenizer("$A"))
    torch.manual_seed(0)
    model = random_weights(kinds["ForConditionalGeneration"](config))
    return model, kinds["Processor"](*parts, num_query_tokens=written)


def llava():
    """A tiny random chat model."""
    words = tokenizer("$A")
    words.add_tokens(["<image>"], special_tokens=True)
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**EYE),
        text_config=LLAMA,
        image_token_index=len(SPECIAL) + len(WORDS),
        vision_feature_layer=-1,
    )
    side = {"height": 16, "width": 16}
    processor = transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(size=side, crop_size=side),
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    torch.manual_seed(0)
    model = transformers.LlavaForConditionalGeneration(config)
    return random_weights(model), processor


MAKERS = {
    "instructblip-t5": lambda: blip(T5),
    "instructblip-opt": lambda: blip(OPT),
    "instructblip-llama": lambda: blip(LLAMA),
    "blip2-t5": lambda: blip(T5, "Blip2"),
    "blip2-opt": lambda: blip(OPT, "Blip2"),
    "chat": llava,
}


@pytest.fixture(params=MAKERS)
def captioner(request, monkeypatch):
    monkeypatch.setattr(hub, "LIMIT", 12)
    return vlm.wrap(*MAKERS[request.param](), request.param)


@pytest.fixture(scope="module")
def pictures():
    noise = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    black = np.zeros((20, 28, 3), np.uint8)
    return [noise, black, np.full((16, 16, 3), 255, np.uint8)]


# Sentences


def test_a_batch_says_what_single_pictures_say(captioner, pictures, monkeypatch):
    monkeypatch.setattr(hub, "BATCH", 2)
    said = captioner.caption(pictures, PROMPT)
    assert said == [captioner.caption([p], PROMPT)[0] for p in pictures]
    assert said == captioner.caption(pictures, PROMPT)
    assert any(said) and not any("<" in text or PROMPT in text for text in said)


def test_answers_depend_on_picture_and_prompt(captioner, pictures):
    options = ["brown", "regular border"]
    scores = captioner.score(pictures, PROMPT, options)
    assert np.ptp(scores, axis=0).min() > 1e-4
    assert not np.allclose(scores, captioner.score(pictures, "is no border", options))


def test_only_new_tokens_are_kept(captioner, pictures, monkeypatch):
    """What comes back from `generate` holds the prompt where there is no encoder."""
    kept = []
    inputs = captioner.encode(pictures[:1], PROMPT)
    given = inputs["input_ids"].shape[1] if captioner.decoder_only else 1
    generate = type(captioner.model).generate

    def watched(self, **how):
        kept.append(generate(self, **how))
        return kept[-1]

    monkeypatch.setattr(type(captioner.model), "generate", watched)
    said = captioner.caption(pictures[:1], PROMPT)[0].removesuffix(captions.ENDLESS)
    row = kept[0][0]
    if captioner.decoder_only:
        assert torch.equal(row[:given], inputs["input_ids"][0])
    assert len(row) <= given + hub.LIMIT
    new = captioner.processor.tokenizer.decode(row[given:], skip_special_tokens=True)
    assert said and " ".join(new.split()).startswith(said)


def test_an_answer_without_end_is_marked(pictures, monkeypatch):
    captioner = vlm.wrap(*blip(T5), "tiny")
    monkeypatch.setattr(hub, "LIMIT", 3)
    rows = torch.tensor([[0, 7, 8, 9], [0, 7, 1, 0], [0, 1, 0, 0]])
    monkeypatch.setattr(type(captioner.model), "generate", lambda *_, **__: rows)
    said = captioner.caption(pictures, PROMPT)
    assert said == ["brown lesion regular …", "brown", ""]
    assert captions.counts(said) == {"answers": 3, "empty": 1, "endless": 1}


def test_all_tokens_that_may_end_an_answer():
    captioner = vlm.wrap(*blip(OPT), "tiny")
    captioner.model.language_model.generation_config.eos_token_id = 9  # as BLIP-2's OPT
    assert captioner.ends == [1, 9]


# Scores


def test_scores_are_sums_of_log_softmax(captioner, pictures):
    """By hand: each token by the whole model, one picture and one answer at a time."""
    options = ["yes", "irregular border", "no"]
    found = captioner.score(pictures, PROMPT, options)
    assert found.shape == (3, 3) and (found < 0).all()
    vocabulary = captioner.processor.tokenizer.get_vocab()
    for i, j in ((0, 0), (1, 1), (2, 2)):
        inputs, total = captioner.encode([pictures[i]], PROMPT), 0.0
        said = [0]  # T5 starts its answer with padding
        for word in options[j].split():
            if captioner.decoder_only:
                logits = captioner.model(**inputs).logits
            else:
                logits = captioner.model(
                    **inputs, decoder_input_ids=torch.tensor([said])
                ).logits
            token = vocabulary[word]
            total += logits[0, -1].log_softmax(0)[token].item()
            said.append(token)
            if captioner.decoder_only:
                more = {"input_ids": token, "attention_mask": 1}
                for k, value in more.items():
                    inputs[k] = torch.cat([inputs[k], torch.tensor([[value]])], 1)
        assert found[i, j] == pytest.approx(total, abs=1e-4)


def test_no_pictures(captioner):
    assert captioner.caption([], PROMPT) == []
    assert captioner.score([], PROMPT, ["yes", "no"]).shape == (0, 2)


def test_scores_that_are_no_numbers(pictures):
    captioner = vlm.wrap(*blip(T5), "tiny")
    with torch.no_grad():
        captioner.model.language_projection.weight.fill_(torch.nan)
    refused(lambda: captioner.score(pictures, PROMPT, ["yes"]), "tiny", "bf16")


# Query tokens


def test_an_old_processor_learns_the_query_tokens(pictures):
    """Checkpoints of before 2025 do not say how many: transformers stumbles over None."""
    model, processor = blip(T5, written=None)
    assert vlm.wrap(model, processor, "old").caption(pictures[:1], PROMPT)
    assert processor.num_query_tokens == 4


def test_other_numbers_of_query_tokens_are_refused():
    model, processor = blip(T5, written=3)
    refused(
        lambda: vlm.wrap(model, processor, "odd"), "odd", "3", "4", "one checkpoint"
    )


def test_a_checkpoint_without_query_tokens():
    model, processor = blip(T5)
    model.config.image_token_id = None
    refused(lambda: vlm.wrap(model, processor, "old"), "without query", "download")


# Loading


@pytest.fixture
def roomy(monkeypatch):
    monkeypatch.setattr(vlm, "free", lambda device: 100.0)


@pytest.mark.parametrize("name", MAKERS)
def test_a_local_folder(name, tmp_path, pictures, roomy, monkeypatch):
    monkeypatch.setattr(hub, "LIMIT", 6)
    made = vlm.wrap(*MAKERS[name](), "made")
    made.model.save_pretrained(tmp_path)
    made.processor.save_pretrained(tmp_path)
    read = vlm.load(str(tmp_path))
    assert type(read.model) is type(made.model)
    assert read.caption(pictures, PROMPT) == made.caption(pictures, PROMPT)
    assert read.name.startswith(str(tmp_path)) and read.name.endswith("in fp32")
    (tmp_path / "model.safetensors").touch()
    assert vlm.load(str(tmp_path)).name != read.name  # other weights, other answers


def test_a_folder_that_is_no_model(tmp_path, roomy):
    refused(lambda: vlm.load(str(tmp_path)), tmp_path, "config.json")
    (tmp_path / "config.json").write_text("{")
    refused(lambda: vlm.load(str(tmp_path)), tmp_path, "config.json")
    (tmp_path / "config.json").write_text("{}")
    refused(lambda: vlm.load(str(tmp_path)), tmp_path, "compact captioner")


def test_half_precision_keeps_what_would_overflow(tmp_path, roomy):
    """T5's last projections stay in fp32, else they overflow."""
    model, processor = blip(T5)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    read = vlm.load(str(tmp_path), precision="fp16").model
    block = read.language_model.encoder.block[0]
    assert block.layer[1].DenseReluDense.wo.weight.dtype == torch.float32
    assert block.layer[0].SelfAttention.q.weight.dtype == torch.float16


def test_unknown_names_and_precisions():
    refused(lambda: vlm.load("clip"), "'clip'", *vlm.MODELS)
    refused(lambda: vlm.load("smolvlm-500m", precision="int3"), "'int3'", "nf4")


def test_no_network(roomy, monkeypatch):
    def offline(*_, **__):
        raise OSError("We couldn't connect to 'https://huggingface.co'\nCheck your …")

    monkeypatch.setattr(
        transformers.InstructBlipForConditionalGeneration, "from_pretrained", offline
    )
    ways = ("network", "local folder", "compact captioner", "couldn't connect")
    refused(lambda: vlm.load("instructblip-flan-t5-xl"), *ways)


def test_a_model_with_a_licence(roomy, monkeypatch):
    def closed(*_, **__):
        raise OSError("You are trying to access a gated repo.\nMake sure …")

    auto = transformers.AutoModelForImageTextToText
    monkeypatch.setattr(auto, "from_pretrained", closed)
    refused(
        lambda: vlm.load("medgemma-4b"), "licence", "google/medgemma-4b-it", "login"
    )


def test_a_model_that_does_not_fit(monkeypatch):
    monkeypatch.setattr(vlm, "free", lambda device: 6.2)
    name = "instructblip-flan-t5-xl"
    line = refused(
        lambda: vlm.load(name, "cuda"), "9.9 GB", "6.2 GB", f"{name} in int8"
    )
    assert "smolvlm-500m in bf16" in line and "vicuna" not in line
    monkeypatch.setattr(vlm, "free", lambda device: 1.0)
    refused(lambda: vlm.load(name), "17.8 GB", "none of the table", "compact")


def test_memory_that_runs_out_while_loading(roomy, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError

    auto = transformers.AutoModelForImageTextToText
    monkeypatch.setattr(auto, "from_pretrained", full)
    refused(lambda: vlm.load("qwen3-vl-2b"), "qwen3-vl-2b needs", "what fits")


def test_every_default_fits_a_t4():
    assert {name.split(" in ")[0] for name in vlm.fitting("cuda", 15.5)} == {
        *vlm.MODELS
    }
    assert all(row.memory(row.precision) < 15.5 for row in vlm.MODELS.values())
    assert 0 < vlm.free("cpu") < 1e5


def test_quantisation(roomy, monkeypatch):
    refused(lambda: vlm.load("blip2-opt-2.7b", precision="int8"), "pip install")
    monkeypatch.setitem(sys.modules, "bitsandbytes", SimpleNamespace(__spec__=True))
    asked = {}

    def take(_, **how):
        asked.update(how)
        raise OSError("enough")

    blip_class = transformers.InstructBlipForConditionalGeneration
    monkeypatch.setattr(blip_class, "from_pretrained", take)
    refused(lambda: vlm.load("instructblip-vicuna-7b", "cuda"), "enough")
    stored = asked.pop("quantization_config")
    assert asked == {"dtype": torch.float16, "device_map": {"": "cuda"}}
    assert stored.quantization_method() == "nf4"
    assert stored.bnb_4bit_compute_dtype == torch.float16
    assert vlm.quantised("int8", torch.float16).quantization_method() == "llm_int8"


# Fine-tuning


def test_lora_learns_and_changes_its_own_matrices_only(captioner, pictures):
    said = ["the lesion is brown .", "the border is irregular ."]
    pairs = [(p, PROMPT, s) for p, s in zip(pictures, said, strict=False)]
    before = {k: v.clone() for k, v in captioner.model.state_dict().items()}
    first = captioner.score(pictures[:1], PROMPT, said[:1]).item()
    tuned, losses = lora.lora(captioner, pairs, epochs=12, rate=0.03, together=2)
    assert len(losses) == 12 and losses[-1] < losses[0]
    assert tuned.score(pictures[:1], PROMPT, said[:1]).item() > first
    assert tuned.name != captioner.name and not tuned.model.training
    changed = [n for n, p in tuned.model.named_parameters() if p.requires_grad]
    assert changed and all("lora_" in name for name in changed)
    after = tuned.model.unload().state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())


def test_lora_twice_is_the_same(pictures):
    pairs = [(p, PROMPT, "yes") for p in pictures]
    runs = [
        lora.lora(vlm.wrap(*blip(T5), "tiny"), pairs, epochs=2, together=2, seed=seed)
        for seed in (3, 3, 4)
    ]
    assert runs[0][1] == runs[1][1] != runs[2][1]
    assert runs[0][0].name == runs[1][0].name != runs[2][0].name
    assert len(runs[0][1]) == 4  # two steps an epoch, the second of one pair
    assert runs[0][0].caption(pictures, PROMPT) == runs[1][0].caption(pictures, PROMPT)


def test_a_captioner_that_was_fine_tuned_since(pictures):
    """Its answers would be the tuned ones, kept under the untuned name."""
    plain = vlm.wrap(*blip(T5), "tiny")
    lora.lora(plain, [(pictures[0], PROMPT, "yes")], epochs=1)
    refused(lambda: plain.caption(pictures, PROMPT), "tiny", "fine-tuned", "load")


def test_lora_refuses():
    captioner = vlm.wrap(*blip(T5), "tiny")
    refused(lambda: lora.lora(captioner, []), "no pairs")
    refused(lambda: lora.targets(torch.nn.Linear(2, 2)), "Linear", "q_proj")


def test_a_loss_that_is_no_number(pictures):
    captioner = vlm.wrap(*blip(T5), "tiny")
    with torch.no_grad():
        captioner.model.language_projection.weight.fill_(torch.nan)
    refused(lambda: lora.lora(captioner, [(pictures[0], PROMPT, "yes")]), "no number")
