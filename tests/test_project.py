"""Tests of the files around the course: they must agree with one another."""

import re
import shutil
import subprocess
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from helpers.navigation import check_navigation, sources
from helpers.settings import root

PROJECT = tomllib.loads((root() / "pyproject.toml").read_text("utf-8"))["project"]
COMMANDS = ["make report", "make test"]
# Hosts that serve packages, in halves: this file must not name them either.
REGISTRIES = [
    f"{name}.{end}"
    for name, end in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("anaconda", "org"),
        ("npmjs", "org"),
        ("unpkg", "com"),
        ("jsdelivr", "net"),
        ("download.pytorch", "org"),
    )
]


def read(name):
    return (root() / name).read_text("utf-8")


def requirements():
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [Requirement(line) for group in groups for line in group]


def tracked():
    """The files that are in git, or would be."""
    if not (shutil.which("git") and (root() / ".git").exists()):
        pytest.skip("not a git clone: git says which files count")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [path for name in listed.split("\0") if (path := root() / name).is_file()]


def test_conda_takes_the_same_python_and_installs_the_same_way():
    environment = yaml.safe_load(read("environment.yml"))
    python, pip, installed = environment["dependencies"]
    bounds = SpecifierSet(python.removeprefix("python"))
    assert bounds == SpecifierSet(PROJECT["requires-python"])
    assert pip == "pip"
    assert installed["pip"] == ["-c constraints.txt", "-e .[lab,report,test]"]
    assert environment["name"] == PROJECT["name"]


def test_every_base_dependency_says_where_it_is_used():
    block = read("pyproject.toml").split("\ndependencies = [\n")[1].split("\n]")[0]
    lines = block.splitlines()
    assert len(lines) == len(PROJECT["dependencies"])
    for line in lines:
        assert re.search(r'",\s+# (0[1-8]|all)\b.*: \w', line), line


def test_every_requirement_is_pinned_within_its_bounds():
    pins = [Requirement(x) for x in read("constraints.txt").splitlines() if x[0] != "#"]
    pinned = {canonicalize_name(pin.name): pin.specifier for pin in pins}
    assert len(pinned) == len(pins)
    assert all(str(specifier).startswith("==") for specifier in pinned.values())
    for requirement in requirements():
        specifier = pinned[canonicalize_name(requirement.name)]
        version = str(specifier).removeprefix("==")
        assert requirement.specifier.contains(version), requirement


def test_our_bounds_admit_colabs_own_versions():
    """Else the bootstrap cell, which pins some of them, could not install the course."""
    lines = [Requirement(x) for x in read(".ci/colab.txt").splitlines() if x[0] != "#"]
    colab = {canonicalize_name(line.name): str(line.specifier)[2:] for line in lines}
    asked = [Requirement(line) for line in PROJECT["dependencies"]]
    there = [one for one in asked if canonicalize_name(one.name) in colab]
    assert len(there) >= 12
    for one in there:
        version = colab[canonicalize_name(one.name)]
        assert one.specifier.contains(version), f"{one} but Colab has {version}"


def test_the_workflow_runs_the_two_commands_on_both_ends():
    job = yaml.safe_load(read(".github/workflows/course.yml"))["jobs"]["course"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    assert [step["run"] for step in job["steps"] if "run" in step] == COMMANDS
    lines = read(".ci/run").splitlines()
    assert [line for line in lines if line in COMMANDS] == COMMANDS


def test_the_targets_of_the_readme_exist():
    targets = re.findall(r"^([a-z-]+):.*## ", read("Makefile"), re.MULTILINE)
    named = re.findall(r"\bmake ([a-z-]+)(?=$|`| +#)", read("README.md"), re.MULTILINE)
    assert set(named) <= set(targets)
    assert {command.removeprefix("make ") for command in COMMANDS} <= set(named)


def test_version_changelog_and_citation_agree():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == PROJECT["version"]
    assert citation["repository-code"] == PROJECT["urls"]["repository"]
    assert PROJECT["license"] == " AND ".join(citation["license"])
    newest = re.search(r"^## \[(.+?)\](.*)$", read("CHANGELOG.md"), re.MULTILINE)
    if PROJECT["version"].endswith(".dev0"):
        assert newest.groups() == ("Unreleased", "")
    else:
        assert newest[1] == PROJECT["version"]
        assert newest[2] == f" - {citation['date-released']}"


def test_the_readme_names_every_notebook_with_its_question_and_its_needs():
    rows = re.findall(
        r"^\| \[\d\d\]\(notebooks/(.+?)\.ipynb\) \|", read("README.md"), re.M
    )
    assert sorted(rows) == sorted(2 * [path.stem for path in sources()])


def test_what_contributing_names_exists():
    """Files, folders and make targets; and CI runs what a release asks for."""
    text = read("CONTRIBUTING.md")
    for name in re.findall(
        r"`((?:src|tests|notebooks|report|data|\.ci)/[\w./]+)`", text
    ):
        assert name == "notebooks/09_topic.ipynb" or (root() / name).exists(), name
    targets = re.findall(r"^([a-z-]+):.*## ", read("Makefile"), re.MULTILINE)
    assert set(re.findall(r"make ([a-z-]+)", text)) <= set(targets)


def test_the_links_in_the_notebooks_are_in_step():
    check_navigation()


def test_no_file_names_a_registry():
    named = [
        f"{path}: {host}"
        for path in tracked()
        for host in REGISTRIES
        if host.encode() in path.read_bytes()
    ]
    assert not named


def test_names_of_test_files_are_met_once():
    """Else pytest, which imports them by name, stops before the first test."""
    names = [path.name for path in (root() / "tests").rglob("*.py")]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice - {"conftest.py"}


def test_no_file_is_large():
    assert not [str(path) for path in tracked() if path.stat().st_size > 500_000]


def test_every_extra_says_what_it_is_for():
    text = (root() / "pyproject.toml").read_text("utf-8")
    block = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    for line in block.splitlines():
        if '"' in line:
            assert re.search(r"# (all|\d\d)\b", line), line
