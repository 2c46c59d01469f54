"""Models that are trained once, kept whole, and say what they are."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from helpers import (
    calibration,
    cards,
    course,
    datasets,
    duplicates,
    images,
    metrics,
    models,
    recipes,
    saved,
    settings,
    splits,
    trained,
    training,
)
from helpers.callbacks import Keeper
from helpers.settings import CourseError

RECIPE = replace(tiny.RECIPE, epochs=2, imbalance="adjusted", views=2)
FILES = ["card.md", "history.csv", "logits.csv", "model.json", "weights.safetensors"]


@pytest.fixture(autouse=True)
def small(folders, one_thread, monkeypatch):
    tiny.install(monkeypatch)
    monkeypatch.setattr(settings.Settings, "device", "cpu")


@pytest.fixture
def cases(tmp_path):
    return tiny.cases(tmp_path / "pictures")


def ensure(cases, recipe=RECIPE, **how):
    return trained.ensure(recipe, cases, settings.load(**how))


def fail(*_, **__):
    raise AssertionError("trained again")


def in_models() -> list[str]:
    """What lies in the folder of models, but for locks."""
    there = (settings.out_folder() / "models").glob("*")
    return sorted(path.name for path in there if path.suffix != ".lock")


# Once, then found again


def test_a_model_is_trained_once(cases, monkeypatch):
    first = ensure(cases)
    monkeypatch.setattr(training, "train", fail)
    again = ensure(cases)
    assert again.folder == first.folder and again.page == first.page
    assert np.array_equal(again.logits, first.logits)
    assert again.history.equals(first.history) and again.cases.equals(first.cases)
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, first.model.state_dict()[name])
    assert not again.model.training


def test_all_of_it_is_kept_and_nothing_else(cases):
    done = ensure(cases)
    assert sorted(path.name for path in done.folder.iterdir()) == FILES
    assert in_models() == [done.folder.name]
    assert done.folder.name.startswith("tiny-synthetic-quick-seed0-")


def test_what_is_kept_agrees(cases):
    done = ensure(cases)
    page, pixels = done.page, images.load(done.cases, 32)
    assert done.classes == tiny.CLASSES and page["recipe"]["name"] == "tiny"
    again = models.logits(done.model, pixels, RECIPE.views)
    assert np.allclose(again, done.logits, atol=1e-6)
    assert not np.allclose(again, models.logits(done.model, pixels), atol=1e-4)
    assert np.ptp(done.logits) > 0.01
    probs = trained.probabilities(page, done.logits)
    assert probs.shape == (48, 3) and np.allclose(probs.sum(1), 1)

    rows, test = done.cases, (done.cases.split == "test").to_numpy()
    answer = np.array(done.classes)[done.logits.argmax(1)]
    told = rows.label[test], answer[test], rows.group[test]
    expected = metrics.scores(*told)
    assert pd.DataFrame(page["scores"]).T.equals(expected.astype(float))
    recalls = pd.DataFrame(page["recalls"]).T
    assert np.allclose(recalls, metrics.per_class(*told), equal_nan=True)
    assert page["split"] == splits.fingerprint(cases)
    assert page["pictures"]["mel"] == {"calibration": 4, "test": 4, "train": 8}
    assert page["epochs"] == len(done.history) == 2


def test_probabilities_are_shifted_then_cooled(cases):
    rare = cases.index[(cases.split == "train") & (cases.label == "mel")][2:]
    done = ensure(cases.drop(rare))
    shift = np.log([8 / 18, 2 / 18, 8 / 18])
    assert np.allclose(done.page["shift"], shift)
    held = (done.cases.split == "calibration").to_numpy()
    fitted = calibration.temperature(done.logits[held] + shift, done.y[held])
    assert done.page["temperature"] == pytest.approx(fitted)
    by_hand = np.exp((done.logits + shift) / fitted)
    by_hand /= by_hand.sum(1, keepdims=True)
    assert np.allclose(trained.probabilities(done.page, done.logits), by_hand)
    test = (done.cases.split == "test").to_numpy()
    sure = calibration.measures(by_hand[test], done.y[test], done.cases.group[test])
    told = pd.DataFrame(done.page["calibration"]).T.astype(float)
    assert np.allclose(told, sure, equal_nan=True)


def test_the_history_marks_the_epoch_that_is_kept(cases):
    recipe = replace(RECIPE, head_epochs=3, patience=3, lr=1e-30)
    for done in (ensure(cases, recipe), ensure(cases, recipe)):  # trained, then loaded
        history = done.history
        assert list(history.phase) == [0, 0, 0, 2, 2] and history.kept.dtype == bool
        assert list(history.epoch) == [1, 2, 3, 1, 2]
        assert list(history.kept)[:3] == [True, False, False]
        best = history.groupby("phase").valid_loss.idxmin()
        assert list(history.index[history.kept]) == list(best)


def test_logits_are_named_and_in_the_order_of_the_cases(cases):
    done = ensure(cases.sample(frac=1, random_state=0))
    table = pd.read_csv(done.folder / "logits.csv")
    told = ["image_id", "group", "split", "label"]
    assert list(table) == [*told, *done.classes]
    assert table[told].astype(str).equals(done.cases[told].astype(str))
    assert np.array_equal(table[done.classes].to_numpy(np.float32), done.logits)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_blind_is_the_commonest_class_of_the_training_part(cases):
    cases = cases.copy()
    train = cases.index[cases.split == "train"]
    cases.loc[train, "label"] = ["bkl"] * 12 + ["mel"] * 6 + ["nv"] * 6
    held = cases.index[cases.split != "train"]
    cases.loc[held, "label"] = ["nv"] * 18 + ["mel"] * 6
    held = cases.index[cases.split == "calibration"]
    cases.loc[held[:3], "label"] = "mel"
    page = ensure(cases).page
    assert "bkl not measured" in cards.rows(page)["Recall of each class"]
    assert cases.label.mode()[0] == "nv" and page["commonest"] == "bkl"
    assert page["blind"]["accuracy"]["score"] == 0  # not one of the test pictures is


def swapped(cases):
    cases = cases.copy()
    one, other = (cases.index[cases.split == part][0] for part in ("train", "test"))
    cases.loc[[one, other], "split"] = ["test", "train"]
    return cases


def relabelled(cases):
    return cases.assign(label=cases.label.where(cases.index > 0, "mel"))


def regrouped(cases):
    return cases.assign(group=cases.image_id)


def repainted(cases):
    path = Path(cases.path[0])
    other = tiny.cases(path.parent / "other", 49).path[48]
    return cases.assign(path=cases.path.where(cases.index > 0, other))


@pytest.mark.parametrize("change", [swapped, relabelled, regrouped, repainted])
def test_other_data_is_another_model(cases, change):
    first = ensure(cases)
    second = ensure(change(cases))
    assert first.folder != second.folder and len(in_models()) == 2
    assert ensure(cases).folder == first.folder


def test_another_recipe_or_seed_is_another_model(cases):
    made = {ensure(cases).folder, ensure(cases, seed=1).folder}
    made |= {ensure(cases, replace(RECIPE, lr=0.02)).folder}
    made |= {ensure(cases, replace(RECIPE, views=1)).folder}
    assert len(made) == len(in_models()) == 4


def test_a_recipe_of_some_classes_leaves_the_others_out(cases):
    done = ensure(cases, replace(RECIPE, classes=("nv", "mel")))
    assert done.classes == ["mel", "nv"] and len(done.cases) == 32
    assert list(done.cases.index) == list(range(32))
    assert set(done.cases.label) == {"mel", "nv"} and done.logits.shape == (32, 2)
    assert list(done.y) == [{"mel": 0, "nv": 1}[name] for name in done.cases.label]


def test_of_two_at_once_one_trains(cases, monkeypatch):
    train, calls, done = training.train, [], []
    start = threading.Barrier(2)

    def counted(*args):
        calls.append(1)
        return train(*args)

    def work():
        start.wait()
        done.append(ensure(cases))

    monkeypatch.setattr(training, "train", counted)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and len(done) == 2
    assert done[0].folder == done[1].folder
    assert np.array_equal(done[0].logits, done[1].logits)


# Broken off


@pytest.mark.parametrize("where", [(cards, "card"), (saved, "save")])
def test_a_folder_half_written_is_no_model(cases, monkeypatch, where):
    with monkeypatch.context() as patch:
        patch.setattr(*where, fail)
        with pytest.raises(AssertionError):
            ensure(cases)
    (work,) = in_models()
    assert work.endswith(".training")
    with monkeypatch.context() as patch:  # nothing is learnt twice
        patch.setattr(Keeper, "_keep", fail)
        done = ensure(cases)
    assert in_models() == [done.folder.name]


def test_an_interrupted_training_goes_on(cases, monkeypatch):
    straight = ensure(cases)
    other = replace(RECIPE, name="again")
    keep = Keeper._keep

    def stop(self):
        keep(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "_keep", stop)
        with pytest.raises(CourseError, match="again: interrupted; the next run"):
            ensure(cases, other)
    again = ensure(cases, other)
    assert np.array_equal(again.logits, straight.logits)
    assert again.history.equals(straight.history)


def test_an_interruption_while_scoring_is_told_too(cases, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(models, "logits", stop)
        with pytest.raises(CourseError, match="tiny: interrupted; the next run"):
            ensure(cases)
    assert ensure(cases).page["epochs"] == 2


@pytest.mark.parametrize("name", FILES)
def test_a_folder_that_lacks_a_file_is_made_anew(cases, name):
    first = ensure(cases)
    (first.folder / name).unlink()
    again = ensure(cases)
    assert again.folder == first.folder and np.array_equal(again.logits, first.logits)
    assert sorted(path.name for path in again.folder.iterdir()) == FILES
    assert in_models() == [again.folder.name]


def test_weights_of_another_training_are_refused(cases):
    one, two = ensure(cases), ensure(cases, seed=1)
    there = one.folder / "weights.safetensors"
    there.write_bytes((two.folder / "weights.safetensors").read_bytes())
    with pytest.raises(CourseError, match="another checksum"):
        ensure(cases)


# What cannot be


def test_labels_that_the_model_does_not_know_are_refused():
    assert list(trained.positions(["nv", "bkl", "nv"], tiny.CLASSES)) == [2, 0, 2]
    assert trained.positions([], tiny.CLASSES).dtype == int
    with pytest.raises(CourseError, match="knows bkl, mel, nv, not 'df': keep"):
        trained.positions(["nv", "vasc", "df"], tiny.CLASSES)


@pytest.mark.parametrize(
    "part, becomes, said",
    [
        ("test", "calibration", "test part has no picture"),
        ("calibration", "test", "calibration part has 0 class"),
    ],
)
def test_a_split_without_a_part_is_refused_before_training(
    cases, monkeypatch, part, becomes, said
):
    monkeypatch.setattr(training, "learner", fail)
    with pytest.raises(CourseError, match=said) as refused:
        ensure(cases.assign(split=cases.split.replace(part, becomes)))
    assert "\n" not in str(refused.value) and not in_models()


def test_one_class_in_the_calibration_part_is_refused(cases):
    held = cases.split == "calibration"
    with pytest.raises(CourseError, match="calibration part has 1 class"):
        ensure(cases.assign(label=cases.label.mask(held, "nv")))


def test_classes_that_the_data_does_not_have_are_refused(cases):
    with pytest.raises(CourseError, match="about df, vasc, and the table has no"):
        ensure(cases, replace(RECIPE, classes=("df", "vasc")))
    with pytest.raises(CourseError, match=r"one class \(nv\) is nothing to tell apart"):
        ensure(cases, replace(RECIPE, classes=("df", "nv")))
    with pytest.raises(CourseError, match="has no such picture"):
        ensure(cases[:0])


# On the command line


def test_the_list_is_of_whole_models(cases, capsys):
    assert trained.main([]) == 0
    assert capsys.readouterr().out == ""
    done = ensure(cases)
    models = done.folder.parent
    for name in (".0123abcd-half", f"{done.folder.name}.training"):
        (models / name).mkdir()
    (models / ".0123abcd-half" / "model.json").write_text("{}")
    for name, day in (("a-old", 2), ("z-older", 1)):
        shutil.copytree(done.folder, models / name)
        os.utime(models / name / "model.json", (day * 86400, day * 86400))
    (models / "z-older" / "model.json").write_text("{")
    os.utime(models / "z-older" / "model.json", (86400, 86400))
    assert trained.main([]) == 0
    newest, old, older = capsys.readouterr().out.splitlines()
    score = done.page["scores"]["balanced accuracy"]
    told = f"balanced accuracy {score['score']:.3f}, n = {score['n']}"
    assert newest.endswith(f"  {done.folder}: {told}")
    assert datetime.fromisoformat(newest[:16]) > datetime(2026, 1, 1)
    assert old.startswith("1970-01-0") and old.endswith(f"  {models / 'a-old'}: {told}")
    assert older.startswith("1970-01-0") and "not readable as JSON" in older


def test_of_a_name_the_models_alone_are_found(cases):
    done = ensure(cases)
    assert list(done.folder.parent.glob(f"{RECIPE.name}-*")) == [done.folder]


def test_an_unknown_recipe_ends_in_one_line(capsys):
    assert trained.main(["F"]) == 1
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert "'F'" in told.err and "A, B, C, D, E" in told.err


def test_a_wrong_setting_ends_in_one_line(capsys, monkeypatch):
    monkeypatch.setenv("XAI_DERM_DATASET", "chexpert")
    assert trained.main(["A"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_recipe_is_trained_by_name_and_found_again(
    cases, tmp_path, monkeypatch, capsys
):
    """Recipe A with its real network, made small; found by a process without fastai."""
    recipe = replace(recipes.recipe("A", settings.load()), size=32, head_epochs=2)
    monkeypatch.setattr(recipes, "recipe", lambda name, cfg: recipe)
    monkeypatch.setattr(course, "cases", lambda cfg: cases)
    assert trained.main(["A"]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    (name,) = in_models()
    told = rf".*/{name}: balanced accuracy \d\.\d\d\d, n = 12"
    assert re.fullmatch(told, line) and name.startswith("A-synthetic-quick-seed0-")

    cases.to_pickle(tmp_path / "cases.pkl")
    code = (
        "import sys, pandas as pd\n"
        "from dataclasses import replace\n"
        "from helpers import features, recipes, settings, trained\n"
        "cfg = settings.load()\n"
        "recipe = replace(recipes.recipe('A', cfg), size=32, head_epochs=2)\n"
        f"cases = pd.read_pickle({str(tmp_path / 'cases.pkl')!r})\n"
        "print(trained.ensure(recipe, cases, cfg).folder.name)\n"
        "sys.exit('fastai' in sys.modules)\n"
    )
    run = [sys.executable, "-c", code]
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    found = subprocess.run(run, check=True, capture_output=True, text=True, env=env)
    assert found.stdout == f"{name}\n"


# Cards

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?!\w)")


def changed(page):
    """The page with every number another one."""
    if isinstance(page, dict):
        return {key: changed(value) for key, value in page.items()}
    if isinstance(page, list):
        return [changed(value) for value in page]
    if isinstance(page, bool) or not isinstance(page, (int, float)):
        return page
    return page + 1234 if isinstance(page, int) else page + 0.321


def test_every_number_on_the_card_is_the_pages(cases):
    page = ensure(cases).page
    one, two = (NUMBER.findall(cards.card(p)) for p in (page, changed(page)))
    same = [a for a, b in zip(one, two, strict=True) if a == b]
    assert same == ["0", "1", "95"]  # the range of a picture, the intervals' level
    assert len(one) > 40
    assert NUMBER.sub("#", cards.card(page)) == NUMBER.sub(
        "#", cards.card(changed(page))
    )


def test_the_card_says_what_the_model_is_and_is_not_for(cases):
    page = ensure(cases).page
    card = (settings.out_folder() / "models" / in_models()[0] / "card.md").read_text()
    assert card == cards.card(page)
    for words in (
        "# Model card: recipe tiny",
        "not for diagnosis",
        "mel (melanoma)",
        "tiny_net, 32 pixels",
        "the synthetic set (quick profile, seed 0)",
        "24 train, 12 calibration, 12 test",
        "12 test pictures of 6 lesions",
        page["split"],
        "Always bkl",
    ):
        assert words in card
    for name, row in page["scores"].items():
        numbers = "{score:.3f} [{low:.3f}, {high:.3f}]".format(**row)
        assert f"{name} {numbers}" in card
    for name, row in page["recalls"].items():
        assert f"{name} {row['recall']:.2f} [{row['recall low']:.2f}, " in card
    assert f"temperature {page['temperature']:.2f}" in card
    assert f"error {page['calibration']['ECE']['score']:.3f}" in card


def test_a_card_is_kept_among_the_results(cases):
    page = ensure(cases).page
    cards.keep(page)
    path = settings.out_folder() / "results" / "cards" / "tiny.md"
    assert path.read_text(encoding="utf-8") == cards.card(page)


# The cases of the course


@pytest.fixture
def synthetic(drawn, monkeypatch):
    monkeypatch.setattr(datasets, "folder_of", lambda *_: drawn)
    return drawn


@pytest.mark.parametrize("seed", [0, 1])
def test_the_cases_are_split_as_in_notebook_01(synthetic, seed):
    cfg = settings.load(seed=seed)
    ours = course.cases(cfg)

    table = datasets.usable(datasets.load("synthetic", synthetic))
    plain = table.assign(split=splits.make(table, cfg.seed))
    pairs = duplicates.find(images.load(table, cfg.size))
    ids = table.image_id.to_numpy()
    found = np.stack([ids[pairs["first"]], ids[pairs["second"]]], 1)
    known = duplicates.known(synthetic)
    assert len(found) and len(known)
    merged = [*found, *known]
    table["split"] = splits.make(table, cfg.seed, merged)
    table["group"] = splits.groups(table, merged)
    assert splits.fingerprint(ours) == splits.fingerprint(table)
    assert list(ours.group) == list(table.group)
    assert set(ours.split) == {"train", "calibration", "test"}
    assert not splits.leaks(ours.group, ours.split).any()
    assert list(ours.index) == list(range(len(ours)))
    assert splits.fingerprint(plain) != splits.fingerprint(ours)  # the pairs do matter


def test_known_pairs_stay_together_though_none_looks_alike(synthetic, monkeypatch):
    sizes, load, plain = [], images.load, course.cases(settings.load())
    lone = plain.drop_duplicates("group", keep=False)
    pair = [lone.image_id[lone.split == part].iloc[0] for part in ("train", "test")]

    def look(table, size):
        sizes.append(size)
        return load(table, size)

    monkeypatch.setattr(images, "load", look)
    monkeypatch.setattr(duplicates, "known", lambda _: np.array([pair], object))
    cases = course.cases(settings.load()).set_index("image_id")
    assert cases.group[pair[0]] == cases.group[pair[1]] == min(pair)
    assert cases.split[pair[0]] == cases.split[pair[1]]
    assert sizes == [128]  # notebook 01's, at which it looks for doubles


def test_pictures_without_a_double_are_split_too(synthetic, monkeypatch):
    none = duplicates.find(np.zeros((0, 8, 8, 3), np.uint8))
    monkeypatch.setattr(duplicates, "find", lambda _: none)
    monkeypatch.setattr(duplicates, "known", lambda _: np.empty((0, 2), object))
    cases = course.cases(settings.load())
    table = datasets.usable(datasets.load("synthetic", synthetic))
    assert list(cases.split) == list(splits.make(table, 0))


# Several processes

SCRIPT = """
import json, sys
from dataclasses import replace
from pathlib import Path

def main():
    import pandas as pd
    import pytest
    import tiny
    from helpers import settings, trained, training
    from test_trained import TWO

    here, seen, told = Path(__file__).parent, [], {}
    read, train = training.Rows.__getitem__, training.train

    def look(self, i):
        if self.train:
            seen.append(int(self.rows[i]))
        return read(self, i)

    def trains(*args):
        model, history = train(*args)
        told["weights"] = [p.double().sum().item() for p in model.parameters()]
        told["history"] = history.to_dict("list")
        return model, history

    with pytest.MonkeyPatch.context() as patch:
        tiny.install(patch)
        patch.setattr(settings.Settings, "device", "cpu")
        patch.setattr(training.Rows, "__getitem__", look)
        patch.setattr(training, "train", trains)
        cases = pd.read_pickle(here / "cases.pkl")
        done = trained.ensure(TWO, cases, settings.load())
    told |= {"seen": seen, "folder": done.folder.name, "scores": done.page["scores"]}
    (here / f"process{settings.process()}.json").write_text(json.dumps(told))

if __name__ == "__main__":
    main()
"""
TWO = replace(RECIPE, head_epochs=2, epochs=2, batch=6, schedule="one_cycle")
LAUNCH = (  # --multi_gpu is what makes it start several; without a GPU they use the CPU
    "accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 "
    "--mixed_precision no --dynamo_backend no --main_process_port 0"
)


def test_two_processes_train_one_model(cases, tmp_path, monkeypatch):
    cases.to_pickle(tmp_path / "cases.pkl")
    (tmp_path / "two.py").write_text(SCRIPT)
    env = {k: v for k, v in os.environ.items() if not k.startswith("ACCELERATE_")}
    paths = [str(Path(tiny.__file__).parent), *env.get("PYTHONPATH", "").split(":")]
    env |= {"PYTHONPATH": ":".join(paths), "OMP_NUM_THREADS": "1"}
    env |= {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", *LAUNCH.split(), str(tmp_path / "two.py")]
    ran = subprocess.run(command, env=env, timeout=300, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    one, two = (
        json.loads((tmp_path / f"process{i}.json").read_text()) for i in range(2)
    )
    train = np.flatnonzero(cases.split == "train")
    assert len(one["seen"]) == len(two["seen"]) == 4 * 12  # four epochs, half of 24
    halves = np.reshape([one["seen"], two["seen"]], (2, 4, 12))
    for epoch in range(4):
        assert sorted(halves[:, epoch].flatten()) == list(train)
    assert len({tuple(half) for half in halves[0]}) == 4  # in another order each time
    assert one["weights"] == two["weights"]
    assert one["history"] == two["history"] and one["folder"] == two["folder"]
    assert np.isfinite(one["scores"]["balanced accuracy"]["score"])

    assert in_models() == [one["folder"]]  # once, and nothing is left over
    monkeypatch.setattr(training, "train", fail)
    done = ensure(cases, TWO)
    assert done.folder.name == one["folder"] and done.page["scores"] == one["scores"]
    logits = models.logits(done.model, images.load(done.cases, 32), TWO.views)
    assert np.allclose(logits, done.logits, atol=1e-5)
    weights = [p.double().sum().item() for p in done.model.parameters()]
    assert np.allclose(weights, one["weights"])
