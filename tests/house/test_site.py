"""The site builds without a warning, its links lead somewhere, and it loads nothing foreign."""

import ast
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser

import blip
from tests.support.browser import PHONE, SCREEN, inaccessible, open_browser
from tests.support.flaky_server import Server
from tests.support.pages import ROOT, blocks

pytest.importorskip("mkdocs")


class Page(HTMLParser):
    """What a page links, what it loads, and the places in it that can be linked."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links = list[str]()
        self.loads = list[str]()
        self.anchors = set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors |= {found.get("id") or "", found.get("name") or ""}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"] or "")
        loaded = found.get("src") or (found.get("href") if tag == "link" else None)
        # Which address a page is known by is no request.
        if loaded and found.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(loaded)


class Site(NamedTuple):
    folder: Path
    pages: dict[Path, Page]
    """By file."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}
    return Site(folder, pages)


def leads_to(site: Site, page: Path, link: str) -> bool:
    """Whether an address within the site is a file of it and, if it names one, a place in it."""
    parts = urlsplit(link)
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if parts.path.startswith("/"):
        target = site.folder / unquote(parts.path)[1:]
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return False
    place = unquote(parts.fragment)
    return not place or target not in site.pages or place in site.pages[target].anchors


def test_links_of_the_site_lead_somewhere(site: Site) -> None:
    """Those of the theme and of the references as well, with their places in pages."""
    links = [(page, link) for page, found in site.pages.items() for link in found.links]
    within = [(page, link) for page, link in links if not urlsplit(link).scheme]
    assert len(within) > 1000
    lost = {(page.name, link) for page, link in within if not leads_to(site, page, link)}
    # The page of errors is shown at any address, and so has none that it could start from.
    assert {link for name, link in lost if name != "404.html"} == set()


def test_a_link_into_nothing_is_found(site: Site) -> None:
    start = site.folder / "index.html"
    assert leads_to(site, start, "capfilt/#the-ledger")
    assert not leads_to(site, start, "capfilt/#the-ledgers")
    assert not leads_to(site, start, "capfilter/")


def test_links_that_leave_the_site_are_addresses(site: Site) -> None:
    for found in site.pages.values():
        for link in found.links:
            parts = urlsplit(link)
            assert parts.scheme in ("", "http", "https"), link
            assert not parts.scheme or re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc), link


def test_the_site_loads_nothing_from_elsewhere(site: Site) -> None:
    for page, found in site.pages.items():
        assert found.loads
        for link in found.loads:
            assert not urlsplit(link).netloc, link
            assert page.name == "404.html" or leads_to(site, page, link), link
    sheets = list(site.folder.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        loaded = re.findall(r"url\(['\"]?([^)'\"]+)", sheet.read_text(encoding="utf-8"))
        assert not [link for link in loaded if urlsplit(link).netloc], sheet.name


def anchors(site: Site, *pages: str) -> set[str]:
    return {
        anchor for page in pages for anchor in site.pages[site.folder / page / "index.html"].anchors
    }


def test_every_public_name_is_in_the_reference_and_no_other(site: Site) -> None:
    found = anchors(site, "reference/api")
    names = {anchor.split(".")[1] for anchor in found if re.fullmatch(r"blip\.\w+", anchor)}
    assert names == set(blip.__all__)


def test_what_pages_import_is_in_the_reference(site: Site) -> None:
    found = anchors(site, "reference/api", "reference/modules")
    missing = set()
    for block in blocks("python"):
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("blip."):
                missing |= {f"{node.module}.{name.name}" for name in node.names} - found
    assert missing == set()


def test_examples_in_docstrings_are_shown_as_code(site: Site) -> None:
    text = (site.folder / "reference/api/index.html").read_text(encoding="utf-8")
    assert "<blockquote>" not in text
    assert "&gt;&gt;&gt; " in text


def test_drawings_are_described_and_coloured_alike() -> None:
    drawings = {p: p.read_text(encoding="utf-8") for p in (ROOT / "docs/assets").glob("*.svg")}
    assert len(drawings) >= 6
    styles = set()
    for path, text in drawings.items():
        title, described = f"{path.stem}-title", f"{path.stem}-desc"
        assert f'role="img" aria-labelledby="{title} {described}"' in text
        assert re.search(rf'<title id="{title}">[^<]{{5,}}</title>', text)
        assert re.search(rf'<desc id="{described}">[^<]{{50,}}</desc>', text)
        # Ids are those of the page that holds the drawing.
        assert all(name.startswith(f"{path.stem}-") for name in re.findall(r'\bid="([^"]+)"', text))
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
        styles.add(text[text.index("<style>") : text.index("</style>")])
    assert len(styles) == 1


def test_drawings_stand_in_the_pages(site: Site) -> None:
    text = (site.folder / "how-it-works/index.html").read_text(encoding="utf-8")
    assert text.count('class="drawing"') == 6
    assert ".svg" not in text


OVERLAPS = """() => [...document.querySelectorAll("svg.drawing")].flatMap(drawing => {
  const box = element => element.getBoundingClientRect()
  const meet = (a, b) =>
    a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
  const holds = (a, b) =>
    a.left <= b.left && b.right <= a.right && a.top <= b.top && b.bottom <= a.bottom
  const texts = [...drawing.querySelectorAll("text")]
  const frames = [...drawing.querySelectorAll("rect")]
  return texts.flatMap((text, place) => [
    ...texts.slice(place + 1).filter(other => meet(box(text), box(other))),
    ...frames.filter(one => meet(box(text), box(one)) && !holds(box(one), box(text))),
    ...(holds(box(drawing), box(text)) ? [] : [text]),
  ].map(other => `${text.textContent} / ${other.textContent || other.outerHTML}`))
})"""
"""Texts of drawings that meet each other, cross a frame, or leave the drawing."""
SMALLEST = """() => Math.min(...[...document.querySelectorAll("svg.drawing")].map(
  drawing => drawing.getBoundingClientRect().width / drawing.viewBox.baseVal.width * 11))"""
"""Height of the smallest letters in pixels."""


REFERENCE = "reference/api/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def address(site: Site) -> Iterator[str]:
    with Server(site.folder) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.url
        server.shutdown()


@pytest.mark.parametrize(
    ("size", "scheme"), [(SCREEN, "light"), (PHONE, "dark")], ids=["screen-light", "phone-dark"]
)
def test_pages_can_be_read_on_a_screen_and_on_a_phone(
    browser: Browser, address: str, size: dict[str, int], scheme: str
) -> None:
    context = browser.new_context(viewport=size, color_scheme=scheme)
    page, problems = context.new_page(), list[str]()
    page.on("console", lambda said: problems.append(said.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("response", lambda found: problems.append(found.url) if found.status >= 400 else None)
    page.on("request", lambda asked: None if local(asked.url) else problems.append(asked.url))

    def local(url: str) -> bool:
        return url.startswith((f"{address}/", "data:", "blob:"))

    for name in ("", "how-it-works/", "capfilt/", "migration/", REFERENCE):
        page.goto(f"{address}/{name}")
        wide, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= window, name
        assert page.evaluate(OVERLAPS) == []
        # The reference has ten times the elements of other pages, and takes ten times as long.
        found = [] if name == REFERENCE else inaccessible(page)
        assert not [one for one in found if one[1] in ("serious", "critical")], name
    page.goto(f"{address}/how-it-works/")
    assert page.evaluate(SMALLEST) > 8
    moved = "document.querySelector('svg.drawing text').setAttribute('x', '1')"
    assert page.evaluate(f"{moved}; ({OVERLAPS})()")
    page.reload()
    ink = page.evaluate("getComputedStyle(document.querySelector('svg.drawing text')).fill")
    (red, _, _) = map(int, re.findall(r"\d+", ink))
    assert (red > 128) == (scheme == "dark")
    context.close()
    assert problems == []
