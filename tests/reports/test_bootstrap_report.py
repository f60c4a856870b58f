"""The table and the page of the main job, from figures made up here."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from blip.reports.bootstrap import ShownImage, write_report
from blip.reports.tables import capfilt_rows, comparison_rows
from tests.support.browser import PHONE, inaccessible, lines_of, open_browser


def model(value: float, correct: float | None) -> dict[str, Any]:
    names = ("tr1", "tr5", "tr10", "ir1", "ir5", "ir10")
    return {
        "retrieval": dict.fromkeys(names, value),
        "retrieval_by_score": {"logit": {"tr1": value - 1, "ir1": value}},
        "caption": {"cider": value, "bleu4": value, "correct": correct},
    }


def make_summary(correct: float | None = 0.5) -> dict[str, Any]:
    capfilt = {
        "images": 10,
        "web_kept": 6,
        "web_dropped": 4,
        "synthetic_kept": 0,
        "synthetic_dropped": 0,
        "prevalence": 0.6,
        "filter_precision": 0.914,
        "filter_recall": None,
        "kept_of_noise": {"price": {"texts": 4, "kept": 1}},
    }
    return {
        "baseline": model(12.34, correct),
        "bootstrapped": model(23.45, correct),
        "capfilt": capfilt,
        "rounds": [capfilt],
        "seconds": {"data": 1.0, "baseline": 60.0},
    }


def test_rows_stand_beside_each_other() -> None:
    rows = comparison_rows(make_summary())
    assert ("image to text, R@1 %", "12.3", "23.4") in rows
    assert ("captions, true %", "50.0", "50.0") in rows
    assert ("image to text, R@1 %, by ITM's logit", "11.3", "22.4") in rows
    assert len(rows) == 11


def test_what_was_not_judged_has_no_row() -> None:
    assert all("true" not in row[0] for row in comparison_rows(make_summary(None)))
    rows = dict(capfilt_rows(make_summary()["capfilt"]))
    assert rows["web texts kept"] == "6 of 10 (60.0 %)"
    assert rows["synthetic texts kept"] == "0 of 0 (0.0 %)"
    assert rows["kept web texts that match (precision)"] == "91.4 %"
    assert not any("recall" in name for name in rows)


def shown(key: str, text: str) -> ShownImage:
    return ShownImage(key, Image.new("RGB", (200, 100), "red"), text)


@pytest.mark.parametrize("logged", [True, False])
def test_page_is_one_file_and_escapes_captions(tmp_path: Path, logged: bool) -> None:
    if logged:
        (tmp_path / "baseline").mkdir()
        lines = [{"step": step, "contrastive": 1.0, "language": 2.0} for step in (1, 2)]
        log = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / "baseline/metrics.jsonl").write_text(log)
    results = {name: {"captions": {"a": f"<b>{name}</b>"}} for name in ("baseline", "bootstrapped")}
    images = [shown("a", "5 < 6 & <script>alert(1)</script>")]
    path = write_report(tmp_path, make_summary(), results, images)
    page = path.read_text()
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;b&gt;bootstrapped&lt;/b&gt;" in page
    assert "5 &lt; 6 &amp;" in page
    assert "src='http" not in page
    assert "href" not in page
    assert "91.4 %" in page
    assert "<td>price</td><td>4</td><td>1</td>" in page


def test_a_loss_that_was_logged_once_is_seen_as_a_point(tmp_path: Path) -> None:
    for name, steps in (("baseline", 3), ("once", 1)):
        (tmp_path / name).mkdir()
        lines = [json.dumps({"step": step, "language": 2.0}) for step in range(steps)]
        (tmp_path / name / "metrics.jsonl").write_text("\n".join(lines))
    page = write_report(tmp_path, make_summary(), {}, []).read_text()
    (losses,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    drawn = base64.b64decode(losses).decode()
    # The marks of points are filled with the colour of their curve, and lines are not.
    line, point = "#1f77b4", "#ff7f0e"
    assert f"stroke: {line}" in drawn
    assert f"fill: {line}" not in drawn
    assert f"fill: {point}" in drawn


def test_a_truncated_log_and_a_caption_that_is_missing_cost_the_page_nothing_else(
    tmp_path: Path,
) -> None:
    (tmp_path / "baseline").mkdir()
    (tmp_path / "baseline/metrics.jsonl").write_text(
        '{"step": 1, "language": 2.0}\n{"step": 2, "language": null}\n{"step": 3, "langu'
    )
    results = {name: {"captions": {"sound": "written"}} for name in ("baseline", "bootstrapped")}
    images = [shown("sound", "a true text"), shown("new", "another true text")]
    page = write_report(tmp_path, make_summary(), results, images).read_text()
    assert "a true text" in page
    assert "another true text" in page
    assert page.count("written") == 2


def test_a_part_that_was_not_measured_has_no_rows() -> None:
    summary = make_summary()
    summary["baseline"] |= {"retrieval": None, "retrieval_by_score": None}
    names = [row[0] for row in comparison_rows(summary)]
    assert names
    assert not any("R@" in name for name in names)


def test_on_a_phone_no_figure_is_broken_into_lines_and_the_page_is_not_too_wide(
    tmp_path: Path,
) -> None:
    report = write_report(tmp_path, make_summary(), {}, [])
    with open_browser() as browser:
        page = browser.new_context(viewport=PHONE).new_page()
        page.goto(report.as_uri())
        figures = page.locator("table").first.locator(":is(th, td):nth-child(n + 2)")
        assert "bootstrapped" in figures.all_inner_texts()
        assert lines_of(figures) == {1}
        wide, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= window
        assert inaccessible(page) == []
