"""report.html: whole, self-contained, small, and safe to open."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.pipeline import run
from blip.data.shards import ShardWriter

from .fakes import FakeModels, picture, web_data


class Page(HTMLParser):
    """Tags, addresses and texts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "rect", "line"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("rect", "line"):
            assert self.open.pop() == tag


def report(tmp_path: Path, **more) -> str:
    config = CapFiltConfig(
        captioner="c",
        filter="f",
        data=(str(tmp_path / "web"),),
        out=str(tmp_path / "out"),
        workers=1,
        **more,
    )
    run(config, models=FakeModels())
    return (tmp_path / "out/report.html").read_text()


def test_the_page_is_whole_and_needs_no_other_file(tmp_path):
    web_data(tmp_path / "web", shards=2, samples=12)
    html = report(tmp_path)
    page = Page(html)
    assert page.open == []
    assert page.addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.addresses)
    assert "script" not in page.tags
    assert "http" not in re.sub(r'src="[^"]*"', "", html)
    assert page.tags.count("img") == 24
    assert page.tags.count("svg") == 2


def test_totals_sections_and_verdicts_are_shown(tmp_path):
    web_data(tmp_path / "web", shards=1, samples=12)
    html = report(tmp_path)
    assert "12 samples in 1 shards" in html
    assert re.search(r'class="web">web</td><td class="n">\d+</td>', html)
    first = html.index("Web text replaced")
    assert first < html.index("Image lost") < html.index("Both kept")
    assert "empty_text" in html
    assert "Buy a green square!" in html


def test_texts_and_keys_cannot_put_markup_into_the_page(tmp_path):
    nasty = '<script>alert(1)</script><img src="http://x/y">'
    with ShardWriter(tmp_path / "web/0.tar") as writer:
        writer.write('a"<b>', picture("red"), "png", nasty + " red", {})
        writer.write("bad<i>", b"no", "png", nasty, {})
    page = Page(report(tmp_path))
    assert "script" not in page.tags
    assert "i" not in page.tags
    assert not any("http" in address for address in page.addresses)


@pytest.mark.parametrize("captions", [0, 1])
def test_an_empty_job_has_a_report(tmp_path, captions):
    with ShardWriter(tmp_path / "web/0.tar"):
        pass
    assert "0 samples in 1 shards" in report(tmp_path, captions=captions)


def test_it_stays_small_however_many_samples_there_are(tmp_path):
    with ShardWriter(tmp_path / "web/0.tar") as writer:
        for number in range(300):
            writer.write(f"{number:06d}", picture("red", "JPEG", 400), "jpg", "word " * 150, {})
    html = report(tmp_path)
    assert html.count("<img") <= 96
    assert len(html) < 1_000_000
