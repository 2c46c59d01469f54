"""Explains a whole folder of pictures, in one process or on a cluster (taught in 08).

    python -m helpers.archive IN OUT [--model DIR] [--engine ray|local] [--workers 2]

OUT gets Parquet files of SHARD rows each and a manifest. Each file appears when it is
whole; a run that broke goes on with the files that lack. Ray Data reads paths, not
pictures: its own reader stops at the first one that is damaged.
"""

import argparse
import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from tqdm import tqdm

from . import crews, familiar, messages, saved, settings
from . import engine as engines
from .explainer import Explainer
from .files import atomic, writing
from .settings import CourseError

SHARD = 256
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")
MANIFEST = "manifest.json"


def explain(
    source: str | Path,
    out: str | Path,
    explainer: Explainer,
    engine: str = "local",
    workers: int = 1,
    shard: int = SHARD,
) -> dict:
    """Explains what is not explained yet; returns the counts of the whole archive."""
    if shard < 1:
        raise CourseError(f"a file holds 1 row or more, not {shard}")
    if engine not in crews.RUNS or workers < 1 or (engine == "local" and workers > 1):
        raise CourseError(
            f"no engine {engine!r} with {workers} workers: choose local with 1, or ray"
        )
    source, out = Path(source), Path(out)
    ids = pictures(source)
    explainer.shape()  # a model or a method that does not fit is refused here
    plan = _plan(source, ids, explainer, shard)
    shards = [ids[i : i + shard] for i in range(0, len(ids), shard)]
    with writing(out / MANIFEST):
        lock = FileLock(out / ".lock", timeout=0)
    try:
        with lock:
            _agree(out, plan)
            todo = [k for k, some in enumerate(shards) if not _whole(out, k, len(some))]
            batches = [_batch(source, k, shards[k]) for k in todo]
            run = crews.RUNS[engine]
            done = len(ids) - sum(len(shards[k]) for k in todo)
            with tqdm(
                total=len(ids), initial=done, unit="pictures", disable=None
            ) as bar:
                for k, found in run(explainer, batches, workers):
                    _write(out, k, found, explainer)
                    bar.update(len(found["id"]))
    except Timeout:
        raise CourseError(f"{out}: another run is writing there; wait for it") from None
    return summary(out)


def pictures(source: Path) -> list[str]:
    """The picture files below a folder, by their path from there, in order."""
    if not source.is_dir():
        raise CourseError(f"{source}: no such folder; give the folder of the pictures")
    found = sorted(
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    for name in found:
        if not name.isprintable():  # among them what is no UTF-8
            raise CourseError(f"{name!r}: a name that cannot be kept; rename the file")
    if not found:
        raise CourseError(f"{source}: no picture there ({', '.join(SUFFIXES)})")
    return found


def rows(out: str | Path):
    """All rows of an archive, as a table; a map is a list of h·w numbers."""
    return (
        pq.ParquetDataset(sorted(Path(out).glob("part-*.parquet"))).read().to_pandas()
    )


def summary(out: str | Path) -> dict:
    """How many pictures, how many of them unreadable, how many of each class."""
    counts = {"pictures": 0, "unreadable": 0, "without a map": 0, "predicted": {}}
    for path in sorted(Path(out).glob("part-*.parquet")):
        table = pq.read_table(path, columns=["error", "valid", "predicted"]).to_pandas()
        read = table[table.error == ""]
        counts["pictures"] += len(table)
        counts["unreadable"] += len(table) - len(read)
        counts["without a map"] += int((~read.valid).sum())
        for name, n in read.predicted.value_counts().sort_index().items():
            counts["predicted"][name] = counts["predicted"].get(name, 0) + int(n)
    return counts


def _plan(source: Path, ids: list[str], explainer: Explainer, shard: int) -> dict:
    """What a run is about: two runs of the same plan write the same bytes."""
    listing = hashlib.sha256()
    for name in ids:
        stat = (source / name).stat()
        listing.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    page = saved.read_page(explainer.folder)
    rule = familiar.place(explainer.folder, page)
    known = rule.read_bytes() if rule.is_file() else b""
    return {
        "notice": messages.NOTICE,
        "pictures": listing.hexdigest(),
        "count": len(ids),
        "rows a file": shard,
        "model": page["sha256"],
        "calibration": [page["temperature"], page["shift"], page["recipe"]["views"]],
        "familiar": hashlib.sha256(known).hexdigest(),
        "device": explainer.device,
        "torch": version("torch"),
        "method": explainer.method,
        "layer": explainer.layer,
        "threads": explainer.threads,  # another number rounds the last digit otherwise
    }


def _agree(out: Path, plan: dict) -> None:
    """Writes the plan; refuses a folder that holds what another one made."""
    path, other = out / MANIFEST, []
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
        other = [name for name in plan if old.get(name) != plan[name]]
    except FileNotFoundError:
        other = ["manifest"] * any(out.glob("part-*.parquet"))
    except (ValueError, AttributeError):
        other = ["manifest"]
    if other:
        raise CourseError(
            f"{out}: holds an archive with another {other[0]!r}; choose an empty folder"
        )
    with atomic(path) as part:
        part.write_text(json.dumps(plan, indent=1), encoding="utf-8")


def _whole(out: Path, k: int, wanted: int) -> bool:
    """Is a file there, and readable to its end?"""
    try:
        return pq.read_metadata(_path(out, k)).num_rows == wanted
    except (OSError, pa.ArrowException):
        return False


def _path(out: Path, k: int) -> Path:
    return out / f"part-{k:05d}.parquet"


def _batch(source: Path, k: int, ids: list[str]) -> tuple[int, dict[str, np.ndarray]]:
    paths = [str(source / name) for name in ids]
    return k, {"id": np.array(ids, object), "path": np.array(paths, object)}


def _write(
    out: Path, k: int, found: dict[str, np.ndarray], explainer: Explainer
) -> None:
    """One file, whole or not at all; the same rows give the same bytes."""
    text, columns = pa.string(), {}
    for name, kind in {
        "id": text,
        "error": text,
        "predicted": text,
        "p": pa.float32(),
        "strangeness": pa.float32(),
        "valid": pa.bool_(),
        "sentence": text,
    }.items():
        columns[name] = pa.array(found[name].tolist(), kind)
    for name, kind in {"logits": pa.float32(), "map": pa.float16()}.items():
        values = np.stack(list(found[name])).reshape(len(found["id"]), -1)
        flat = values.astype(kind.to_pandas_dtype())
        columns[name] = pa.FixedSizeListArray.from_arrays(
            pa.array(flat.ravel(), kind), flat.shape[1]
        )
    about = {"notice": messages.NOTICE, "method": explainer.method}
    table = pa.table(columns).replace_schema_metadata(about)
    with atomic(_path(out, k)) as part:
        pq.write_table(table, part, compression="zstd")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m helpers.archive", description=__doc__)
    parser.add_argument("source", metavar="IN", help="a folder of pictures")
    parser.add_argument("out", metavar="OUT", help="a folder of its own")
    parser.add_argument("--model", required=True, metavar="DIR", help="a trained model")
    parser.add_argument("--engine", choices=crews.RUNS, default="local")
    parser.add_argument("--workers", type=int, default=1, help="of Ray")
    parser.add_argument("--shard", type=int, default=SHARD, help="rows a file")
    parser.add_argument("--method", choices=engines.METHODS, default="grad-cam")
    parser.add_argument("--layer", choices=engines.LAYERS, default="deep")
    chosen = parser.parse_args(arguments)
    device = settings.load().device
    explainer = Explainer(chosen.model, chosen.method, chosen.layer, device)
    try:
        counts = explain(
            chosen.source,
            chosen.out,
            explainer,
            chosen.engine,
            chosen.workers,
            chosen.shard,
        )
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print(
        f"{chosen.out}: {counts['pictures']:,} pictures, {counts['unreadable']:,} of them "
        f"unreadable, {counts['without a map']:,} without a map. {messages.NOTICE}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
