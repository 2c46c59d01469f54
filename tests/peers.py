"""A peer that may be missing: Quantus, which `make` installs without its dependencies."""

import warnings

import pytest


def quantus():
    """The library, or a skip where it is not installed (Colab)."""
    with warnings.catch_warnings(action="ignore"):
        return pytest.importorskip(
            "quantus", reason="Quantus is not installed: pip install --no-deps quantus"
        )
