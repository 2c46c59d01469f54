"""The cases of the explorer: chosen by rule, and told as the model and the truth are."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from helpers import (
    cam,
    compact,
    datasets,
    explorer,
    images,
    localisation,
    models,
    saved,
    settings,
    slots,
    trained,
)

SIZE = 64


def answers(n=800, seed=0):
    """Made-up answers: two pictures a lesion, three classes, a third of them wrong."""
    rng = np.random.default_rng(seed)
    label = np.repeat(rng.choice(["bkl", "mel", "nv"], n // 2), 2)
    predicted = np.where(rng.random(n) < 0.3, np.roll(label, 5), label)
    table = pd.DataFrame({"label": label, "predicted": predicted, "p": rng.random(n)})
    table["image_id"] = [f"P{i:03d}" for i in rng.permutation(n)]
    table["group"] = np.repeat(np.arange(n // 2), 2)
    table["split"] = np.repeat(rng.choice(["train", "test"], n // 2), 2)
    return table


def test_the_rule_of_the_choice():
    table = answers()
    chosen = explorer.choose(table, most=24)
    assert len(chosen) == 24 and (chosen.split == "test").all()
    assert not chosen.group.duplicated().any()
    right = chosen.predicted == chosen.label
    assert (pd.crosstab(chosen.label, right) == 4).all(axis=None)
    first = table[table.split == "test"].sort_values("image_id")
    first = first.drop_duplicates("group")
    some = first[(first.label == "mel") & (first.predicted == "mel")]
    mine = chosen[(chosen.label == "mel") & right]
    assert mine.p.max() == some.p.max() and mine.p.min() == some.p.min()
    assert mine.p.is_monotonic_decreasing


def test_the_order_of_the_table_does_not_matter():
    table = answers()
    chosen, other = explorer.choose(table), explorer.choose(table.sample(frac=1))
    assert list(chosen.index) == list(other.index)


def test_fewer_are_taken_where_there_are_fewer():
    table = answers()
    table["predicted"] = table.label
    table.loc[table.index[table.split == "test"][0], "predicted"] = "nothing"
    chosen = explorer.choose(table, most=24)
    wrong = chosen.predicted != chosen.label
    assert wrong.sum() <= 1 and (chosen[~wrong].groupby("label").size() == 4).all()


@pytest.fixture(scope="module")
def written(drawn, tmp_path_factory):
    """A run of an untrained network on synthetic pictures, and what was written of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAI_DERM_OUT", str(tmp_path_factory.mktemp("explorer")))
        patch.setattr(datasets, "folder_of", lambda *_: drawn)
        patch.setattr(settings.Settings, "device", "cpu")
        patch.setattr(compact, "ensure", lambda run, texts, _: talker(run, texts))
        run, cfg = untrained(drawn), settings.load(dataset="synthetic")
        chosen = explorer.choose(run.answers, most=6)
        left = settings.out_folder() / "results" / "explorer" / "99.js"
        left.parent.mkdir(parents=True)
        left.touch()  # of a run that had more cases
        size = explorer.write(run, chosen, cfg)
        yield run, chosen, left.parent, size


def untrained(folder):
    table = datasets.load("synthetic", folder)
    table = table[table.label.isin(["mel", "nv"])].reset_index(drop=True)
    table["split"] = np.resize(["train", "calibration", "test"], len(table))
    table["group"] = table.image_id
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = models.build("mobilenet_v2", ["mel", "nv"], SIZE, start="random").eval()
    told = {"recipe": {"views": 1}, "shift": [0.0] * 2, "temperature": 0.01, "seed": 0}
    kept = settings.out_folder() / "models" / "untrained"
    page = saved.save(net, kept, **told)
    logits = models.logits(net, images.load(table, SIZE), 1)
    known = table[["image_id", "group", "split", "label"]]
    known.join(pd.DataFrame(logits, columns=["mel", "nv"])).to_csv(
        kept / "logits.csv", index=False
    )
    return trained.Trained(net, table, logits, pd.DataFrame(), page, kept)


def talker(run, texts):
    return compact.untrained(run.model, texts)


def told(path, head):
    text = path.read_text("utf-8").strip()
    assert text.startswith(head) and "</" not in text
    return json.loads(text.removeprefix(head).removesuffix(")"))


def test_every_case_is_a_file_and_a_line_of_the_index(written):
    run, chosen, folder, size = written
    index = told(folder / "index.js", "window.explorerIndex = ")
    assert [one["id"] for one in index["cases"]] == list(chosen.image_id)
    names = {one["file"] for one in index["cases"]} | {"index.js"}
    files = list(folder.iterdir())
    assert {path.name for path in files} == names, "and none of an earlier run"
    assert size == sum(path.stat().st_size for path in files)
    assert set(index["names"]) == set(run.classes)


def test_a_case_tells_what_the_model_and_the_truth_say(written):
    run, chosen, folder, _ = written
    known = dict(zip(run.cases.image_id, run.probs, strict=True))
    held = run.cases[run.cases.split == "calibration"]
    known_by = held.label.value_counts()
    for at, row in enumerate(chosen.itertuples()):
        case = told(folder / f"{at:02d}.js", "explorer.take(")
        assert (case["truth"], case["predicted"]) == (row.label, row.predicted)
        p = {one["label"]: one["p"] for one in case["classes"]}
        assert np.allclose([p[c] for c in run.classes], known[row.image_id], atol=2e-3)
        assert next(iter(p)) == row.predicted
        always = {one["label"] for one in case["classes"] if one["always"]}
        assert always == {label for label, n in known_by.items() if n < 9}
        keys = [tuple(key) for key in case["data"]["keys"]]
        every = [("deep", len(cam.FORMULAS) + 1), ("middle", 4), ("early", 4)]
        counts = pd.Series([(layer, label) for _, layer, label in keys]).value_counts()
        assert counts.to_dict() == {(ly, c): n for ly, n in every for c in run.classes}
        assert len(case["says"]) == len(keys)
        assert all("not a diagnosis" in text for text in case["says"])
        assert set(case["captions"]) == {"the captioner writes", "the truth is"}
        sent = case["captions"]["the truth is"]
        assert slots.of_text(sent), "a caption that can be read"
        assert case["data"]["grounds"][:2] == ["picture", "lesion outlined"]


def test_the_scores_are_those_of_the_maps(written):
    run, chosen, folder, _ = written
    rows = run.cases.loc[chosen.index]
    pixels, masks = images.load(rows, SIZE), images.load_masks(rows, SIZE)
    found = cam.of_pixels(run.model, pixels, "layercam", "middle", {"": 1})
    heat = next(iter(found.values())).heatmap[:, ::2, ::2]
    iou = localisation.as_large(heat, masks[:, ::2, ::2])
    for at, expected in enumerate(iou):
        case = told(folder / f"{at:02d}.js", "explorer.take(")
        keys = [tuple(key) for key in case["data"]["keys"]]
        place = keys.index(("LayerCAM", "middle", run.classes[1]))
        scores = case["scores"]["lesion"]["IoU, as large"]
        assert len(scores) == len(keys) + 1, "the last is the spot in the middle"
        assert scores[place] == pytest.approx(expected, abs=0.006)
