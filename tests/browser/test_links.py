"""Every link of the built report leads somewhere; no network is asked, no browser."""

from collections import Counter
from functools import cache
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from built import PAGES, SITE

pytestmark = pytest.mark.browser  # as all that needs the built report
HOSTS = {"github.com", "colab.research.google.com", "xai-derm.github.io"}
HOSTS |= {"doi.org", "www.fc.up.pt"}  # of the page of data sets, as the next two
HOSTS |= {"nihcc.app.box.com", "stanfordmlgroup.github.io"}
NAMES = ("href", "src", "action", "poster")
POINTS = ("for", "list", "aria-labelledby", "aria-describedby", "aria-controls")


@cache
def parsed(path):
    return BeautifulSoup(path.read_text("utf-8"), "html.parser")


@cache
def ids(path) -> Counter:
    return Counter(tag["id"] for tag in parsed(path).find_all(id=True))


def dead(page, url: str) -> bool:
    """Whether this link of a page leads nowhere, or where the report never leads."""
    parts = urlsplit(url)
    if parts.scheme == "data":
        return not parts.path
    if parts.scheme or parts.netloc:
        return parts.scheme != "https" or parts.netloc not in HOSTS
    target = page
    if parts.path:
        target = (page.parent / unquote(parts.path)).resolve()
    if not target.is_file() or not target.is_relative_to(SITE.resolve()):
        return True
    names = {parts.fragment, unquote(parts.fragment)}  # as browsers look for them
    return bool(parts.fragment) and not names & set(ids(target))


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_a_page_leads_somewhere(name):
    path = (SITE / name).resolve()
    links = [
        tag[key] for key in NAMES for tag in parsed(path).find_all(attrs={key: True})
    ]
    assert len(links) > 20
    assert not [link for link in links if dead(path, link)]


@pytest.mark.parametrize("name", PAGES)
def test_every_id_of_a_page_is_its_own_and_is_there(name):
    path = (SITE / name).resolve()
    assert not [one for one, times in ids(path).items() if times > 1]
    for key in POINTS:
        for tag in parsed(path).find_all(attrs={key: True}):
            assert all(one in ids(path) for one in tag[key].split()), tag
