"""The service from outside, as the notebook and the bench use it."""

import numpy as np
import pandas as pd
import pytest
import requests
import served
from errors import refused

from helpers import charts, serving, uploads


def test_a_load_counts_what_was_answered(model_folder):
    files = [served.data(served.skin(k)) for k in range(3)]
    with serving.running(model_folder) as address:
        table = serving.load(address, [*files, b"no picture"], clients=4, seconds=0.5)
    assert set(table.columns) == {"status", "seconds"} and (table.seconds > 0).all()
    assert set(table.status) == {200, 415} and len(table) >= 4
    told = serving.told(table)
    assert told["n"] == (table.status == 200).sum()
    assert told["503"] == 0
    assert told["p50"] <= told["p95"] <= told["p99"] and told["a second"] > 0
    with pytest.raises(requests.ConnectionError):  # it is gone with its block
        requests.get(address, timeout=60)


@pytest.mark.parametrize("n", [1, 2, 37, 100, 213])
def test_what_is_told_of_a_load_is_what_exercise_8_2_defines(n):
    seconds = np.random.default_rng(n).exponential(size=n)
    table = pd.DataFrame({"status": 200, "seconds": seconds})
    table.loc[n] = [503, 99.0]  # whoever was refused did not wait
    table.attrs["rate"] = 1.0
    told = serving.told(table)
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        within = [(seconds <= t).sum() >= share * n for t in np.sort(seconds)]
        assert told[name] == np.sort(seconds)[np.argmax(within)]
    assert told["n"] == n and told["503"] == 1


def test_of_nobody_served_no_time_is_told():
    table = pd.DataFrame({"status": [503], "seconds": [0.1]})
    table.attrs["rate"] = 0.0
    told = serving.told(table)
    assert np.isnan([told["p50"], told["p99"]]).all() and told["n"] == 0


def test_a_service_that_cannot_start_says_why(tmp_path):
    refused(
        lambda: serving.running(tmp_path).__enter__(), "did not start", "model.json"
    )


def test_a_picture_of_another_kind_is_sent_as_png(tmp_path):
    pixels = served.skin(0)
    for kind in ("PNG", "BMP"):
        (tmp_path / kind).write_bytes(served.data(pixels, kind))
        data = serving.sendable(tmp_path / kind)
        assert np.array_equal(uploads.decode(data), pixels)
        assert (data == (tmp_path / kind).read_bytes()) == (kind == "PNG")


def test_without_a_browser_there_is_a_line(monkeypatch, capsys):
    monkeypatch.setattr(serving.shutil, "which", lambda _: None)
    assert serving.page("http://127.0.0.1:9", b"") is None
    assert "http://127.0.0.1:9" in capsys.readouterr().out


def test_other_pictures_are_drawn_alike():
    kinds = serving.others(64, 6)
    assert len(kinds) == 4
    for name, pixels in kinds.items():
        assert pixels.shape == (6, 64, 64, 3) and pixels.dtype == np.uint8
        assert np.array_equal(pixels, serving.others(64, 6)[name])
        assert len(np.unique(pixels, axis=0)) == 6


def test_a_claim_is_of_a_valid_header():
    for width, height, told in ((100_000, 100_000, "million"), (1, 1, "1×1")):
        refused(lambda w=width, h=height: uploads.decode(serving.claiming(w, h)), told)


def test_the_chart_of_costs_tells_each_way():
    table = pd.DataFrame({"hours": [8.0, 0.5], "cost": [np.nan, 0.25]}, ["here", "T4"])
    fig = charts.costs_of_archive(table)
    told = [text.get_text() for text in fig.axes[0].texts]
    assert told == [" 8.00 h", " 0.50 h, 0.25 dollars"]
    assert fig.axes[0].get_xscale() == "log"
