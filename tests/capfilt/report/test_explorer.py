"""The report in a real browser: the threshold moves, counts and examples follow, nothing is run."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.filters.config import FilterRules
from blip.capfilt.job import run
from blip.cli.main import main
from blip.data.writers.shards import ShardWriter
from blip.files import read_json_object
from tests.support.browser import PHONE, SCREEN, inaccessible, lines_of, open_browser
from tests.support.capfilt import FakeModels, picture, web_data

HOSTILE = (
    "</script><script>document.title='run'</script>",
    "<img src=x onerror=document.title='run'>",
    "\"'`${document.title='run'}&amp;\\u003c",
    "line\u2028and\u2029paragraph",
    "\u202eright to left\u202d \u05d0\u05d1",
    "null \x00 bell \x07 delete \x7f {{ 7 * 7 }} {% raw %}",
)
"""As many as are shown at a threshold."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


def report_of(folder: Path) -> Path:
    """A job on `folder/web`, in a folder whose name a shell would take apart."""
    out = folder / "clean & 'new'"
    data, rules = (str(folder / "web"),), FilterRules(min_words=2)
    config = CapFiltConfig(
        captioner="c", filter="f", data=data, out=str(out), workers=1, rules=rules
    )
    run(config, models=FakeModels())
    return out


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a few texts of every kind."""
    folder = tmp_path_factory.mktemp("it's a job")
    web_data(folder / "web", shards=2, samples=12)
    return report_of(folder)


@pytest.fixture(scope="module")
def hostile_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of texts and keys that would like to be more."""
    folder = tmp_path_factory.mktemp("hostile")
    with ShardWriter(folder / "web/hostile.tar") as writer:
        for number, text in enumerate(HOSTILE):
            writer.write(f"k{number}<b>'\"&", picture("red"), "png", f"red {text}", {})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("blip.capfilt.report.thresholds.EXAMPLES", len(HOSTILE))
        return report_of(folder)


@pytest.fixture(params=[SCREEN, PHONE], ids=["screen", "phone"])
def page(browser: Browser, job: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    with opened(browser, job, request.param) as page:
        yield page


@pytest.fixture
def hostile_page(browser: Browser, hostile_job: Path) -> Iterator[Page]:
    with opened(browser, hostile_job, SCREEN) as page:
        yield page


@contextmanager
def opened(browser: Browser, job: Path, size: ViewportSize) -> Iterator[Page]:
    """The report, opened from the disk; it must log nothing and ask for nothing."""
    context = browser.new_context(viewport=size)
    page, problems = context.new_page(), list[str]()
    address = (job / "report.html").as_uri()
    page.on("console", lambda said: problems.append(said.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda asked: problems.append(asked.url))
    page.goto(address)
    page.wait_for_selector("#threshold:not([hidden])")
    yield page
    assert [url for url in problems if not url.startswith("data:image/jpeg;")] == [address]
    assert page.title() == "CapFilt report"
    context.close()


def counts(page: Page) -> dict[str, list[str]]:
    rows = page.locator("#would tbody tr")
    cells = [rows.nth(n).locator("td").all_inner_texts() for n in range(rows.count())]
    return {name: numbers for name, *numbers in cells}


def test_counts_of_the_jobs_threshold_are_those_of_the_job(page: Page, job: Path) -> None:
    summary = read_json_object(job / "summary.json")
    for source in ("web", "synthetic"):
        kept, dropped, _, change = counts(page)[source]
        assert int(kept) == summary[f"{source}_kept"]
        assert int(dropped) == summary[f"{source}_dropped"]
        assert change == "0"
    assert page.locator("#bars .jobs").count() == 2


def test_the_command_makes_what_the_page_says(page: Page, job: Path, tmp_path: Path) -> None:
    page.fill("#itm-number", "0.905")
    page.fill("#itc-number", "0.1")
    chosen = counts(page)
    assert chosen["both"][3] != "0"
    command = shlex.split(page.inner_text("#command"))
    assert command[:4] == ["blip", "capfilt", "recut", str(job)]
    assert command[-1].startswith(f"{job}-threshold-0.905")
    assert "--min-words" in command
    out = tmp_path / "out"
    assert main([*command[1:-1], str(out)]) == 0
    summary = read_json_object(out / "summary.json")
    assert [int(chosen[name][0]) for name in ("web", "synthetic")] == [
        summary["web_kept"],
        summary["synthetic_kept"],
    ]


def test_it_works_by_keyboard(page: Page) -> None:
    before = counts(page)["both"]
    page.focus("#itm-slider")
    page.keyboard.press("End")
    assert page.input_value("#itm-number") == "1"
    assert page.get_attribute("#itm-slider", "aria-valuetext") == "1"
    assert counts(page)["both"][0] == "0"
    page.keyboard.press("ArrowLeft")
    assert page.input_value("#itm-number") == "0.995"
    assert "0.995" in page.inner_text("#moved")
    page.focus("#itm-number")
    page.keyboard.press("ArrowDown")
    assert page.input_value("#itm-number") == "0.99"
    page.focus("#reset")
    page.keyboard.press("Enter")
    assert counts(page)["both"] == before
    page.fill("#itm-number", "")
    page.press("#itm-number", "Tab")
    assert page.input_value("#itm-number") == "0.5"
    page.click("#copy")
    page.wait_for_selector("#copied:not(:empty)")


def test_examples_stand_on_the_side_where_the_threshold_puts_them(page: Page) -> None:
    for threshold in ("0.005", "0.5", "0.995"):
        page.fill("#itm-number", threshold)
        for side, is_kept in ((".kept", True), (".dropped", False)):
            texts = page.locator(f"#near h4{side} ~ .card small").all_inner_texts()
            scores = [float(text.split()[1].rstrip(",")) for text in texts]
            assert all((score >= float(threshold)) == is_kept for score in scores)
    assert page.locator("#near img").count() > 0


def test_texts_are_shown_as_they_are_and_nothing_in_them_runs(hostile_page: Page) -> None:
    shown = hostile_page.locator("#near .about > span").all_text_contents()
    # A browser shows no NUL, and the reader may have replaced it.
    for text in (text for text in HOSTILE if "\x00" not in text):
        assert any(text in found for found in shown), text
    assert hostile_page.locator("#near script, #near b, #near [onerror]").count() == 0
    isolated = hostile_page.locator("#near .about > span").first
    assert isolated.evaluate("node => getComputedStyle(node).unicodeBidi") == "isolate"


def test_nothing_is_wider_than_the_window_and_axe_finds_nothing(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert [entry for entry in inaccessible(page) if entry[1] in ("serious", "critical")] == []


def test_names_of_settings_are_not_broken_into_lines(page: Page) -> None:
    names = page.locator("#settings td:first-child")
    assert "batch_size" in names.all_inner_texts()
    assert lines_of(names) == {1}
