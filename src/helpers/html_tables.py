"""Tables of the report's pages: columns of numbers to the right, no empty headings."""

import re

from bs4 import BeautifulSoup

# Intervals too, and 1.6e-05.
NUMBER = re.compile(r"([-+−±–\d.,\s%/()\[\]]|(?<=\d)e(?=[-+−]?\d))*|NaN|<NA>")


def with_numbers(html: str) -> str:
    """The tables in this HTML with class `number` on the columns that hold numbers.

    A heading with no words, as in the corner over the index, becomes a plain cell: else
    a screen reader announces a column that has no name.
    """
    soup = BeautifulSoup(html, "html.parser")
    for table in soup.select("table.dataframe"):
        rows = [row.find_all(["th", "td"]) for row in table.find_all("tr")]
        body = [row.find_all("td") for row in table.select("tbody tr")]
        # Counted from the right, where headings of rows do not matter.
        for column in range(-1, -min(map(len, body), default=0) - 1, -1):
            texts = [row[column].get_text(strip=True) for row in body]
            if any(texts) and all(NUMBER.fullmatch(text) for text in texts):
                for row in rows:
                    if len(row) >= -column:
                        row[column]["class"] = "number"
        for corner in table.select("thead th:empty"):
            corner.name = "td"
    return str(soup)
