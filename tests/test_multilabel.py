"""Several findings on one film: doubts, splits, a tiny training, calibration, scores."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from errors import refused
from sklearn.metrics import roc_auc_score
from torch.nn.functional import binary_cross_entropy_with_logits

from helpers import cam, films, labels, multilabel, reading, settings, splits

pytestmark = pytest.mark.usefixtures("one_thread")


def cases(n=120, seed=0):
    """A table of films with three findings, two films a patient, without pictures."""
    rng = np.random.default_rng(seed)
    names = ["Effusion", "Mass", "Nodule"]
    label = [tuple(f for f in names if rng.random() < 0.4) for _ in range(n)]
    table = pd.DataFrame({"image_id": [f"P{i:03d}" for i in range(n)], "label": label})
    return table.assign(patient=[f"{i // 2}" for i in range(n)], group=None)


def test_no_patient_is_on_two_sides_and_every_part_has_every_finding():
    table = cases()
    found = labels.split(table, labels.known(table), 0)
    joined = table.drop(columns="group").join(found)
    assert (joined.groupby("patient").split.nunique() == 1).all()
    assert not splits.leaks(joined.group, joined.split).any()
    for _, part in joined.groupby("split"):
        assert {f for label in part.label for f in label} == {*labels.known(table)}


def test_rare_findings_are_left_out_and_named(capsys):
    table = cases()
    table.at[0, "label"] = ("Hernia",)
    assert labels.known(table) == ["Effusion", "Mass", "Nodule"]
    assert "Hernia (1)" in capsys.readouterr().out
    refused(lambda: labels.known(table.head(5)), "no finding has")


def test_a_doubt_is_missing_in_the_targets():
    table = cases(3).assign(label=[("Mass",), (), ("Mass", "Effusion")])
    y = labels.targets(table, ["Effusion", "Mass"])
    assert y.tolist() == [[0, 1], [0, 0], [1, 1]]
    doubted = table.assign(uncertain=[("Effusion",), (), ()])
    assert np.isnan(labels.targets(doubted, ["Effusion", "Mass"])[0, 0])
    assert np.nansum(labels.targets(doubted, ["Effusion", "Mass"])) == 3


def test_the_loss_is_torchs_where_all_is_known_and_blind_to_doubts():
    torch.manual_seed(0)
    z, weight = torch.randn(5, 3, requires_grad=True), torch.tensor([1.0, 2.0, 0.5])
    y = torch.randint(0, 2, (5, 3)).float()
    whole = binary_cross_entropy_with_logits(z, y, pos_weight=weight)
    assert torch.isclose(multilabel.masked_bce(z, y, weight), whole)
    y[1, 2] = torch.nan
    multilabel.masked_bce(z, y, weight).backward()
    assert z.grad[1, 2] == 0 and (z.grad != 0).sum() == 14


def test_a_rare_finding_weighs_more():
    y = np.array([[1, 1, np.nan], [0, 1, 1], [0, 0, 0], [0, 1, np.nan]])
    weight = multilabel.weigh(y)
    assert weight == pytest.approx([3**0.5, 3**-0.5, 1])


@pytest.fixture(scope="module")
def reader():
    torch.manual_seed(0)
    return multilabel.build(["a", "b"], 64)


def test_the_map_is_fine_and_cam_is_exact(reader):
    x = torch.rand(2, 3, 64, 64)
    found = cam.explain(reader, x, "cam", target="b")
    assert found.raw.shape == (2, 4, 4)
    bias = reader.head.linear.bias[1].item()
    assert found.raw.mean((1, 2)) + bias == pytest.approx(found.logits[:, 1], abs=1e-4)
    assert cam.explain(reader, x, "hirescam", "middle", "a").raw.shape == (2, 8, 8)
    refused(lambda: reader.layer("early"), "middle or deep")


def test_only_neck_and_head_learn_and_they_do(reader):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (64, 2)).astype(float)
    maps = rng.normal(0, 0.3, (64, 112, 4, 4)).astype(np.float32)
    maps[:, :5] += 2 * y[:, 0, None, None, None]
    y[5, 1] = np.nan
    before = {k: v.clone() for k, v in reader.state_dict().items()}
    losses = multilabel.fit(reader, maps, y, seed=0, epochs=30)
    moved = {k for k, v in reader.state_dict().items() if not torch.equal(v, before[k])}
    assert moved and all(name.startswith(("neck", "head")) for name in moved)
    assert losses[-1] < 0.8 * losses[0] and not reader.training
    reader.load_state_dict(before)


def test_calibration_keeps_the_order_and_lowers_the_loss():
    rng = np.random.default_rng(0)
    y = (rng.random((400, 2)) < 0.2).astype(float)
    logits = 3 * (y + rng.normal(0, 0.7, y.shape)) + 1.5  # too high
    held = np.arange(400) < 200
    y[:, 1] = 0  # nothing to fit: left as it is
    probs = labels.calibrated(logits, y, held)
    assert (np.argsort(probs[:, 0]) == np.argsort(logits[:, 0])).all()
    assert probs[:, 1] == pytest.approx(1 / (1 + np.exp(-logits[:, 1])))
    raw = 1 / (1 + np.exp(-logits[:, 0]))
    assert abs(probs[~held, 0].mean() - y[~held, 0].mean()) < 0.05
    assert raw[~held].mean() > 0.4


@pytest.fixture
def small(folders, monkeypatch):
    """A run on forty small films of findings that are easy to see."""
    monkeypatch.setitem(films.PROFILES, "quick", films.Recipe(films=60, size=64))
    monkeypatch.setitem(multilabel.SIZE, "quick", 64)
    monkeypatch.setattr(labels, "FEWEST", 5)
    monkeypatch.setattr(multilabel, "EPOCHS", 2)
    cfg = settings.load(dataset="synthetic")
    table = reading.load(cfg)
    found = labels.split(table, labels.known(table), 0)
    return table.assign(**found), cfg


def test_trained_once_and_found_again(small, monkeypatch):
    table, cfg = small
    run = multilabel.ensure(table, cfg)
    monkeypatch.setattr(multilabel, "fit", None)  # it may not train again
    again = multilabel.ensure(table, cfg)
    assert (run.logits == again.logits).all() and run.findings == again.findings
    assert run.probs.shape == run.y.shape == (len(table), len(run.findings))
    parts = [set(run.part(p)) for p in splits.PARTS]
    assert sum(map(len, parts)) == len(table) == len(set.union(*parts))
    with pytest.raises(TypeError):  # another seed, and films with stickers, are new
        multilabel.ensure(table, replace(cfg, seed=1))
    with pytest.raises(TypeError):
        multilabel.ensure(table, cfg, (table.split == "train").to_numpy())


def test_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    table = cases(200)
    table = table.assign(**labels.split(table, labels.known(table), 0))
    names = labels.known(table)
    y = labels.targets(table, names)
    y[:3, 0] = np.nan
    logits = (y + rng.normal(0, 1, y.shape)).astype(np.float32)
    logits[:3, 0] = 9
    model = torch.nn.Module()
    model.classes = names
    probs = labels.calibrated(logits, y, (table.split == "calibration").to_numpy())
    run = labels.Run(model, table, y, logits, probs)
    found, rows = labels.scores(run), run.part("test")
    for k, name in enumerate(names):
        here = rows[~np.isnan(y[rows, k])]
        assert found.score[name] == pytest.approx(
            roc_auc_score(y[here, k], logits[here, k])
        )
        assert found.low[name] < found.score[name] < found.high[name]
        assert (found.n[name], found["with it"][name]) == (len(here), y[here, k].sum())
    errors = labels.errors(run)
    assert set(errors.index.get_level_values(0)) == {"as trained", "calibrated"}
    assert errors.score.between(0, 1).all()
