"""Links between notebooks, and the cell that installs the course on Colab.

All of it is generated from pyproject.toml (the repository's address, the version), by
`python -m helpers.report navigation`. Used by the report, taught nowhere.
"""

import tomllib
from pathlib import Path

import nbformat

from helpers.settings import CourseError, root

# Runs on Colab alone. Pinning what is there keeps pip from moving Colab's own torch.
BOOTSTRAP = """\
import sys  # on Colab this cell installs the course; elsewhere it does nothing
from importlib.metadata import version

if "google.colab" in sys.modules:
    names = ["torch", "torchvision", "numpy", "pillow", "ipywidgets", "ipython"]
    pins = " ".join(f"{{name}}=={{version(name)}}" for name in names)
    %pip install -q {{pins}} "xai-derm @ git+{repository}{at}"
    version("xai-derm")  # if it stops here, pip has failed: its reason stands above
"""
KERNEL = {
    "display_name": "Python 3 (ipykernel)",
    "language": "python",
    "name": "python3",
}


def project() -> dict:
    return tomllib.loads((root() / "pyproject.toml").read_text("utf-8"))["project"]


def repository() -> str:
    """The address of the course's repository: the one setting behind every link."""
    return project()["urls"]["repository"].rstrip("/")


def branch() -> str:
    """Where the links point to: main while a version is made, then the version's tag."""
    version = project()["version"]
    return "main" if version.endswith(".dev0") else f"v{version}"


def site_address() -> str:
    """Where GitHub Pages publishes the repository's report."""
    owner, name = repository().split("/")[-2:]
    return f"https://{owner.lower()}.github.io/{name}"


def sources(folder: Path | None = None) -> list[Path]:
    """The course's notebooks, in order."""
    folder = (folder or root() / "notebooks").resolve()
    found = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise CourseError(f"no notebook like 01_topic.ipynb in {folder}")
    return found


def title(notebook: nbformat.NotebookNode) -> str:
    """The text of the first heading, without its mark."""
    return notebook.cells[0].source.splitlines()[0].lstrip("# ").strip()


def tagged(cell: nbformat.NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def title_cell(name: str, heading: str, in_report: bool = False) -> str:
    """The first cell: the heading and the line of links under it."""
    path = f"blob/{branch()}/notebooks/{name}.ipynb"
    colab = repository().replace("github.com", "colab.research.google.com/github")
    links = [
        f"[Open in Colab]({colab}/{path})",
        f"[This page in the report]({site_address()}/notebooks/{name}.html)",
        f"[Source]({repository()}/{path})",
    ]
    if in_report:
        links[1] = "[Glossary](../glossary.md)"
        for edition, ending in (("Student", "ipynb"), ("Reading", "html")):
            links.append(f'<a href="../editions/{name}.{ending}">{edition} edition</a>')
    return f"# {heading}\n\n{' · '.join(links)}"


def updated(path: Path, before: Path | None, after: Path | None) -> str:
    """The text of the notebook's file with every generated cell made anew."""
    notebook = nbformat.read(path, as_version=4)
    if not notebook.cells or not notebook.cells[0].source.startswith("# "):
        raise CourseError(f"{path.name}: the first cell must start with '# NN · Title'")
    notebook.metadata["kernelspec"] = KERNEL
    notebook.cells[0].source = title_cell(path.stem, title(notebook))
    bootstrap = [cell for cell in notebook.cells if tagged(cell, "bootstrap")]
    if len(bootstrap) != 1:
        raise CourseError(f"{path.name}: tag exactly one cell 'bootstrap'")
    at = "" if branch() == "main" else f"@{branch()}"
    bootstrap[0].source = BOOTSTRAP.format(repository=repository(), at=at).rstrip()
    if not tagged(notebook.cells[-1], "navigation"):
        notebook.cells.append(
            nbformat.v4.new_markdown_cell(
                id="navigation", metadata={"tags": ["navigation"]}
            )
        )
    links = ["[Contents](../README.md)"]
    if before:
        links.insert(0, f"[← {_title_of(before)}]({before.name})")
    if after:
        links.append(f"[{_title_of(after)} →]({after.name})")
    notebook.cells[-1].source = " · ".join(links)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def _title_of(path: Path) -> str:
    return title(nbformat.read(path, as_version=4))


def out_of_step(folder: Path | None = None) -> dict[Path, str]:
    """The notebooks whose generated cells are stale, with what they should hold."""
    paths = sources(folder)
    fresh = {
        path: updated(path, before, after)
        for before, path, after in zip(
            [None, *paths], paths, [*paths[1:], None], strict=False
        )
    }
    return {p: text for p, text in fresh.items() if p.read_text("utf-8") != text}


def write_navigation(folder: Path | None = None) -> list[Path]:
    """Make the generated cells of every notebook anew; returns the changed files."""
    stale = out_of_step(folder)
    for path, text in stale.items():
        path.write_text(text, "utf-8")
    return list(stale)


def check_navigation(folder: Path | None = None) -> None:
    """Refuse generated cells that do not match pyproject.toml and their neighbours."""
    if stale := out_of_step(folder):
        raise CourseError(
            f"links out of step in {', '.join(path.name for path in stale)}; "
            "run python -m helpers.report navigation"
        )
