"""What the tests ask of an error message."""

from pathlib import Path

import pytest

from helpers.settings import CourseError


def refused(call, *told) -> str:
    """The one line of an error, which must name all that was told."""
    with pytest.raises(CourseError) as error:
        call()
    line = str(error.value)
    assert "\n" not in line and len(line) < 500
    for path in (part for part in told if isinstance(part, Path)):
        assert str(path) in line
        line = line.replace(str(path), "")  # which holds the name of this very test
    assert all(part in line for part in told if not isinstance(part, Path)), line
    return line
