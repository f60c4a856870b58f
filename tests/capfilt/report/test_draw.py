"""report.html: whole, self-contained, small, and safe to open."""

import io
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.filters.config import FilterRules
from blip.capfilt.job import run
from blip.capfilt.ledger.files import records_to_table
from blip.capfilt.ledger.records import TextRecord
from blip.capfilt.report import draw
from blip.capfilt.report.draw import EXAMPLE_BYTES, PICTURE_BYTES
from blip.capfilt.report.findings import Findings, changed_words
from blip.capfilt.report.redraw import redraw_report
from blip.data.writers.shards import ShardWriter
from blip.errors import BlipError, UsageError
from tests.support.capfilt import FakeModels, picture, web_data
from tests.support.records import decide_records, record


class Page(HTMLParser):
    """Tags, addresses and texts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.links: list[str] = []
        self.places: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name == "src"]
        self.links += [value or "" for name, value in attrs if name == "href"]
        self.places += [value or "" for name, value in attrs if name == "id"]
        if tag not in ("meta", "img", "input", "rect", "line"):
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
    assert page.tags.count("script") == 2, "the counts, and the program that reads them"
    assert page.addresses.count("") == 0
    assert "http" not in re.sub(r'(src=)?"data:[^"]*"|http-equiv', "", html)
    assert page.tags.count("img") == 24
    # ITM, ITC and words, of web and of synthetic texts.
    assert page.tags.count("svg") == 6
    assert page.links
    assert {link.removeprefix("#") for link in page.links} <= set(page.places)


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
    assert page.tags.count("script") == 2
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
            writer.write(f"{number:06d}", picture("red", "JPEG", 100), "jpg", "word " * 150, {})
    html = report(tmp_path)
    assert html.count("<img") <= 4 * 60
    assert len(html) < 1_500_000


def test_it_stays_below_20_mb_whatever_it_shows(tmp_path):
    """Noise that no JPEG makes small, texts that are all markup, more of both than are shown."""
    rng = np.random.default_rng(0)
    nasty = '<&">' * 400
    red = np.array([90, 0, 0])
    with ShardWriter(tmp_path / "web/0.tar") as writer:
        for number in range(90):
            noise = (rng.integers(0, 160, (170, 170, 3)) + red).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(noise).save(buffer, "PNG")
            meta = {"captions": [f"{nasty} {n}" for n in range(20)]}
            writer.write('"' * 180 + f"{number:06d}", buffer.getvalue(), "png", "x", meta)
        for number in range(150):
            writer.write('"' * 180 + f"bad{number:06d}", b"no", "png", nasty, {})
    html = report(tmp_path, captions=3)
    assert len(html) < 20_000_000
    of_pictures = sum(len(found) for found in re.findall(r'src="[^"]*"', html))
    assert of_pictures <= PICTURE_BYTES
    shown = html.count("<img")
    assert shown > 30
    of_examples = len(re.findall(r'<script type="application/json".*?</script>', html)[0])
    assert of_examples < EXAMPLE_BYTES + 1_500_000
    # As many as there can be of what such a sample costs are still few enough.
    cards = 240 * (len(html) - of_pictures - of_examples) / shown + PICTURE_BYTES
    assert cards + EXAMPLE_BYTES + 1_500_000 < 20_000_000


def test_pictures_beyond_the_room_are_left_out(tmp_path, monkeypatch):
    web_data(tmp_path / "web", shards=1, samples=12)
    whole = report(tmp_path)
    sizes = [len(found) - 6 for found in re.findall(r'src="[^"]*"', whole)]
    monkeypatch.setattr("blip.capfilt.report.draw.PICTURE_BYTES", sum(sizes[:5]))
    redraw_report(tmp_path / "out")
    html = (tmp_path / "out/report.html").read_text()
    assert html.count("<img") == 5
    cards = html.partition('id="texts"')[2]
    assert cards.count("no picture") == 7


def test_it_is_drawn_again_without_the_originals_and_the_same_with_them(tmp_path):
    web_data(tmp_path / "web", shards=2, samples=9)
    whole = report(tmp_path)
    (tmp_path / "web").rename(tmp_path / "moved")
    redraw_report(tmp_path / "out")
    assert "<img" not in (tmp_path / "out/report.html").read_text()
    redraw_report(tmp_path / "out", [str(tmp_path / "moved")])
    assert (tmp_path / "out/report.html").read_text() == whole
    (tmp_path / "out/done/00001.json").unlink()
    redraw_report(tmp_path / "out", [str(tmp_path / "moved")])
    assert "9 samples in 1 shards" in (tmp_path / "out/report.html").read_text()
    with pytest.raises(UsageError, match="no ledger in"):
        redraw_report(tmp_path / "moved")


def test_originals_that_cannot_be_reached_leave_a_report_without_pictures(
    tmp_path, monkeypatch, capsys
):
    tried = []

    def fail(task):
        tried.append(task.name)
        raise BlipError("https://h/00000.tar: no answer")

    monkeypatch.setattr(draw, "read_samples", fail)
    web_data(tmp_path / "web", shards=2, samples=9)
    page = report(tmp_path)
    assert "<img" not in page
    assert "18 samples in 2 shards" in page
    assert tried == ["00000"]
    assert "the report lacks pictures: https://h/00000.tar: no answer" in capsys.readouterr().err


def test_pictures_of_a_folder_are_shown_where_no_configuration_names_them(tmp_path):
    (tmp_path / "web").mkdir()
    for colour in ("red", "green", "blue"):
        (tmp_path / f"web/{colour}.png").write_bytes(picture(colour))
        (tmp_path / f"web/{colour}.txt").write_text("a red circle")
    whole = report(tmp_path)
    (tmp_path / "out/config.json").unlink()
    redraw_report(tmp_path / "out", [str(tmp_path / "web")])
    assert "<img" in whole
    assert (tmp_path / "out/report.html").read_text() == whole


def test_a_truncated_ledger_is_left_out_of_the_report_and_named(tmp_path, capsys):
    web_data(tmp_path / "web", shards=2, samples=9)
    report(tmp_path)
    torn = tmp_path / "out/ledger/00000.parquet"
    torn.write_bytes(torn.read_bytes()[:-20])
    redraw_report(tmp_path / "out")
    assert "9 samples in 1 shards" in (tmp_path / "out/report.html").read_text()
    assert f"report: left out: {torn} is not a whole Parquet file" in capsys.readouterr().err
    torn.with_name("00001.parquet").write_bytes(b"")
    with pytest.raises(BlipError, match=r"no ledger of .* can be read"):
        redraw_report(tmp_path / "out")


def rows(*texts: tuple[str, str, float]) -> list[TextRecord]:
    found = []
    for place, (source, text, score) in enumerate(texts):
        key = f"{place // 2:03d}"
        found.append(record(key, source, 0, text, score))
    return decide_records(found, 0.5, FilterRules())


def test_findings_are_those_of_counting():
    given = rows(
        ("web", "Buy a red square!", 0.1),
        ("synthetic", "a red square", 0.95),
        ("web", "a blue one", 0.8),
        ("synthetic", "a square", 0.2),
        ("web", "a blue one", 1.0),
        ("synthetic", "a blue one", 0.5),
    )
    findings = Findings()
    findings.add(records_to_table(given), show=True)
    itm = findings.itm["web"]
    assert (itm.kept.sum(), itm.dropped.sum(), itm.total) == (2, 1, 3)
    assert (itm.dropped[2], itm.kept[16], itm.kept[19]) == (1, 1, 1)
    assert findings.itc["synthetic"].total == 3
    lengths = findings.lengths["web"]
    assert (lengths.dropped[3], lengths.kept[2]) == (1, 2), "four words, and three"
    words = findings.words
    assert words.before == Counter(["buy", *"aaa", "red", "square", *["blue", "one"] * 2])
    assert words.after == Counter(["red", "square", *"aaaa", *["blue", "one"] * 3])
    changed = {word: (before, after) for word, before, after in changed_words(words, 9)}
    assert changed["buy"] == (0.1, 0.0)
    kinds = [[sample[0].key for sample in kind] for kind in findings.chosen()]
    assert kinds == [["000"], [], ["001"], ["002"]]


def test_the_most_changed_come_first_over_all_row_groups():
    findings = Findings()
    rng = np.random.default_rng(0)
    scores = np.round(rng.random(200) * 0.5 + 0.5, 6)
    for start in range(0, 200, 25):
        given = []
        for number in range(start, start + 25):
            given.append(record(f"{number:03d}", "web", 0, "t", 0.1))
            given.append(record(f"{number:03d}", "synthetic", 0, "t", float(scores[number])))
        table = records_to_table(decide_records(given, 0.5, FilterRules()))
        findings.add(table, show=True)
    shown = [sample[0].key for sample in findings.chosen()[0]]
    order = sorted(range(200), key=lambda number: (-scores[number], number))
    assert shown == [f"{number:03d}" for number in order[:60]]
