"""Running the notebooks, one line each, with papermill. Used by the report.

The copy that ran says in its metadata what the run was and how much memory it took.
"""

import ast
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import nbformat
import psutil

from helpers.files import atomic, below_out, writing
from helpers.navigation import sources, tagged
from helpers.settings import CourseError, Settings, load

BAR = 20  # characters
CELL_SECONDS = {"quick": 3600, "full": 6 * 3600}  # 10,000 pictures need their time
TAIL = 12  # lines of a failing cell's traceback
LOOK = 0.2  # seconds between two looks at the memory


def run(
    names: list[str] | None = None,
    parameters: dict[str, object] | None = None,
    folder: Path | None = None,
) -> None:
    """Run the notebooks into <out>/notebooks, in order; stop at the first that fails.

    names: notebooks, as 01_data_audit, all of them when empty; parameters: values for
    their `parameters` cells. Whatever is wrong with either is refused before any runs.
    """
    parameters = parameters or {}
    lower = {name.lower(): value for name, value in parameters.items()}
    settings = load(lower.get("profile"), lower.get("dataset"), lower.get("seed"))
    paths = chosen(names or [], folder)
    for path in paths:
        check_parameters(path, parameters)
    width = max(len(path.stem) for path in paths)
    with this_kernel():
        for path in paths:
            run_one(path, parameters, settings, width)


def chosen(names: list[str], folder: Path | None = None) -> list[Path]:
    """The notebooks of these names (or file names), all when there is none."""
    known = {path.stem: path for path in sources(folder)}
    wanted = [Path(name).stem for name in names]
    for name in wanted:
        if name not in known:
            raise CourseError(
                f"no notebook {name!r}; there are {', '.join(sorted(known))}"
            )
    return [path for name, path in known.items() if not wanted or name in wanted]


def value(text: str) -> object:
    """A parameter from the command line: a Python literal, or else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def check_parameters(path: Path, parameters: dict[str, object]) -> None:
    """Papermill only logs a name that the notebook does not know; this refuses it."""
    import papermill

    known = papermill.inspect_notebook(path) if parameters else {}
    for name in parameters:
        if name not in known:
            raise CourseError(
                f"{path.stem} has no parameter {name!r}; it has "
                f"{', '.join(known) or 'none'}"
            )


@contextmanager
def this_kernel():
    """Makes `python3` mean this interpreter, whatever kernels the user has."""
    from ipykernel.kernelspec import write_kernel_spec

    old = os.environ.get("JUPYTER_PATH")
    with tempfile.TemporaryDirectory() as folder:
        write_kernel_spec(
            Path(folder, "kernels", "python3"), extra_arguments=["--log-level=CRITICAL"]
        )
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [folder, old]))
        try:
            yield
        finally:
            os.environ.pop("JUPYTER_PATH")
            if old is not None:
                os.environ["JUPYTER_PATH"] = old


def run_one(
    path: Path, parameters: dict[str, object], settings: Settings, width: int
) -> None:
    """Run one notebook, with a bar on a terminal, and print its one line."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    out = below_out("notebooks", path.name)
    name = path.stem.ljust(width)
    bar = {
        "desc": name,
        "file": sys.stdout,
        "leave": False,
        "bar_format": f"{{desc}}  {{bar:{BAR}}}  {{n_fmt}}/{{total_fmt}} cells"
        "  {elapsed}",
    }
    try:
        with writing(out), peak_memory() as peak:
            notebook = papermill.execute_notebook(
                path,
                out,
                parameters,
                kernel_name="python3",
                cwd=path.parent,
                progress_bar=bar if sys.stdout.isatty() else False,
                execution_timeout=CELL_SECONDS[settings.profile],
                interrupt_on_timeout=True,
                coalesce_streams=True,  # lines printed one by one are one text
            )
    except (PapermillExecutionError, DeadKernelError) as error:
        raise CourseError(failure(name, out, error)) from None
    notebook.metadata["run"] = facts(settings)  # a list: nbformat sorts keys
    notebook.metadata["peak_memory"] = max(peak)
    with atomic(out) as part:
        nbformat.write(notebook, part)
    cells = len(notebook.cells)
    print(line(name, cells, cells, notebook.metadata.papermill.duration, "✔"))


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """The bytes that our processes, a kernel and what it started, held at every look."""
    seen, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(LOOK):
            total = 0
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):  # it has just ended
                    total += process.memory_info().rss
            seen.append(total)

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield seen
    finally:
        over.set()
        watch.join()


def line(name: str, done: int, cells: int, seconds: float, mark: str) -> str:
    full = BAR * done // cells
    clock = f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
    bar = "█" * full + "░" * (BAR - full)
    return f"{name}  {bar}  {done}/{cells} cells  {clock}  {mark}"


def failure(name: str, out: Path, error: Exception) -> str:
    """Print the line of a notebook that failed; returns where and why it did."""
    from papermill.exceptions import strip_color

    notebook = nbformat.read(out, as_version=4)
    cells = [c for c in notebook.cells if not tagged(c, "papermill-error-cell-tag")]
    begun = [i for i, c in enumerate(cells) if c.metadata.papermill.start_time]
    failed = max(begun, default=0)
    seconds = notebook.metadata.papermill.duration
    print(line(name, failed, len(cells), seconds, "✘"), flush=True)
    headings = [
        row
        for cell in cells[:failed]
        if cell.cell_type == "markdown"
        for row in cell.source.splitlines()
        if row.startswith("#")
    ]
    trace = strip_color("\n".join(getattr(error, "traceback", None) or [str(error)]))
    if getattr(error, "ename", "") == "KeyboardInterrupt":
        trace += "\nThe cell was stopped: it took too long."
    tail = "\n".join(f"    {row}" for row in trace.splitlines()[-TAIL:])
    where = f", under “{headings[-1].lstrip('# ')}”" if headings else ""
    return (
        f"{name.strip()} failed in cell {failed + 1} of {len(cells)}{where}:\n{tail}\n"
        f"The notebook as far as it ran: {out}"
    )


def device(settings: Settings) -> str:
    """The GPU by its name, or cpu."""
    import torch

    return (
        torch.cuda.get_device_name() if settings.device == "cuda" else settings.device
    )


def facts(settings: Settings) -> list[tuple[str, str]]:
    """What the report says about a run."""
    return [
        ("Profile", settings.profile),
        ("Data set", settings.dataset),
        ("Seed", str(settings.seed)),
        ("Python", python_version()),
        ("PyTorch", version("torch")),
        ("Device", device(settings)),
        ("Cores of the machine", str(os.cpu_count())),
        ("Date of the run", datetime.now().astimezone().date().isoformat()),
    ]
