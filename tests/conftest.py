"""What the tests share: folders of their own, one thread, one small synthetic set."""

import pytest

from helpers import synthetic


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Data and results of this test alone."""
    monkeypatch.setenv("XAI_DERM_OUT", str(tmp_path / "out"))
    monkeypatch.setenv("XAI_DERM_DATA", str(tmp_path / "data"))


@pytest.fixture
def style():
    """The course's look for charts, for this test alone; nothing stays open."""
    import matplotlib.pyplot as plt

    from helpers import figures

    with plt.rc_context():
        figures.style()
        yield
    plt.close("all")


@pytest.fixture(scope="module")
def one_thread():
    """Small networks gain nothing from a second one, and lose much on a busy machine."""
    import torch  # two seconds: only for those who compute

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """The folder of a small synthetic set, drawn once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAI_DERM_OUT", str(tmp_path_factory.getbasetemp() / "shared"))
        return synthetic.ensure(pictures=120, size=64, balance=1.0)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A model as training leaves it, for the service and the archive."""
    import served

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAI_DERM_OUT", str(tmp_path_factory.mktemp("cache")))
        return served.model(tmp_path_factory.mktemp("served") / "model")
