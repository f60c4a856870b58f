"""`blip.load`: one picture in gives one answer out, a list gives a list, in any form."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import pytest
import torch
from PIL import Image

import blip
from blip.errors import ArgumentError, UsageError
from blip.inference.comparer import Judgement
from blip.inference.dialogue_answerer import DialogueAnswerer
from blip.inference.matcher import Scores
from tests.support.demo_folder import save_demo
from tests.support.flaky_server import Server


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture
def model(demo: Path, monkeypatch: pytest.MonkeyPatch) -> blip.LoadedModel:
    monkeypatch.chdir(demo)
    return blip.load("runs/demo/round-1/captioner", "cpu")


def test_every_form_of_a_picture_gives_the_same_caption(model: blip.LoadedModel) -> None:
    path = Path("photo.jpg")
    image = Image.open(path)
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    expected = model.captioner.caption([path])[0]
    for one in ("photo.jpg", path, path.read_bytes(), image, array, tensor):
        assert model.caption(one) == expected
        assert model.caption([one, "picture.png"], batch_size=1)[0] == expected
    for content in (bytearray(path.read_bytes()), memoryview(path.read_bytes())):
        assert model.caption(content) == expected  # pyright: ignore
    with path.open("rb") as file:
        assert model.caption(file) == expected
    assert model.caption(np.stack([array, array])) == [expected] * 2
    assert model.caption(torch.stack([tensor])) == [expected]
    assert model.caption(path for _ in range(2)) == [expected] * 2
    assert model.caption([]) == []


def test_scores_have_the_shape_of_what_was_given(model: blip.LoadedModel) -> None:
    texts = ["a red circle", "two blue stars"]
    pictures = ["photo.jpg", "picture.png", "photo.jpg"]
    rows = model.match(pictures, texts)
    assert rows == model.matcher.scores(pictures, [texts] * 3)
    assert [len(row) for row in rows] == [2, 2, 2]
    column = [score.probability for score in model.match(pictures, texts[1])]
    assert column == pytest.approx([row[1].probability for row in rows], abs=1e-6)
    for expected, found in zip(rows[0], model.match("photo.jpg", texts), strict=True):
        assert found == pytest.approx(expected, abs=1e-6)
    assert model.match("photo.jpg", "a red circle") == pytest.approx(rows[0][0], abs=1e-6)
    assert model.match("photo.jpg", []) == []


def test_features_are_those_that_scores_compare(model: blip.LoadedModel) -> None:
    images, text = model.image_features(["photo.jpg"] * 2), model.text_features("a red circle")
    assert images.shape == (2, 8)
    assert text.shape == (8,)
    assert model.text_features(["a", "b", "c"]).shape == (3, 8)
    cosine = model.match("photo.jpg", "a red circle").cosine
    assert float(model.image_features("photo.jpg") @ text) == pytest.approx(cosine, abs=1e-6)


def test_questions_are_answered_and_candidates_chosen(
    demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo)
    model, questions = blip.load("runs/vqa"), ["what is it?", "how many?"]
    rows = model.ask(["photo.jpg", "picture.png"], questions)
    assert rows == model.answerer.answer(["photo.jpg", "picture.png"], [questions] * 2)
    assert model.ask("photo.jpg", questions) == rows[0]
    assert model.ask("photo.jpg", questions[1]) == rows[0][1]
    assert model.ask(["photo.jpg"], questions[1]) == [rows[0][1]]
    assert model.ask("photo.jpg", questions[0], candidates=["red", "blue"]) in ("red", "blue")
    with pytest.raises(ArgumentError, match="caption and history are for dialogues"):
        model.ask("photo.jpg", "what?", caption="a red circle")


def test_questions_of_a_dialogue_follow_each_other(
    demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo)
    model, answers = blip.load("runs/visdial"), ["red", "two", "blue"]
    first, second = model.ask("photo.jpg", ["what?", "how many?"], candidates=answers)
    turn = blip.Turn("", (("what?", first),), "how many?")
    ranked = model.dialogue_answerer.rank(["photo.jpg"], [[turn]], [[answers]])
    assert second == ranked[0][0][0].answer
    again = model.ask("photo.jpg", "how many?", candidates=answers, history=[("what?", first)])
    assert again == second
    assert isinstance(model.ask("photo.jpg", "what?"), str)


def test_each_picture_of_a_dialogue_is_encoded_once_with_others(
    demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo)
    model, asked = blip.load("runs/visdial"), ["what?", "how many?", "why?"]
    photos = ["photo.jpg", "picture.png", "photo.jpg"]
    for answers in (["red", "two", "blue"], None):
        alone = [model.ask(photo, asked, candidates=answers) for photo in photos]
        encoded: list[int] = []
        real = DialogueAnswerer.encode

        def encode(self, pictures, *more, real=real, encoded=encoded, **named):
            encoded.append(len(pictures))
            return real(self, pictures, *more, **named)

        with monkeypatch.context() as patch:
            patch.setattr(DialogueAnswerer, "encode", encode)
            assert model.ask(photos, asked, candidates=answers, batch_size=2) == alone
        assert encoded == [2, 1]
    assert model.ask(photos, []) == [[], [], []]
    with pytest.raises(ArgumentError, match="batch_size must be positive, got 0"):
        model.ask("photo.jpg", "what?", batch_size=0)
    with pytest.raises(ArgumentError, match="history must be a list, got NoneType"):
        model.ask("photo.jpg", "what?", history=None)  # pyright: ignore
    with pytest.raises(ArgumentError, match="1 pictures need as many states, got 2"):
        model.dialogue_answerer.answer(
            photos[:1], [[blip.Turn("", (), "what?")]], states=torch.zeros(2, 5, 32)
        )


def test_the_answerer_for_a_kind_of_model_is_named(
    demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo)
    dialogues, questions = blip.load("runs/visdial"), blip.load("runs/vqa")
    with pytest.raises(UsageError, match="for dialogues: use dialogue_answerer, not answerer"):
        _ = dialogues.answerer
    with pytest.raises(UsageError, match="questions: use answerer, not dialogue_answerer"):
        _ = questions.dialogue_answerer


def test_statements_are_judged_of_one_pair_and_of_many(
    demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo)
    model = blip.load("runs/nlvr")
    one = model.compare("photo.jpg", "picture.png", "both are red")
    assert 0 <= one.probability <= 1
    lists = ["photo.jpg", "picture.png"], ["picture.png", "photo.jpg"]
    rows = model.compare(*lists, ["both are red", "none is"])
    assert [len(row) for row in rows] == [2, 2]
    assert model.compare(*lists, "both are red")[0].probability == pytest.approx(
        one.probability, abs=1e-6
    )
    with pytest.raises(ArgumentError, match="both be a picture, or both a list"):
        model.compare("photo.jpg", ["picture.png"], "both are red")


@pytest.mark.parametrize(
    ("source", "can", "call", "other"),
    [
        ("captioner", "caption", lambda m: m.match("photo.jpg", "x"), "hf:.*itm"),
        ("captioner", "caption", lambda m: m.image_features("photo.jpg"), "hf:.*itm"),
        ("captioner", "caption", lambda m: m.text_features("x"), "hf:.*itm"),
        ("filter", "match, ", lambda m: m.caption("photo.jpg"), "hf:.*captioning"),
        ("filter", "match, ", lambda m: m.ask("photo.jpg", "x"), "hf:.*vqa"),
        ("vqa", "ask", lambda m: m.compare("photo.jpg", "photo.jpg", "x"), "original:.*nlvr"),
        ("nlvr", "compare", lambda m: m.ask("photo.jpg", "x"), "hf:.*vqa"),
        ("visdial", "ask", lambda m: m.caption("photo.jpg"), "hf:.*captioning"),
    ],
)
def test_a_model_that_cannot_says_what_it_can_and_who_else(
    demo: Path, monkeypatch: pytest.MonkeyPatch, source: str, can: str, call, other: str
) -> None:
    monkeypatch.chdir(demo)
    model = blip.load(f"runs/{source}")
    with pytest.raises(
        UsageError, match=f"^runs/{source} can do {can}.*, but not .*; load {other}"
    ) as raised:
        call(model)
    assert "\n" not in str(raised.value)
    assert f": {can}" in repr(model)
    assert "and matches" not in repr(model)


def test_compile_is_handed_on_to_all_that_can(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    compiled = list[str]()

    def compile(work: Any, **_: object) -> Any:
        compiled.append(work.__name__)
        return work

    monkeypatch.setattr(torch, "compile", compile)
    plain = blip.load("runs/filter", "cpu")
    expected = (plain.match("photo.jpg", "a dog"), plain.image_features("photo.jpg"))
    assert compiled == []
    fixed = blip.load("runs/filter", "cpu")
    fixed.compile("on")
    assert fixed.match("photo.jpg", "a dog") == pytest.approx(expected[0], abs=1e-5)
    assert len(compiled) == 5
    np.testing.assert_allclose(fixed.image_features("photo.jpg"), expected[1], rtol=0, atol=1e-6)
    assert compiled[5:] == ["_encode", "_image_features"]
    fixed.text_features("a dog")
    assert compiled[7:] == ["_text_features"]
    captioner = blip.load("runs/demo/round-1/captioner", "cpu")
    caption = captioner.caption("photo.jpg")
    compiled.clear()
    captioner.compile("on")
    assert captioner.caption("photo.jpg") == caption
    assert len(compiled) > 1

    with pytest.raises(UsageError, match=r"^runs/vqa: compile is for captions, matches and"):
        blip.load("runs/vqa", "cpu").compile("on")
    blip.load("runs/vqa", "cpu").compile("off")
    with pytest.raises(ArgumentError, match="compile must be auto, on or off, got True"):
        fixed.compile(True)  # pyright: ignore[reportArgumentType]


def test_the_picture_that_is_broken_is_named(model: blip.LoadedModel) -> None:
    with pytest.raises(blip.BadImageError, match=r"^picture 2: not_an_image$"):
        model.caption(["photo.jpg", b"junk"])
    with pytest.raises(ArgumentError, match=r"images must be a picture .* or a list .*, got int"):
        model.caption(7)
    with pytest.raises(ArgumentError, match="texts must be texts, got 7"):
        model.match("photo.jpg", ["a", 7])


def test_nucleus_sampling_draws_by_the_seed(model: blip.LoadedModel) -> None:
    decoding = blip.DecodingConfig(kind="nucleus", top_p=1.0)
    texts = model.caption(["photo.jpg"] * 2, decoding, seed=3)
    assert texts == model.caption(["photo.jpg"] * 2, decoding, seed=3)
    assert texts[1] == model.caption("photo.jpg", decoding, seed=4)
    assert len({model.caption("photo.jpg", decoding, seed=seed) for seed in range(5)}) > 1


@pytest.mark.parametrize("seed", [-1, "1", 1.5, None])
def test_a_seed_that_cannot_work_is_a_value_error(model: blip.LoadedModel, seed) -> None:
    nucleus = blip.DecodingConfig(kind="nucleus")
    message = f"must be a whole number, at least 0, got {seed!r}"
    with pytest.raises(ArgumentError, match=f"^seed {message}"):
        model.caption("photo.jpg", nucleus, seed=seed)
    with pytest.raises(ArgumentError, match=f"^a seed {message}"):
        model.captioner.caption(["photo.jpg"], nucleus, seeds=[seed])
    with pytest.raises(ArgumentError, match=r"^seeds must be a list, got int"):
        model.captioner.caption(["photo.jpg"], nucleus, seeds=7)  # pyright: ignore


def test_type_checkers_know_what_comes_out(model: blip.LoadedModel) -> None:
    """The type checker fails where a type is another one."""
    path, paths, texts = Path("photo.jpg"), [Path("photo.jpg")], ["a", "b"]
    assert_type(model.caption("photo.jpg"), str)
    assert_type(model.caption(Image.open(path)), str)
    assert_type(model.caption(paths), list[str])
    assert_type(model.match("photo.jpg", "a"), Scores)
    assert_type(model.match(path, texts), list[Scores])
    assert_type(model.match(paths, "a"), list[Scores])
    assert_type(model.match(paths, texts), list[list[Scores]])

    def never_called(other: blip.LoadedModel) -> None:
        assert_type(other.ask(path, "a"), str)
        assert_type(other.ask(path, texts), list[str])
        assert_type(other.ask(paths, "a"), list[str])
        assert_type(other.ask(paths, texts), list[list[str]])
        assert_type(other.compare(path, path, "a"), Judgement)
        assert_type(other.compare(path, path, texts), list[Judgement])
        assert_type(other.compare(paths, paths, "a"), list[Judgement])
        assert_type(other.compare(paths, paths, texts), list[list[Judgement]])


def test_addresses_are_fetched_together_and_named_in_order(
    model: blip.LoadedModel, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = model.caption(["photo.jpg", "picture.png"])
    with Server(demo) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        urls = [f"{server.url}/photo.jpg", f"{server.url}/picture.png"]
        assert model.caption(urls) == expected
        assert model.caption(urls[0]) == expected[0]
        with pytest.raises(blip.BadImageError, match=r"^picture 2 \(http://.*none.jpg\): cannot"):
            model.caption([urls[0], f"{server.url}/none.jpg", f"{server.url}/none.png"])
        server.shutdown()


def test_importing_loads_no_torch() -> None:
    code = "import blip, sys; blip.__all__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
