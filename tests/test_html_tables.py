"""Tests of the report's tables, on tables as pandas writes them."""

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from helpers.html_tables import with_numbers

INDEX = pd.MultiIndex.from_product([["a", "b"], ["x", "y"]])
FRAME = pd.DataFrame({"word": list("klmn"), "n": [1, 2, 3, 4]}, index=INDEX)


def test_only_words_make_a_heading():
    before = BeautifulSoup(FRAME.to_html(), "html.parser")
    after = BeautifulSoup(with_numbers(FRAME.to_html()), "html.parser")
    assert [th.get_text() for th in before.select("thead th")] == ["", "", "word", "n"]
    assert [th.get_text() for th in after.select("thead th")] == ["word", "n"]
    for table in (before, after):
        assert [len(row(["td", "th"])) for row in table("tr")] == [4, 4, 3, 4, 3]


def marked(frame):
    table = BeautifulSoup(with_numbers(frame.to_html()), "html.parser")
    return [cell.get_text() for cell in table.select(".number")]


def test_columns_of_numbers_are_marked_with_their_heading():
    assert marked(FRAME) == list("n1234")


@pytest.mark.parametrize(
    "number", ["−0.12", "1,712", "54%", "0.83 [0.81, 0.85]", "1.6e-05", "2e+3", "–"]
)
def test_a_number_has_many_forms(number):
    assert marked(pd.DataFrame({"x": [number]})) == ["x", number]


@pytest.mark.parametrize("word", ["e", "2 e", "1e", "e-05", "CAM"])
def test_a_word_is_no_number(word):
    assert marked(pd.DataFrame({"x": [word]})) == []
