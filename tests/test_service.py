"""The service: what it answers, what it refuses, and what it never does."""

import asyncio
import base64
import gc
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic

import httpx
import numpy as np
import psutil
import pytest
import schemathesis
import served
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis import checks
from starlette.testclient import TestClient

from helpers import (
    calibration,
    cam,
    engine,
    guards,
    heatmaps,
    images,
    messages,
    models,
    service,
    trained,
    viewing,
)
from helpers.guards import Limits

pytestmark = pytest.mark.usefixtures("one_thread")
PIXELS = served.skin(3, 336, 448)
PICTURE = served.data(PIXELS)
KEY = "a key of sixteen letters and more"
ORIGIN = "https://app.example"


@pytest.fixture(scope="module")
def run(model_folder):
    return engine.load(model_folder)


@pytest.fixture(scope="module")
def client(run):
    with TestClient(service.app(run)) as client:
        yield client


def ask(client, data=PICTURE, headers=served.PNG, **asked):
    return client.post("/explain", content=data, headers=headers, params=asked)


def problem(answer, status: int, *told) -> dict:
    """A refusal as it must be: one line, what it is not, and nothing of our code."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error", "notice"} and body["notice"] == messages.NOTICE
    assert all(part in body["error"] for part in told), body["error"]
    assert not any(
        word in answer.text for word in ("Traceback", ".py", "\\n", "helpers")
    )
    return body


def pixels(url: str) -> np.ndarray:
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


# What it answers


def test_the_answer_is_what_the_notebooks_compute(client, run):
    told = ask(client).json()
    small = images.squashed(PIXELS, served.SIZE)[None]
    probs = trained.probabilities(run.page, models.logits(run.model, small, 2))
    by_label = {c["label"]: c for c in told["classes"]}
    said = [by_label[name]["probability"] for name in run.classes]
    assert said == pytest.approx(probs[0], abs=1e-5) and sum(said) == pytest.approx(1)
    assert said != pytest.approx([1 / 3] * 3, abs=0.01)
    assert told["predicted"] == told["target"] == told["classes"][0]["label"]
    assert [c["probability"] for c in told["classes"]] == sorted(said, reverse=True)
    kept = calibration.conformal(run.probs, run.truth, probs, told["alpha"])[0]
    assert [by_label[name]["in_set"] for name in run.classes] == kept.tolist()

    aim = run.classes.index(told["target"])
    found = cam.explain(run.model, models.tensor(small), "grad-cam", "deep", aim)
    heatmap = viewing.fit(found.heatmap[0], PIXELS)
    assert told["valid"] == found.valid[0] and heatmap.any()
    overlay, layer = pixels(told["overlay"]), pixels(told["heatmap"])
    wanted = heatmaps.overlay(PIXELS, heatmap).astype(int)
    assert np.abs(overlay - wanted).max() <= 2
    assert np.abs(layer[..., 3] - 255 * heatmap).max() <= 2
    assert overlay.shape[:2] == layer.shape[:2] == (told["height"], told["width"])
    assert told["sentence"].endswith("not a diagnosis.")
    assert told["method"] == "grad-cam" and told["layer"] == "deep"
    assert told["notice"] == messages.NOTICE and set(told["seconds"]) >= {
        "wait",
        "model",
    }


def test_class_method_and_layer_change_the_map(client, run):
    seen = {ask(client).json()["heatmap"]}
    worst = ask(client).json()["classes"][-1]["label"]
    for asked in ({"target": worst}, {"method": "layercam"}, {"layer": "middle"}):
        told = ask(client, **asked).json()
        assert asked.items() <= told.items()
        seen.add(told["heatmap"])
    assert len(seen) == 4


@pytest.mark.parametrize("method", engine.METHODS)
def test_every_method_is_served(client, method):
    assert ask(client, method=method).json()["method"] == method


def test_a_class_of_too_few_lesions_is_always_in_the_set(run):
    many = replace(
        run, probs=np.eye(3)[np.tile([0, 1, 2], 12)], truth=np.arange(36) % 3
    )
    rare = run.classes.index("mel")
    for n in (8, 9):  # 1 / 0.1 - 1 are the least
        kept = np.flatnonzero((many.truth != rare) | (np.arange(36) < 3 * n))
        few = replace(many, probs=many.probs[kept], truth=many.truth[kept])
        no = calibration.conformal(few.probs, few.truth, np.eye(3)[[rare - 1]])[0]
        with TestClient(service.app(few)) as client:
            told = {c["label"]: c for c in ask(client).json()["classes"]}
        assert no[rare] == told["mel"]["always"] == (n == 8)
        assert not told["nv"]["always"] and not told["nv"]["in_set"]
        assert told["mel"]["in_set"] >= told["mel"]["always"]


def test_a_map_that_points_nowhere_says_so(client, run, monkeypatch):
    one = engine.answers(run, np.zeros((1, 64, 64, 3), np.uint8), [engine.Asked()])[0]
    nothing = replace(one, heatmap=0 * one.heatmap, valid=False)
    monkeypatch.setattr(engine, "answers", lambda *_: [nothing])
    told = ask(client).json()
    assert told["valid"] is False and "the map is empty" in told["sentence"]
    assert not pixels(told["heatmap"])[..., 3].any()
    assert np.array_equal(pixels(told["overlay"]), PIXELS)


def test_a_strange_picture_is_told(client, run):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    told = ask(client, served.data(noise)).json()
    assert told["familiar"] is False and told["warning"] == messages.UNFAMILIAR
    noise = told["strangeness"]
    told = ask(client, served.data(served.skin(0))).json()  # one of the training
    assert told["familiar"] is True and told["warning"] is None
    assert told["strangeness"] <= run.familiar.cutoff < noise
    with TestClient(service.app(replace(run, familiar=None))) as other:
        told = ask(other).json()
    assert told["familiar"] is told["strangeness"] is None
    assert told["warning"] == messages.UNCHECKED


def test_what_may_be_asked_for(client, run):
    told = client.get("/classes").json()
    assert [c["label"] for c in told["classes"]] == run.classes
    assert {"label": "mel", "name": "melanoma"} in told["classes"]
    assert told["methods"] == list(engine.METHODS) and told["layers"] == [
        "early",
        "middle",
        "deep",
    ]
    assert told["model"]["sha256"] == run.page["sha256"]
    assert client.get("/health").json()["status"] == "ok"


def test_metrics_count(run):
    with TestClient(service.app(run)) as client:
        ask(client)
        ask(client, b"")
        client.get("/nowhere")
        text = client.get("/metrics").text
    for line in (
        'explain_answers_total{path="/explain",status="200"} 1.0',
        'explain_answers_total{path="/explain",status="422"} 1.0',
        'explain_answers_total{path="other",status="404"} 1.0',
        "explain_seconds_count 1.0",
        "explain_inside 0.0",
        "explain_batch 1.0",
    ):
        assert line in text.splitlines()


# What it refuses


@pytest.mark.parametrize(
    "data, status, told",
    [
        (b"", 422, "no picture came"),
        (b"just text", 415, "not a JPEG, PNG or WebP"),
        (served.data(PIXELS[:1, :1]), 422, "1×1"),
        (served.data(PIXELS, "JPEG")[:2000], 422, "cut short"),
        (PICTURE + b"0" * 10_000_000, 413, "10 MB"),
    ],
)
def test_a_bad_picture(client, data, status, told):
    answer = ask(client, data)
    problem(answer, status, told)
    assert (answer.headers.get("connection") == "close") == (status == 413)


def test_an_upload_without_a_length_is_stopped_at_the_limit(client):
    sent = []

    def endless():
        for _ in range(1000):
            sent.append(bytes(100_000))
            yield sent[-1]

    problem(ask(client, endless()), 413, "10 MB")
    problem(ask(client, b"", served.PNG | {"Content-Length": "9" * 30}), 413)


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/json",
        "multipart/form-data; boundary=x",
        "image/gif",
        "",
    ],
)
def test_a_wrong_content_type(client, kind):
    problem(ask(client, PICTURE, {"Content-Type": kind}), 415, "image/jpeg")


def test_the_content_decides_not_what_is_said_of_it(client):
    kinds = "image/png", "image/jpeg", "application/octet-stream", "IMAGE/WEBP; x=y"
    told = [ask(client, PICTURE, {"Content-Type": kind}).json() for kind in kinds]
    assert len({json.dumps(t | {"seconds": 0}) for t in told}) == 1


@pytest.mark.parametrize(
    "asked",
    [{"target": "melanoma?"}, {"target": ""}, {"method": "score-cam"}, {"layer": "3"}],
)
def test_an_unknown_name(client, asked):
    (name,) = asked
    problem(ask(client, **asked), 422, f"{name}: ", "'")


def test_no_name_of_a_file_is_ever_used(client):
    evil = "../../../../etc/passwd"
    named = served.PNG | {"Content-Disposition": f'attachment; filename="{evil}"'}
    assert ask(client, PICTURE, named, filename=evil).status_code == 200
    form = client.post("/explain", files={"picture": (evil, PICTURE, "image/png")})
    problem(form, 415)
    for path in (
        "/..%2f..%2fetc/passwd",
        "/page/../guards.py",
        "/%00",
        "/page.js/",
    ):
        problem(client.get(path), 404)


def test_another_method_or_path(client):
    problem(client.get("/explain"), 405)
    problem(client.get("/docs"), 404)  # its scripts would come from elsewhere
    assert client.get("/explain").headers["allow"] == "POST"


def test_a_map_that_the_model_cannot_give(client, monkeypatch):
    def refuse(*_):
        raise engine.CourseError("CAM needs a linear head: take grad-cam")

    monkeypatch.setattr(engine.cam, "maps", refuse)
    problem(ask(client, method="cam"), 422, "take grad-cam")


def test_a_fault_of_ours_tells_nothing(run, monkeypatch, caplog):
    def fail(*_):
        raise KeyError("the secret of the picture")

    monkeypatch.setattr(engine, "answers", fail)
    with TestClient(service.app(run), raise_server_exceptions=True) as client:
        answer = ask(client)
        problem(answer, 500, "a fault of ours")
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "KeyError" in caplog.text and "secret" not in caplog.text


def test_a_key(run):
    with TestClient(service.app(run, key=KEY)) as client:
        for given_ in (
            {},
            {"X-API-Key": "wrong"},
            {"X-API-Key": KEY[:-1]},
            {"X-API-Key": "é"},
        ):
            given_ = {k.encode(): v.encode("latin-1") for k, v in given_.items()}
            for path in ("/classes", "/metrics"):
                problem(client.get(path, headers=given_), 401, "X-API-Key")
            problem(ask(client, PICTURE, served.PNG | given_), 401, "X-API-Key")
        assert ask(client, PICTURE, served.PNG | {"X-API-Key": KEY}).status_code == 200
        assert client.get("/health").status_code == client.get("/").status_code == 200


def test_without_the_key_nothing_names_a_class(run):
    right = {"X-API-Key": KEY}
    with TestClient(service.app(run, key=KEY)) as client:
        assert served.CLASSES[1] in client.get("/openapi.json", headers=right).text
        asked = [
            client.get(path)
            for path in ("/openapi.json", "/docs", "/redoc", "/classes", "/health", "/")
        ]
        asked += [ask(client, target="melanoma?"), ask(client, target=run.classes[0])]
    for answer in asked:
        assert not set(re.findall(r"\w+", answer.text)) & set(run.classes)
    problem(asked[0], 401, "X-API-Key")


# Too much at once


def scope(path="/explain", headers=()):
    return {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1",
            "method": "POST", "scheme": "http", "path": path, "raw_path": path.encode(),
            "query_string": b"", "root_path": "", "server": ("x", 80), "client": ("y", 1),
            "headers": [(b"content-type", b"image/png"), *headers]}  # fmt: skip


async def called(app, messages_, send=None):
    """Status, headers and body of a request whose body comes as told; then no more."""
    left, sent = iter(messages_), []

    async def receive():
        for message in left:
            return message
        await asyncio.Event().wait()

    async def keep(message):
        sent.append(message)

    await app(scope(), receive, send or keep)
    body = b"".join(message["body"] for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), body


def test_an_upload_that_never_ends_is_refused(run):
    app = service.app(run, Limits(seconds=0.01))
    part = {"type": "http.request", "body": PICTURE[:500], "more_body": True}
    status, headers, body = asyncio.run(called(app, [part]))
    assert status == 408 and b"seconds" in body and headers[b"connection"] == b"close"


def test_an_upload_that_breaks_off_is_no_fault_of_ours(run):
    app = service.app(run)
    part = {"type": "http.request", "body": PICTURE[:500], "more_body": True}
    status, _, body = asyncio.run(called(app, [part, {"type": "http.disconnect"}]))
    assert status == 408 and b"broke off" in body


def test_for_a_client_that_has_gone_nothing_is_computed(run, monkeypatch):
    monkeypatch.setattr(engine, "answers", lambda *_: pytest.fail("computed"))
    whole = {"type": "http.request", "body": PICTURE, "more_body": False}
    parts = [whole, {"type": "http.disconnect"}]
    status, *_ = asyncio.run(called(service.app(run), parts))
    assert status == 408


def test_an_answer_goes_out_in_parts_and_keeps_its_place_until_it_is_taken(run):
    whole = {"type": "http.request", "body": PICTURE, "more_body": False}

    async def slowly():
        app, taken, go = service.app(run), [], asyncio.Event()
        inside = app.state.meters

        async def send(message):
            taken.append(message)
            if len(taken) == 3:
                await go.wait()

        asking = asyncio.create_task(called(app, [whole], send))
        while len(taken) < 3:
            await asyncio.sleep(0.001)
        assert inside.now == 1
        go.set()
        with pytest.raises(IndexError):  # `called` itself has kept nothing
            await asking
        assert inside.now == 0
        return taken[1:]

    parts = asyncio.run(slowly())
    assert len(parts) > 3 and max(len(part["body"]) for part in parts) <= guards.PART
    assert [part.get("more_body", False) for part in parts] == [True] * (
        len(parts) - 1
    ) + [False]
    told = json.loads(b"".join(part["body"] for part in parts))
    assert pixels(told["overlay"]).shape == PIXELS.shape


def test_an_answer_that_nobody_takes_is_broken_off(run, caplog):
    whole = {"type": "http.request", "body": PICTURE, "more_body": False}

    async def never():
        app, taken = service.app(run, Limits(seconds=0.1)), []

        async def send(message):
            taken.append(message)
            if len(taken) == 3:
                await asyncio.Event().wait()

        with pytest.raises(IndexError):
            await called(app, [whole], send)
        assert app.state.meters.now == 0 and len(taken) == 3
        assert taken[-1]["more_body"]

    asyncio.run(never())
    assert "fault" not in caplog.text and "Traceback" not in caplog.text


def test_more_than_there_is_room_for_is_refused_and_the_rest_answered(run, monkeypatch):
    go, answers = threading.Event(), engine.answers

    def wait(*arguments):
        assert go.wait(60)
        return answers(*arguments)

    monkeypatch.setattr(engine, "answers", wait)

    async def all_at_once():
        app = service.app(run, Limits(room=3, batch=2))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://x"
        ) as client:
            first = [asyncio.create_task(ask(client)) for _ in range(3)]
            async with asyncio.timeout(60):
                while (await client.get("/health")).json()["waiting"] < 3:
                    await asyncio.sleep(0)
            refused = await asyncio.gather(*(ask(client) for _ in range(5)))
            go.set()
            return await asyncio.gather(*first), refused, await ask(client)

    answered, refused, later = asyncio.run(all_at_once())
    assert [a.status_code for a in (*answered, later)] == [200] * 4
    for answer in refused:
        problem(answer, 503, "come again")
        assert int(answer.headers["retry-after"]) >= 1


def test_many_at_once_get_each_its_own_answer(run):
    files = [served.data(served.skin(k)) for k in range(24)]
    with TestClient(service.app(run, Limits(batch=8))) as client:
        alone = [ask(client, file).json() for file in files]
        with ThreadPoolExecutor(12) as pool:
            together = list(pool.map(lambda file: ask(client, file).json(), files))
    for one, other in zip(alone, together, strict=True):
        assert one["predicted"] == other["predicted"]
        for first, second in zip(one["classes"], other["classes"], strict=True):
            assert first["probability"] == pytest.approx(
                second["probability"], abs=1e-3
            )
        difference = pixels(one["overlay"]).astype(int) - pixels(other["overlay"])
        assert np.abs(difference).max() <= 2


# What it never does

WRITTEN, WATCHING = [], []


def watch(event, arguments):
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    if WATCHING and event == "open" and arguments[2] & writes:
        WRITTEN.append(arguments[0])


def test_nothing_of_a_picture_is_written_or_logged(client, capfd, caplog):
    caplog.set_level(0)
    ask(client)
    capfd.readouterr()
    caplog.clear()
    sys.addaudithook(watch)
    WATCHING.append(True)
    try:
        for data in (PICTURE, served.data(PIXELS, "JPEG"), PICTURE[:900], b"nothing"):
            ask(client, data)
    finally:
        WATCHING.clear()
    assert not WRITTEN
    ours = [
        r for r in caplog.records if r.name.startswith(("helpers", "PIL", "uvicorn"))
    ]
    lines = [r.getMessage() for r in ours if r.levelname != "DEBUG"]
    assert not lines and capfd.readouterr() == ("", "")


def test_nothing_of_exif_comes_back(client):
    exif = Image.Exif()
    exif[0x010E], exif[0x0110] = "taken at home by me", "my own phone"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 12.0, 30.0)})
    bare, told = (
        ask(client, served.data(PIXELS, exif=e)).json() | {"seconds": 0}
        for e in (None, exif)
    )
    assert told == bare
    for name in ("overlay", "heatmap"):
        raw = base64.b64decode(told[name].partition(",")[2])
        assert b"home" not in raw and b"phone" not in raw and b"eXIf" not in raw


def test_every_answer_carries_its_guards(client):
    for answer in (
        client.get("/"), client.get("/page.js"), client.get("/classes"), ask(client),
        ask(client, b""), client.get("/nowhere"), client.options("/explain"),
    ):  # fmt: skip
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-notice"] == messages.NOTICE
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


def test_no_other_site_may_call_unless_it_is_named(client, run):
    asking = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    assert (
        "access-control-allow-origin"
        not in client.options("/explain", headers=asking).headers
    )
    assert (
        "access-control-allow-origin"
        not in ask(client, PICTURE, served.PNG | asking).headers
    )
    with TestClient(service.app(run, origins=[ORIGIN])) as open_:
        told = open_.options("/explain", headers=asking).headers
        assert told["access-control-allow-origin"] == ORIGIN
        assert "x-notice" in told
        other = open_.options(
            "/explain", headers=asking | {"Origin": "https://evil.example"}
        )
        assert "access-control-allow-origin" not in other.headers


def test_the_page_asks_nothing_of_others(client):
    page = client.get("/").text
    assert (
        "Not for diagnosis" in page and "<script>" not in page and "style=" not in page
    )
    for name in (
        "page.js",
        "page.css",
        "manifest.webmanifest",
        "icon-192.png",
        "icon-512.png",
    ):
        answer = client.get(f"/{name}")
        assert answer.status_code == 200 and answer.content
        if not name.endswith("png"):
            assert "http:" not in answer.text and "https:" not in answer.text
    limit = f"MOST = {Limits().bytes:_};"
    assert limit in client.get("/page.js").text
    manifest = json.loads(client.get("/manifest.webmanifest").text)
    for icon in manifest["icons"]:
        image = Image.open(io.BytesIO(client.get("/" + icon["src"]).content))
        assert f"{image.width}x{image.height}" == icon["sizes"]


def test_memory_comes_back(client):
    """After bombs and nonsense; the largest picture alone takes 200 MB and more."""

    def level():
        assert ask(client).status_code == 200
        gc.collect()
        return psutil.Process().memory_info().rss

    large = served.data(np.zeros((4000, 4000, 3), np.uint8))
    before = level()
    for data in 2 * [large, large[:-20], PICTURE[:900], b"x" * 9_000_000]:
        assert ask(client, data).status_code in (200, 415, 422)
    assert level() - before < 150e6


# Anything at all


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200))
def test_any_bytes_are_answered(client, data):
    assert ask(client, data).status_code in (200, 415, 422)


@pytest.fixture(scope="module")
def fuzzed(model_folder):
    with started(model_folder) as (_, address):
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")


RIGHT, WRONG = (
    schemathesis.GenerationMode.POSITIVE,
    schemathesis.GenerationMode.NEGATIVE,
)
PATHS = [(path, RIGHT) for path in ("/explain", "/classes", "/health", "/metrics")]


@pytest.mark.parametrize("path, mode", [*PATHS, ("/explain", WRONG)])
def test_the_service_is_as_its_openapi_page_says(fuzzed, path, mode):
    (operation,) = (o.ok() for o in fuzzed.get_all_operations() if o.ok().path == path)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def holds(case):
        case.call_and_validate(
            checks=[
                checks.not_a_server_error,
                checks.status_code_conformance,
                checks.content_type_conformance,
                checks.response_headers_conformance,
                checks.response_schema_conformance,
            ]
        )

    holds()


def test_the_openapi_page_has_words_and_examples(client):
    page = client.get("/openapi.json").json()
    post = page["paths"]["/explain"]["post"]
    assert set(post["requestBody"]["content"]) >= {
        "image/jpeg",
        "image/png",
        "image/webp",
    }
    assert set(post["responses"]) == {"200", "401", "408", "413", "415", "422", "503"}
    assert page["components"]["schemas"]["Answer"]["properties"]["predicted"][
        "examples"
    ]
    assert "Not a medical device" in page["info"]["description"]
    targets = next(p for p in post["parameters"] if p["name"] == "target")
    assert targets["schema"]["enum"] == ["predicted", *served.CLASSES]


# The program


@contextmanager
def started(folder, *arguments):
    """The service as a process of its own, and its address."""
    command = [sys.executable, "-m", "helpers.service", "--model", str(folder)]
    process = subprocess.Popen(
        [*command, "--port", "0", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), process.stderr.read()
        yield process, address
    finally:
        process.kill()
        process.communicate()


def half_uploads(address, n):
    """Connections whose pictures are half there: they are inside."""
    port = int(address.rpartition(":")[2])
    head = f"POST /explain HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(PICTURE)}\r\n\r\n"  # noqa: E501
    taken = []
    for _ in range(n):
        taken.append(socket.create_connection(("127.0.0.1", port), timeout=60))
        taken[-1].sendall(head.encode() + PICTURE[:1000])
    end = monotonic() + 60
    while httpx.get(f"{address}/health").json()["waiting"] < n:
        assert monotonic() < end
    return taken


def rest(connection) -> tuple[int, dict, dict]:
    """The answer, to the end of its connection: status, headers, message."""
    with connection, connection.makefile("rb") as answer:
        head, _, body = answer.read().partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, json.loads(body)


def test_stopped_under_load_it_answers_what_it_took_and_refuses_the_rest(model_folder):
    with started(model_folder) as (process, address):
        taken = half_uploads(address, 12)
        process.send_signal(signal.SIGTERM)
        end = monotonic() + 60
        while (health := httpx.get(f"{address}/health")).status_code == 200:
            assert monotonic() < end
        assert health.status_code == 503
        assert health.json()["status"] == "closing" and health.json()["waiting"] == 12
        late = httpx.post(f"{address}/explain", content=PICTURE, headers=served.PNG)
        problem(late, 503, "about to stop")
        assert int(late.headers["retry-after"]) >= 1
        for connection in taken:
            connection.sendall(PICTURE[1000:])
        for connection in taken:
            status, _, told = rest(connection)
            assert status == 200 and told["notice"] == messages.NOTICE
        assert process.wait(60) in (0, -signal.SIGTERM)
        assert process.stderr.read() == ""


@contextmanager
def in_a_thread(app, limits):
    """The server in this process, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        server = service.Server(app, limits)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield server, f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.handle_exit(signal.SIGTERM, None)
            thread.join(60)
    assert not thread.is_alive()


def test_what_is_not_done_when_the_grace_is_over_is_refused(run, monkeypatch):
    go, answers = threading.Event(), engine.answers

    def hangs(*arguments):
        assert go.wait(60)
        return answers(*arguments)

    monkeypatch.setattr(engine, "answers", hangs)
    monkeypatch.setattr(service, "GRACE", 0)
    monkeypatch.setattr(service, "CUT", 0)
    with in_a_thread(service.app(run), Limits()) as (server, address):
        taken = half_uploads(address, 3)
        for connection in taken[:2]:  # they are whole and wait; the third one never is
            connection.sendall(PICTURE[1000:])
        server.handle_exit(signal.SIGTERM, None)
        for connection in taken:
            status, headers, told = rest(connection)
            assert status == 503 and int(headers["retry-after"]) >= 1
            assert "about to stop" in told["error"] and "x-notice" in headers
        go.set()


def test_more_connections_than_allowed_are_refused(run):
    with in_a_thread(service.app(run), Limits(connections=8)) as (_, address):
        assert httpx.get(f"{address}/").status_code == 200
        port = int(address.rpartition(":")[2])
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
        assert httpx.get(f"{address}/").status_code == 503
        for connection in idle:
            connection.close()


def test_who_takes_nothing_for_long_is_hung_up_on(monkeypatch):
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        pytest.skip("this system has no such limit")
    with service._bind("127.0.0.1", 0) as bound:
        client = socket.create_connection(bound.getsockname())
        with client, bound.accept()[0] as other:
            limit = other.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert limit == 1000 * service.UNTAKEN


def test_the_program_asks_for_its_key(model_folder, tmp_path):
    (tmp_path / "key").write_text(KEY + "\n")
    with started(model_folder, "--key-file", str(tmp_path / "key")) as (_, address):
        assert httpx.get(f"{address}/classes").status_code == 401
        answer = httpx.get(f"{address}/classes", headers={"X-API-Key": KEY})
        assert answer.status_code == 200 and "server" not in answer.headers


def test_the_program_says_in_one_line_what_is_wrong(model_folder, tmp_path, capsys):
    (tmp_path / "short").write_text("12345")
    taken = socket.create_server(("127.0.0.1", 0))
    port = str(taken.getsockname()[1])
    for arguments, told in (
        (["--model", str(tmp_path)], "model.json"),
        (["--key-file", str(tmp_path / "none")], "key"),
        (["--key-file", str(tmp_path / "short")], "16"),
        (["--port", port], "--port"),
        (["--port", "70000"], "--port"),
    ):
        assert service.main(["--model", str(model_folder), *arguments]) == 1
        out, err = capsys.readouterr()
        assert not out and told in err and err.count("\n") == 1, err
    taken.close()


def test_a_folder_that_lacks_its_answers_is_refused(model_folder, tmp_path, capsys):
    for name in ("model.json", "weights.safetensors"):
        (tmp_path / name).write_bytes((model_folder / name).read_bytes())
    for content in (None, "", "a,b\n1,2\n", "split,label,group,bkl,mel,nv\n"):
        if content is not None:
            (tmp_path / "logits.csv").write_text(content)
        assert service.main(["--model", str(tmp_path)]) == 1
        assert "logits.csv: does not go with the model" in capsys.readouterr().err
