"""The page in a real browser: every function, by mouse and by keyboard, on a screen and a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route

from blip import Index
from blip.inference.load import load
from blip.serve.models import Models
from tests.support.browser import PHONE, SCREEN, inaccessible, open_browser
from tests.support.picture_index import write_tar
from tests.support.pictures import photo
from tests.support.saved_models import save_picture, save_tiny
from tests.support.service import serving_in_thread


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    med, vqa = save_tiny(folder / "med"), save_tiny(folder / "vqa", "vqa")
    index = Index.build([str(write_tar(folder / "a.tar", range(4)))], folder / "index", med)
    with serving_in_thread(Models([load(med), load(vqa)], index)) as address:
        yield address


@pytest.fixture(params=[SCREEN, PHONE], ids=["screen", "phone"])
def page(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page; it must log no error, and ask nobody but the service."""
    context = browser.new_context(viewport=request.param)
    page, problems = context.new_page(), list[str]()
    page.on("console", lambda said: problems.append(said.text) if said.type != "log" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("requestfailed", lambda failed: problems.append(failed.url))

    def look_at(url: str) -> None:
        if not url.startswith((f"{address}/", "data:image/jpeg;")):
            problems.append(url)

    page.on("request", lambda asked: look_at(asked.url))
    page.set_default_timeout(90_000)
    page.goto(address)
    page.wait_for_selector("#caption:not([hidden])")
    yield page
    context.close()
    # The browser itself logs answers that the tests provoke.
    provoked = ("status of 422", "status of 429")
    assert [text for text in problems if not any(one in text for one in provoked)] == []


def test_every_function_works(page: Page, folder: Path) -> None:
    (folder / "indexed.png").write_bytes(photo(1))
    page.set_input_files("#file", folder / "indexed.png")
    page.wait_for_selector("#captions .row")
    headings = page.locator("#captions h3").all_inner_texts()
    assert headings == ["greedy", "beam", "nucleus"]
    assert page.locator("#captions .row").count() == 7
    assert "log-likelihood -" in page.inner_text("#captions")

    page.fill("#texts", "a red circle\n\n<b>two</b> stars")
    page.click("#match button")
    page.wait_for_selector("#scores meter")
    shown = page.locator("#scores .row p").all_inner_texts()
    assert shown == ["a red circle", "<b>two</b> stars"]

    page.click("#scores .row button")
    page.wait_for_selector("#words button[aria-pressed=true]")
    assert page.locator("#words button").all_inner_texts() == ["a", "red", "circle"]
    assert '"a" looks most at the ' in page.inner_text("#looking")
    before = page.evaluate("document.getElementById('canvas').toDataURL()")
    page.locator("#words button").last.click()
    assert (page.evaluate("document.getElementById('canvas').toDataURL()") == before) is False
    assert '"circle" looks most at the ' in page.inner_text("#looking")
    page.click("#captions .row button")
    page.wait_for_selector("#words button[aria-pressed=true]:has-text('nd')")

    for question in ("what is it?", "how many?"):
        page.fill("#question", question)
        page.press("#question", "Enter")
        page.locator("#answers .row", has_text=question).wait_for()
    assert page.locator("#answers .row").count() == 2

    page.fill("#query", "a dog")
    page.click("#search-form button")
    page.wait_for_selector("#hits li")
    assert page.locator("#hits img").count() == 4
    page.click("#alike")
    page.locator("#hits li:first-child", has_text="text 1").wait_for()

    # Nothing is wider than the window, and what one taps is large enough.
    wide, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= window
    for button in page.locator("button:visible").all():
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 44
    assert inaccessible(page) == []


def test_an_empty_answer_is_said(page: Page, folder: Path) -> None:
    answers = {"answers": [{"question": "why?", "answer": ""}]}
    page.route("**/v1/ask", lambda route: route.fulfill(json=answers))
    page.set_input_files("#file", save_picture(folder / "photo.png", 2))
    page.fill("#question", "why?")
    page.press("#question", "Enter")
    page.wait_for_selector("#answers .row")
    assert page.inner_text("#answers .row").split("\n") == ["why?", "(no answer)"]


def test_the_keyboard_is_enough(page: Page, folder: Path) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    page.set_input_files("#file", save_picture(folder / "photo.png", 2))
    page.wait_for_selector("#captions .row")
    reached = list[str]()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.type"))
        if reached[-1] == "texts":
            break
    assert reached[0] == "seed"
    assert reached[-1] == "texts"
    page.keyboard.type("a dog")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#scores .row button")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.wait_for_selector("#words button[aria-pressed=true]")
    assert page.evaluate("document.activeElement.innerText") == "a"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert '"dog" looks most' in page.inner_text("#looking")


def test_what_is_wrong_is_said(page: Page, folder: Path) -> None:
    page.fill("#question", "what is it?")
    page.click("#ask button")
    assert page.inner_text("#problem") == "Choose a picture first."
    broken = folder / "broken.png"
    broken.write_bytes(save_picture(folder / "photo.png").read_bytes()[:300])
    page.set_input_files("#file", broken)
    page.locator("#problem", has_text="`image` cannot be used: truncated image").wait_for()


GIVE = """([kind, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], "given.png", { type: "image/png" }));
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
    : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
  document.querySelector("main").dispatchEvent(event);
  return event.defaultPrevented;
}"""
"""Drops or pastes a picture, as a browser does for a person."""


def test_a_picture_is_dropped_or_pasted(page: Page) -> None:
    for number, kind in enumerate(("drop", "paste")):
        picture = [*photo(number)]
        if kind == "drop":
            # Or else the browser would open the file in place of the page.
            assert page.evaluate(GIVE, ["dragover", picture])
            assert page.locator("#drop.over").count() == 1
        page.evaluate(GIVE, [kind, picture])
        page.locator("#file-label", has_text="given.png").wait_for()
        page.wait_for_selector("#captions .row")
        assert page.locator("#drop.over").count() == 0
        assert page.is_visible("#canvas")
        # Another picture leaves nothing of the one before.
        page.fill("#texts", "a dog")
        page.click("#match button")
        page.wait_for_selector("#scores .row")
        page.click("#scores .row button")
        page.wait_for_selector("#words button")
        page.evaluate("document.getElementById('captions').replaceChildren()")
        page.evaluate(GIVE, [kind, [*photo(number + 2)]])
        page.wait_for_selector("#captions .row")
        assert page.locator("#scores .row").count() == 0
        assert page.is_hidden("#words-part")


def test_a_busy_service_is_asked_again(page: Page, folder: Path) -> None:
    refused = list[str]()

    def refuse(route: Route) -> None:
        refused.append(route.request.url)
        if len(refused) > 1:
            route.continue_()
        else:
            route.fulfill(status=429, headers={"retry-after": "1"}, json={"detail": "full"})

    page.route("**/v1/match", refuse)
    page.set_input_files("#file", save_picture(folder / "photo.png", 2))
    page.wait_for_selector("#captions .row")
    page.fill("#texts", "a dog")
    page.click("#match button")
    page.locator("#problem", has_text="asking again in 1 s").wait_for()
    page.wait_for_selector("#scores .row")
    assert len(refused) == 2


HOLD_BACK = """() => {
  const read = window.createImageBitmap;
  const gate = new Promise((open) => { window.letGo = open; });
  window.createImageBitmap = (file) => {
    if (file.name !== "first.png") return read(file);
    window.held = gate.then(() => read(file));
    return window.held;
  };
}"""
"""The pixels of one picture come when the test calls `letGo`."""


def test_the_picture_that_was_chosen_last_is_shown_and_described_once(
    page: Page, folder: Path
) -> None:
    for name, size in (("first.png", (64, 32)), ("second.png", (32, 64))):
        Image.new("RGB", size).save(folder / name)
    page.evaluate(HOLD_BACK)
    asked = list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.set_input_files("#file", folder / "first.png")
    page.locator("#file-label", has_text="first.png").wait_for()
    page.set_input_files("#file", folder / "second.png")
    page.wait_for_selector("#captions .row")
    # The page has its turn with the pixels before the timer does.
    page.evaluate("async () => { letGo(); await held; await new Promise((go) => setTimeout(go)); }")
    page.wait_for_selector("#caption-form button:enabled")
    assert page.evaluate("canvas.width < canvas.height")
    assert len([url for url in asked if url.endswith("/v1/caption")]) == 3


NEVER_ANSWERED = """() => {
  const ask = window.fetch;
  window.fetch = (url, options) => !url.endsWith("attention")
    ? ask(url, options)
    : new Promise((_, fail) => options.signal.addEventListener(
        "abort", () => fail(options.signal.reason)));
}"""
"""Requests for attention last until the page gives them up."""


def test_words_of_the_picture_before_are_not_looked_at(page: Page, folder: Path) -> None:
    page.set_input_files("#file", save_picture(folder / "photo.png", 2))
    page.click("#captions .row button")
    page.wait_for_selector("#words button[aria-pressed=true]")
    page.evaluate(NEVER_ANSWERED)
    page.click("#captions .row button")
    page.wait_for_selector("#words[aria-busy]")
    page.evaluate("document.getElementById('looking').textContent = ''")
    page.set_input_files("#file", save_picture(folder / "other.png", 3))
    page.wait_for_selector("#words:not([aria-busy])", state="attached")
    page.wait_for_selector("#captions .row")
    assert page.text_content("#looking") == ""
    assert page.is_hidden("#words-part")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (502, "<html>Bad Gateway</html>", "a proxy before it, answered with status 502."),
        (500, '{"detail": "the model gave NaN"}', "the model gave NaN"),
        (500, '{"error": 1}', "answered with status 500."),
        (200, "<html>Log in</html>", "answered with status 200."),
    ],
)
def test_what_a_proxy_answers_is_said(
    page: Page, folder: Path, status: int, body: str, said: str
) -> None:
    page.set_input_files("#file", save_picture(folder / "photo.png", 2))
    page.wait_for_selector("#captions .row")
    page.evaluate(
        "([body, status]) => { window.fetch = async () => new Response(body, { status }); }",
        [body, status],
    )
    page.fill("#texts", "a dog")
    page.click("#match button")
    page.locator("#problem", has_text=said).wait_for()
    assert said in (page.text_content("#problem") or "")
