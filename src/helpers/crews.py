"""Who explains an archive: this process, or workers of Ray (used by `archive`, 08).

Each takes batches, numbered, and gives the rows of each batch with its number.
"""

import logging
import warnings
from collections.abc import Iterator

import pandas as pd

from .explainer import Explainer
from .settings import CourseError

STORE = 200_000_000  # bytes of shared memory for Ray on one machine: rows are small


def local(
    explainer: Explainer, batches: list, workers: int
) -> Iterator[tuple[int, dict]]:
    for k, batch in batches:
        yield k, explainer(batch)


def ray_data(
    explainer: Explainer, batches: list, workers: int
) -> Iterator[tuple[int, dict]]:
    """The same by a pool of actors; a file's pictures go to one actor together.

    On a cluster, call `ray.init` first; all its machines must see the pictures.
    """
    try:
        import ray
    except ImportError:
        raise CourseError(
            "Ray is not installed: pip install 'xai-derm[archive]', or --engine local"
        ) from None
    if not batches:
        return
    tables = [pd.DataFrame(batch).assign(shard=k) for k, batch in batches]
    if own := not ray.is_initialized():
        try:
            ray.init(
                address="local",
                num_cpus=workers,
                object_store_memory=STORE,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except Exception as error:  # it has no kind of its own for this
            raise CourseError(
                f"Ray did not start ({str(error).splitlines()[0]}); try again when the "
                "machine is less busy, or --engine local"
            ) from None
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel("ERROR")
    # One call at a time, and that in the main thread, as in the loop.
    pool = ray.data.ActorPoolStrategy(size=workers, enable_true_multi_threading=True)
    try:
        with warnings.catch_warnings(action="ignore"):  # Ray 2.64 will name _once anew
            explained = ray.data.from_pandas(tables).map_batches(
                _Actor,
                fn_constructor_args=(explainer,),
                batch_size=None,  # a table at a time
                batch_format="numpy",
                compute=pool,
                num_cpus=1,
                num_gpus=int(explainer.device == "cuda"),
                ray_remote_args_fn=_once if own else None,
            )
        for found in explained.iter_batches(batch_size=None, batch_format="numpy"):
            (k,) = set(found.pop("shard").tolist())
            yield k, found
    finally:
        if own:
            ray.shutdown()


def _once() -> dict:
    """On one machine a worker that died (of memory, say) would only die again."""
    return {"max_restarts": 0}


class _Actor:
    """An Explainer that lives in a process of Ray's."""

    def __init__(self, explainer: Explainer):
        self.explainer = explainer

    def __call__(self, batch: dict) -> dict:
        shard = batch.pop("shard")
        return self.explainer(batch) | {"shard": shard}


RUNS = {"local": local, "ray": ray_data}
