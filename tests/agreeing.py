"""Does a reading edition say what the notebook that ran says? No less, no more."""

import re

from bs4 import BeautifulSoup
from markdown_it import MarkdownIt

from helpers import editions

MATH = re.compile(r"\$\$.+?\$\$|\$[^$]+?\$", re.DOTALL)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
RENDER = MarkdownIt("commonmark").enable("table").render  # not nbconvert's own


def words(text: str) -> list[str]:
    return text.split()


def told(html: str) -> list[str]:
    """What a reader sees of some HTML, word by word."""
    soup = BeautifulSoup(html, "html.parser")
    for hidden in soup.find_all(["script", "style"]):
        hidden.decompose()
    return words(soup.get_text(" "))


def agree(html: str, notebook) -> None:
    """Every cell but the generated ones is there, in order, with every output."""
    expected = editions.as_read(notebook).cells
    page = BeautifulSoup(html.split("<!-- end of cells -->")[0], "html.parser")
    shown = page.select('[id^="cell-id="]')
    assert [node["id"] for node in shown] == [f"cell-id={c.id}" for c in expected]
    for node, cell in zip(shown, expected, strict=True):
        if cell.cell_type == "code":
            agree_code(node, cell)
        else:
            agree_words(node, cell.source)


def agree_code(node, cell) -> None:
    [code] = node.select(".cell_input pre")
    assert code.get_text().removesuffix("\n") == cell.source
    folded = code.find_parent("details") is not None
    assert folded == ("solution" in cell.metadata.get("tags", []))
    outputs = node.select(".cell_output > .output")
    assert len(outputs) == len(cell.outputs)
    for shown, output in zip(outputs, cell.outputs, strict=True):
        data = output.get("data", {})
        if "text/html" in data:
            assert told(str(shown)) == told(data["text/html"])
            source = BeautifulSoup(data["text/html"], "html.parser")
            for tag in ("img", "svg", "script"):
                assert len(shown.find_all(tag)) == len(source.find_all(tag))
        else:
            text = output.get("text") or data["text/plain"]
            assert shown.get_text().strip() == COLOUR.sub("", text).strip()


def agree_words(node, source: str) -> None:
    for link in node.select(".anchor-link"):
        link.decompose()
    text = node.decode_contents()
    seen = BeautifulSoup(text, "html.parser").get_text()
    assert [m.split() for m in MATH.findall(seen)] == [
        m.split() for m in MATH.findall(source)
    ]
    assert told(MATH.sub(" ", text)) == told(RENDER(MATH.sub(" ", source)))
