"""Settings: where a value comes from, and what is refused."""

import io
import os
from pathlib import Path

import pytest

from helpers import settings
from helpers.settings import CourseError


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("XAI_DERM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XAI_DERM_OUT", str(tmp_path / "out"))
    monkeypatch.setenv("XAI_DERM_DATA", str(tmp_path / "data"))


def test_defaults():
    cfg = settings.load()
    assert (cfg.profile, cfg.dataset, cfg.seed) == ("quick", "synthetic", 0)
    assert cfg.quick and cfg.size == 128 and cfg.title == "the synthetic set"
    assert cfg.device in ("cpu", "cuda", "mps")


@pytest.mark.parametrize(
    "name, given, told, default",
    [
        ("profile", "quick", "full", "quick"),
        ("dataset", "ph2", "isic2019", "synthetic"),
        ("seed", 3, "7", 0),
    ],
)
def test_argument_before_environment_before_default(
    monkeypatch, name, given, told, default
):
    assert getattr(settings.load(), name) == default
    monkeypatch.setenv(f"XAI_DERM_{name.upper()}", told)
    assert getattr(settings.load(), name) == type(default)(told)
    assert getattr(settings.load(**{name: given}), name) == given
    monkeypatch.setenv(f"XAI_DERM_{name.upper()}", "")  # set to nothing is not set
    assert getattr(settings.load(), name) == default


def test_seed_0_as_argument_beats_the_environment(monkeypatch):
    monkeypatch.setenv("XAI_DERM_SEED", "7")
    assert settings.load(seed=0).seed == 0


def test_the_full_profile_works_on_larger_pictures():
    cfg = settings.load("full")
    assert not cfg.quick and cfg.size == 224


def refused(call) -> str:
    with pytest.raises(CourseError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name, known", [("profile", "full"), ("dataset", "ph2")])
def test_an_unknown_name_is_refused_with_those_that_exist(monkeypatch, name, known):
    line = refused(lambda: settings.load(**{name: "quik"}))
    assert "'quik'" in line and known in line
    monkeypatch.setenv(f"XAI_DERM_{name.upper()}", "quik")
    assert refused(settings.load) == line


def test_a_misspelt_variable_is_refused_with_those_that_exist(monkeypatch):
    monkeypatch.setenv("XAI_DERM_PROFIL", "full")
    line = refused(settings.load)
    assert "XAI_DERM_PROFIL;" in line
    assert all(name in line for name in settings.VARIABLES)


@pytest.mark.parametrize("seed", ["one", "1.5", "-1"])
def test_a_seed_is_a_whole_number_from_0(monkeypatch, seed):
    assert seed in refused(lambda: settings.load(seed=seed))
    monkeypatch.setenv("XAI_DERM_SEED", seed)
    assert seed in refused(settings.load)


def test_a_notebook_shows_an_error_as_its_one_line():
    assert CourseError("no; do this")._render_traceback_() == [
        "CourseError: no; do this"
    ]


def test_folders_come_from_the_environment_or_lie_in_the_clone(tmp_path, monkeypatch):
    cfg = settings.load()
    assert (cfg.data, cfg.out) == (tmp_path / "data", tmp_path / "out")
    monkeypatch.setenv("XAI_DERM_OUT", "~/somewhere")
    assert settings.out_folder() == (Path.home() / "somewhere").resolve()
    monkeypatch.delenv("XAI_DERM_OUT")
    monkeypatch.delenv("XAI_DERM_DATA")
    clone = Path(__file__).resolve().parents[1]
    assert settings.out_folder() == (clone / "build").resolve()
    assert settings.data_folder() == (clone / "data").resolve()


def test_weights_lie_below_the_data_or_where_the_environment_says(
    tmp_path, monkeypatch
):
    assert settings.weights_folder() == tmp_path / "data" / "weights"
    monkeypatch.setenv("XAI_DERM_WEIGHTS", str(tmp_path / "elsewhere"))
    assert settings.weights_folder() == tmp_path / "elsewhere"


def test_someone_watches_in_jupyterlab_not_in_a_headless_run(monkeypatch):
    monkeypatch.setattr(settings.sys, "stderr", io.StringIO())
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert not settings.watched()
    monkeypatch.setenv("JPY_SESSION_NAME", "02.ipynb")
    assert settings.watched()


def test_which_of_several_processes_this_is(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert settings.process() == 0
    monkeypatch.setenv("RANK", "3")
    assert settings.process() == 3


def test_a_relative_folder_counts_from_the_course_not_from_the_kernel(
    monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XAI_DERM_OUT", "mine")
    assert settings.out_folder() == settings.root() / "mine"


def test_a_notebook_refuses_a_data_set_that_it_is_not_about():
    with pytest.raises(CourseError, match="not about chexpert"):
        settings.load(dataset="chexpert", among=settings.SKIN)
