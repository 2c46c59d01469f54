"""Tests of the report's tables, on tables as pandas writes them."""

import pandas as pd
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


def test_columns_of_numbers_are_marked_with_their_heading():
    table = BeautifulSoup(with_numbers(FRAME.to_html()), "html.parser")
    assert [cell.get_text() for cell in table.select(".number")] == list("n1234")
