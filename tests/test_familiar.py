"""Does a picture look like those of the training? One rule, and its threshold."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import served
from errors import refused
from sklearn.neighbors import NearestNeighbors

from helpers import engine, familiar, images, models, saved

pytestmark = pytest.mark.usefixtures("one_thread")


def test_strangeness_is_the_cosine_to_the_fifth_nearest():
    rng = np.random.default_rng(0)
    kept, asked = rng.random((40, 9)), rng.random((7, 9))
    rule = familiar.Familiar(familiar.unit(kept), 0.5)
    nearest = NearestNeighbors(n_neighbors=5, metric="cosine").fit(kept)
    wanted = nearest.kneighbors(asked)[0][:, -1]
    assert np.allclose(rule.strangeness(asked), wanted, atol=1e-6)
    assert np.allclose(rule.strangeness(9 * asked), wanted, atol=1e-6)
    assert np.allclose(familiar.unit(np.zeros((1, 3))), 0)


def test_the_threshold_is_of_the_calibration_pictures(model_folder):
    run = engine.load(model_folder)
    pixels = np.stack([served.skin(k) for k in range(36, 72)])
    maps = models.each(run.model, pixels, lambda x: familiar.pooled(run.model.map(x)))
    strange = run.familiar.strangeness(maps)
    wanted = np.quantile(strange, 1 - familiar.IN_VAIN)
    assert run.familiar.cutoff == pytest.approx(wanted, rel=1e-3)
    noise = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)
    asked = [engine.Asked()] * 9
    found = engine.answers(run, noise, asked)
    assert min(one.strangeness for one in found) > run.familiar.cutoff


def test_it_is_made_once_and_belongs_to_its_weights(model_folder, folders, monkeypatch):
    model, page = saved.load(model_folder)
    run = SimpleNamespace(model=model, page=page, folder=model_folder, cases=None)
    first = familiar.ensure(run)  # there is no case to make it of: it is read
    assert first.features.shape[0] == 36 and first.features.dtype == np.float32
    assert familiar.load(model_folder, page | {"sha256": "0" * 64}) is None


def test_too_few_pictures_and_a_strange_file_are_refused(
    model_folder, folders, tmp_path
):
    model, page = saved.load(model_folder)
    (tmp_path / "P.png").write_bytes(served.data(served.skin(0)))
    cases = pd.DataFrame(
        {"path": [str(tmp_path / "P.png")] * 6, "image_id": list("abcdef")}
    )
    cases["split"] = ["train"] * 5 + ["calibration"]
    run = SimpleNamespace(model=model, page=page, folder=tmp_path, cases=cases)
    refused(lambda: familiar.ensure(run), "calibration", "too few")
    from helpers import weights

    weights.write({"other": model.mean}, familiar.place(tmp_path, page))
    refused(lambda: familiar.load(tmp_path, page), tmp_path, "remove")
    assert images.load(cases, 8).shape == (6, 8, 8, 3)
