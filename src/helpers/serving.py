"""The service from outside: started, called from many sides, looked at (used by 08)."""

import atexit
import io
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import requests
from PIL import Image

from . import images, uploads
from .settings import CourseError

KIND = {"Content-Type": "application/octet-stream"}


@contextmanager
def running(folder: str | Path, *arguments: str) -> Iterator[str]:
    """The service of a model's folder, as a program of its own; gives its address."""
    command = [sys.executable, "-m", "helpers.service", "--model", str(folder)]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [*command, "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        atexit.register(process.terminate)  # should a notebook end in between
        try:
            address = process.stdout.readline().strip()
            if not address.startswith("http"):
                errors.seek(0)
                raise CourseError(f"the service did not start: {errors.read().strip()}")
            yield address
        finally:
            atexit.unregister(process.terminate)
            process.terminate()
            try:
                process.communicate(timeout=70)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def sendable(path: str | Path) -> bytes:
    """A picture file as it is, or as PNG if it is of a kind that the service refuses."""
    data = Path(path).read_bytes()
    try:
        uploads.decode(data)
    except uploads.Refused:
        file = io.BytesIO()
        Image.fromarray(images.read(path)).save(file, "PNG")
        data = file.getvalue()
    return data


def load(
    address: str, files: list[bytes], clients: int, seconds: float
) -> pd.DataFrame:
    """Clients that ask one picture after the other: status and seconds of each answer."""
    end = perf_counter() + seconds

    def ask(first: int) -> list[tuple[int, float]]:
        done = []
        mine = cycle(files[first % len(files) :] + files[: first % len(files)])
        with requests.Session() as session:
            while (start := perf_counter()) < end:
                answer = session.post(
                    f"{address}/explain", next(mine), headers=KIND, timeout=120
                )
                done.append((answer.status_code, perf_counter() - start))
        return done

    start = perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = [row for rows in pool.map(ask, range(clients)) for row in rows]
    table = pd.DataFrame(answers, columns=["status", "seconds"])
    table.attrs["rate"] = (table.status == 200).sum() / (perf_counter() - start)
    return table


def told(table: pd.DataFrame) -> dict[str, float]:
    """Of a load: answers a second, and the waiting of those that were answered.

    p95 is the least of the n times within which 95 of 100 answers came (exercise 8.2): of
    fewer than 100, p99 is the slowest.
    """
    taken, shares = table.seconds[table.status == 200], np.array([0.5, 0.95, 0.99])
    ranked = np.full(3, np.nan)
    if len(taken):
        ranked = np.quantile(taken, shares, method="inverted_cdf")
    quantiles = dict(zip(("p50", "p95", "p99"), ranked.tolist(), strict=True))
    busy = int((table.status == 503).sum())
    return {"a second": table.attrs["rate"], **quantiles, "n": len(taken), "503": busy}


def page(address: str, picture: bytes, width=390, scheme="light") -> np.ndarray | None:
    """The page with the answer for a picture, as a browser shows it; None without one."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        print(f"no picture of the page: no Chromium here; open {address} yourself")
        return None

    def shot() -> bytes:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=path, args=["--no-sandbox"]
            )
            view = {"width": width, "height": 844}
            tab = browser.new_page(viewport=view, color_scheme=scheme)
            tab.goto(address)
            file = {"name": "picture", "mimeType": "image/jpeg", "buffer": picture}
            tab.locator("#file").set_input_files(file)
            tab.get_by_role("heading", name="The model says").wait_for()
            data = tab.screenshot(full_page=True)
            browser.close()
        return data

    with ThreadPoolExecutor(1) as alone:  # a notebook's own thread has a loop already
        return np.asarray(
            Image.open(io.BytesIO(alone.submit(shot).result())).convert("RGB")
        )


def others(size: int, n: int = 40, seed: int = 0) -> dict[str, np.ndarray]:
    """Pictures that are no dermoscopy (n×size×size×3): cuttings of photographs and such."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(seed)
    photos, cuts = load_sample_images().images, []
    for k in range(n):
        photo = photos[k % len(photos)]
        side = int(rng.integers(120, min(photo.shape[:2])))
        y, x = (int(rng.integers(0, s - side + 1)) for s in photo.shape[:2])
        cut = np.ascontiguousarray(photo[y : y + side, x : x + side])
        cuts.append(images.squashed(cut, size))
    noise = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    plain = rng.integers(0, 256, (n, 1, 1, 3), dtype=np.uint8)
    skin = np.array([205, 160, 135]) + rng.normal(0, 8, (n, 1, 1, 3))
    skin = skin + rng.normal(0, 4, (n, size, size, 3))
    return {
        "photographs": np.stack(cuts),
        "noise": noise,
        "one colour": np.broadcast_to(plain, noise.shape).copy(),
        "bare skin": np.uint8(np.clip(skin, 0, 255)),
    }


def claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims a size."""
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)
