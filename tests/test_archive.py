"""A whole folder explained: the same rows by either engine, however often it broke."""

import json
import pickle
import platform
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pyarrow.parquet as pq
import pytest
import served
from errors import refused
from PIL import Image

from helpers import archive, cam, crews, engine, images, messages, models, trained
from helpers.explainer import Explainer

pytestmark = pytest.mark.usefixtures("one_thread")
N, SHARD = 20, 6
BAD = {
    "cut.jpg": served.data(served.skin(1, 200), "JPEG")[:3000],
    "deep/empty.png": b"",
    "text.png": b"no picture",
    "tiny.png": served.data(np.zeros((1, 1, 3), np.uint8)),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder of pictures of all kinds and sizes, four of them bad, and other files."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "deep" / "deeper").mkdir(parents=True)
    for k in range(N):
        below = ("", "deep", "deep/deeper")[k % 3]
        kind, size = ("png", "jpg", "webp")[k % 3], 64 + 10 * k
        Image.fromarray(served.skin(k, size, size + 40)).save(
            folder / below / f"P{k}.{kind}"
        )
    for name, data in BAD.items():
        (folder / name).write_bytes(data)
    (folder / "notes.txt").write_text("not a picture, and not taken for one")
    return folder


@pytest.fixture(scope="module")
def explainer(model_folder):
    return Explainer(str(model_folder))


@pytest.fixture(scope="module")
def whole(source, explainer, tmp_path_factory):
    """The archive of an uninterrupted run of the plain loop."""
    out = tmp_path_factory.mktemp("whole") / "out"
    archive.explain(source, out, explainer, shard=SHARD)
    return out


def files(out) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in out.iterdir() if path.name[0] != "."
    }


def test_every_picture_is_a_row_in_order(whole, source):
    table = archive.rows(whole)
    assert table.id.tolist() == archive.pictures(source) == sorted(table.id)
    assert len(table) == N + len(BAD) and not table.id.str.contains("notes").any()
    sizes = [pq.read_metadata(p).num_rows for p in sorted(whole.glob("*.parquet"))]
    assert sizes == [6, 6, 6, 6] and len(files(whole)) == 5
    assert (
        pq.read_schema(whole / "part-00000.parquet").metadata[b"notice"]
        == messages.NOTICE.encode()
    )


def test_a_row_is_what_the_notebooks_compute(whole, source, model_folder):
    run, table = engine.load(model_folder), archive.rows(whole)
    table = table[table.error == ""]
    pixels = np.stack(
        [images.squashed(images.read(source / i, 448), 64) for i in table.id]
    )
    logits = models.logits(run.model, pixels, 2)
    assert np.allclose(np.stack(table.logits), logits, atol=1e-4)
    probs = trained.probabilities(run.page, logits)
    assert np.allclose(table.p, probs.max(1), atol=1e-3)
    said = np.array(run.classes)[probs.argmax(1)]
    assert table.predicted.tolist() == said.tolist()
    found = cam.explain(run.model, models.tensor(pixels), target=said.tolist())
    assert table.valid.tolist() == found.valid.tolist() and table.valid.any()
    small = np.maximum(found.raw, 0).reshape(len(table), -1)
    small /= np.where(found.valid, small.max(1), np.inf)[:, None]
    maps = np.stack(table["map"])
    assert maps.dtype == np.float16 and np.allclose(maps, small, atol=2e-3)
    assert table.sentence.str.endswith("not a diagnosis.").all()
    assert np.isfinite(table.strangeness).all()


def test_a_bad_picture_is_a_row_that_says_why(whole):
    table = archive.rows(whole).set_index("id")
    told = table.error[table.error != ""]
    assert set(told.index) == set(BAD)
    assert told["deep/empty.png"] == "empty" and told["text.png"] == "not a picture"
    assert told["cut.jpg"] == "truncated" and "1×1" in told["tiny.png"]
    bad = table.loc[told.index]
    assert bad.p.isna().all() and not bad.valid.any() and (bad.sentence == "").all()
    assert not np.stack(bad["map"]).any() and np.isnan(np.stack(bad.logits)).all()
    counts = archive.summary(whole)
    assert counts["pictures"] == N + 4 and counts["unreadable"] == 4
    assert sum(counts["predicted"].values()) == N


def test_the_explainer_travels(explainer, source):
    ids = ["P0.png", "text.png"]
    batch = {"id": np.array(ids, object)}
    batch["path"] = np.array([str(source / name) for name in ids], object)
    first = explainer(batch)
    copy = pickle.dumps(explainer)
    assert len(copy) < 1000  # the model stays at home
    again = pickle.loads(copy)(batch)
    assert set(first) == set(again) and all(
        isinstance(v, np.ndarray) for v in first.values()
    )
    for name, values in first.items():
        assert (
            values.tobytes() == again[name].tobytes()
            or values.tolist() == again[name].tolist()
        )


def test_a_second_run_computes_nothing(whole, source, explainer, monkeypatch):
    before = files(whole)
    monkeypatch.setattr(Explainer, "__call__", lambda *_: pytest.fail("computed again"))
    assert archive.explain(source, whole, explainer, shard=SHARD)["pictures"] == N + 4
    assert files(whole) == before


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_run_that_broke_goes_on(
    whole, source, explainer, tmp_path, monkeypatch, after
):
    calls, explain = [], Explainer.__call__

    def breaks(self, batch):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return explain(self, batch)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Explainer, "__call__", breaks)
        with pytest.raises(KeyboardInterrupt):
            archive.explain(source, out, explainer, shard=SHARD)
    assert len(list(out.glob("*.parquet"))) == after
    assert not [p for p in out.glob(".*") if p.name != ".lock"]  # nothing half-written
    archive.explain(source, out, explainer, shard=SHARD)
    assert files(out) == files(whole)


def test_a_run_that_was_killed_goes_on(model_folder, explainer, tmp_path):
    """By SIGKILL, in its own process, when the first of its files is there."""
    many, broken, whole = (tmp_path / name for name in ("many", "broken", "whole"))
    many.mkdir()
    for k in range(60):
        (many / f"{k:04d}.png").write_bytes(served.data(served.skin(k, 300, 400)))
    command = [sys.executable, "-m", "helpers.archive", str(many), str(broken)]
    command += ["--model", str(model_folder), "--shard", "4"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    while not list(broken.glob("*.parquet")):
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list(broken.glob("*.parquet"))) < 15
    for out in (broken, whole):
        archive.explain(many, out, explainer, shard=4)
    assert files(broken) == files(whole) and len(files(whole)) == 16


def test_a_damaged_file_is_made_again(whole, source, explainer, tmp_path):
    for name, data in files(whole).items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "part-00001.parquet").write_bytes(b"PAR1 rubbish PAR1")
    (tmp_path / "part-00002.parquet").unlink()
    archive.explain(source, tmp_path, explainer, shard=SHARD)
    assert files(tmp_path) == files(whole)


FAULTS = """
import resource
from helpers.explainer import keep_memory
keep_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [b"x" * 1_000_000 for _ in range(40)]
    del pieces
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks glibc")
def test_memory_that_was_freed_is_used_again():
    """Anew, 40 MB are nearly ten thousand pages."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, check=True
    )
    assert int(done.stdout) < 500


def test_ray_writes_the_same_bytes(whole, source, explainer, tmp_path):
    """And computes in the main thread, as the loop does."""
    pytest.importorskip("ray")

    class Watched(Explainer):
        def __call__(self, batch):
            assert threading.current_thread() is threading.main_thread()
            return super().__call__(batch)

    out = tmp_path / "ray"
    out.mkdir()
    for name in ("manifest.json", "part-00002.parquet"):  # half of it is there already
        (out / name).write_bytes((whole / name).read_bytes())
    watched = Watched(explainer.folder)
    counts = archive.explain(source, out, watched, "ray", workers=1, shard=SHARD)
    assert counts == archive.summary(whole) and files(out) == files(whole)


@pytest.mark.parametrize("how", crews.RUNS)
def test_what_does_not_fit_is_refused_before_anything_starts(
    source, explainer, tmp_path, how
):
    out, other = tmp_path / "out", Explainer(explainer.folder, method="nonsense")
    refused(lambda: archive.explain(source, out, other, how), "nonsense")
    refused(
        lambda: archive.explain(source, out, Explainer(str(tmp_path)), how),
        "model.json",
    )
    refused(lambda: archive.explain(source, out, explainer, how, shard=0), "not 0")
    assert not out.exists()


def test_without_ray_the_way_out_is_told(source, explainer, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    refused(
        lambda: archive.explain(source, tmp_path, explainer, "ray"),
        "pip install",
        "local",
    )


def test_ray_that_does_not_start_says_so(source, explainer, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")

    def busy(**_):
        raise Exception("The current node timed out.\nMore of it.")

    monkeypatch.setattr(ray, "init", busy)
    refused(
        lambda: archive.explain(source, tmp_path, explainer, "ray"),
        "timed out",
        "local",
    )
    assert not list(tmp_path.glob("*.parquet"))


@pytest.mark.parametrize(
    "change, told",
    [
        ({"method": "layercam"}, "method"),
        ({"layer": "middle"}, "layer"),
        ({"threads": 2}, "threads"),
    ],
)
def test_another_plan_is_refused(whole, source, explainer, change, told):
    other = Explainer(**{"folder": explainer.folder} | change)
    before = files(whole)
    refused(lambda: archive.explain(source, whole, other, shard=SHARD), whole, told)
    refused(
        lambda: archive.explain(source, whole, explainer, shard=5), whole, "rows a file"
    )
    assert files(whole) == before


def test_a_recalibrated_model_is_another_plan(source, explainer, tmp_path):
    model, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(explainer.folder, model)
    archive.explain(source, out, Explainer(str(model)), shard=SHARD)
    page = model / "model.json"
    told = json.loads(page.read_text())
    page.write_text(json.dumps(told | {"temperature": told["temperature"] * 2}))
    again = Explainer(str(model))
    refused(lambda: archive.explain(source, out, again, shard=SHARD), "calibration")


def test_changed_pictures_and_strange_folders_are_refused(source, explainer, tmp_path):
    kept = tmp_path / "pictures"
    kept.mkdir()
    (kept / "a.png").write_bytes(served.data(served.skin(0)))
    out = tmp_path / "out"
    archive.explain(kept, out, explainer)
    (kept / "b.png").write_bytes(served.data(served.skin(1)))
    refused(lambda: archive.explain(kept, out, explainer), out, "pictures")
    (out / "manifest.json").write_text(json.dumps([1]))
    refused(lambda: archive.explain(kept, out, explainer), out, "manifest")
    (out / "manifest.json").unlink()
    refused(lambda: archive.explain(kept, out, explainer), out, "manifest")
    refused(
        lambda: archive.explain(tmp_path / "none", out, explainer), "no such folder"
    )
    refused(lambda: archive.explain(out, tmp_path / "new", explainer), "no picture")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    refused(lambda: archive.explain(kept, tmp_path / "file", explainer), tmp_path)
    for engine_, workers in (("spark", 1), ("local", 2), ("ray", 0)):
        refused(
            lambda e=engine_, w=workers: archive.explain(kept, out, explainer, e, w),
            engine_,
        )


def test_a_name_that_no_table_can_hold_is_refused(explainer, tmp_path):
    try:
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a\udcff.png").write_bytes(b"")
    except (OSError, UnicodeError):
        pytest.skip("this disk has no such names")
    refused(
        lambda: archive.explain(tmp_path / "in", tmp_path / "out", explainer), "rename"
    )


def test_two_runs_do_not_write_at_once(source, explainer, tmp_path, monkeypatch):
    inside, go, explain = threading.Event(), threading.Event(), Explainer.__call__

    def slow(self, batch):
        inside.set()
        assert go.wait(60)
        return explain(self, batch)

    monkeypatch.setattr(Explainer, "__call__", slow)
    run = threading.Thread(target=archive.explain, args=(source, tmp_path, explainer))
    run.start()
    assert inside.wait(60)
    refused(
        lambda: archive.explain(source, tmp_path, explainer), tmp_path, "another run"
    )
    go.set()
    run.join()
    assert archive.summary(tmp_path)["pictures"] == N + 4


def test_the_program(source, model_folder, tmp_path, capsys):
    command = [str(source), str(tmp_path / "out"), "--model", str(model_folder)]
    assert archive.main(command) == 0
    out = capsys.readouterr().out
    assert f"{N + 4} pictures, 4 of them unreadable" in out and messages.NOTICE in out
    assert archive.main([*command, "--method", "layercam"]) == 1
    assert "another 'method'" in capsys.readouterr().err
    assert (
        archive.main([str(source), str(tmp_path / "new"), "--model", str(tmp_path)])
        == 1
    )
    assert "model.json" in capsys.readouterr().err and not (tmp_path / "new").exists()
