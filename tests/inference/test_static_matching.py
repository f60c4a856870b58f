"""Passes of fixed shapes give the scores of passes that fit their texts, eager and compiled."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blip.data.tokenizer import Tokenizer
from blip.errors import ArgumentError, UsageError
from blip.inference import fixed_shapes
from blip.inference.captioner import Captioner
from blip.inference.embedder import Embedder
from blip.inference.matcher import MAX_TEXTS, Matcher
from blip.inference.static_matching import MAX_PASSES, PassPool
from blip.model.int8 import to_int8
from blip.nn.kernels.switch import kernels
from tests.support.forked import run_module
from tests.support.refuse_reads import RefuseReads
from tests.support.tiny import make_model

WORDS = ["a", "red", "blue", "circle", "square", "on", "two", "stars", "green", "the"]
BOUND = 1e-5
"""Greatest difference of a probability or cosine."""


@pytest.fixture(scope="module")
def plain() -> Matcher:
    tokenizer = Tokenizer.train([" ".join(WORDS)], vocabulary_size=100)
    return Matcher(make_model(tokenizer), tokenizer)


@pytest.fixture(scope="module")
def fixed(plain: Matcher) -> Matcher:
    """The same model; nothing is compiled."""
    return make_fixed(plain)


def make_fixed(plain: Matcher) -> Matcher:
    matcher = Matcher(plain.model, plain.tokenizer)
    matcher.compile("on")
    matcher._passes.failed = True
    return matcher


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(count)]


def agree(found: Any, expected: Any) -> bool:
    return all(
        len(ours) == len(theirs) and np.allclose(ours, theirs, rtol=0, atol=BOUND)
        for ours, theirs in zip(found, expected, strict=True)
    )


TEXT = st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join)


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(st.lists(TEXT, max_size=7), min_size=1, max_size=7), size=st.integers(1, 8))
def test_scores_are_the_same(
    plain: Matcher, fixed: Matcher, texts: list[list[str]], size: int
) -> None:
    images = pictures(len(texts), size)
    found = fixed.scores(images, texts, batch_size=size)
    expected = plain.scores(images, texts, batch_size=size)
    assert agree(found, expected)


def test_more_texts_than_go_together_are_scored_alike(plain: Matcher, fixed: Matcher) -> None:
    texts = [["a red circle", "two stars"] * MAX_TEXTS, ["the"], [], WORDS * 2]
    for method in ("probability", "cosine", "scores"):
        found = getattr(fixed, method)(pictures(4), texts)
        assert agree(found, getattr(plain, method)(pictures(4), texts))
        assert [len(row) for row in found] == [len(row) for row in texts]


def test_a_video_is_scored_alike(plain: Matcher, fixed: Matcher) -> None:
    frames = torch.randn(3, 2, 3, 32, 32)
    with torch.inference_mode():
        expected = plain.model.encode_pixels(frames)
        assert torch.allclose(fixed._passes.encode(frames), expected, atol=BOUND)


def test_lengths_and_counts_that_are_alike_share_their_passes(plain: Matcher) -> None:
    matcher = make_fixed(plain)
    matcher.scores(pictures(5), [["a red circle"] * 2] * 5)
    known = list(matcher._passes._made)
    # 6 pictures of 2 texts; all lengths up to 8 tokens.
    for images, text in ((6, "a"), (5, "two blue stars"), (6, "the red circle")):
        matcher.scores(pictures(images), [[text] * 2] * images)
    assert sorted(map(str, matcher._passes._made)) == sorted(map(str, known))
    assert len(known) == 5


def test_passes_over_pictures_and_videos_share_what_a_graph_reads(plain: Matcher) -> None:
    """A graph holds addresses: what lies there must stay, whatever passes come later."""
    matcher = make_fixed(plain)
    matcher.scores(pictures(2), [["a red circle"]] * 2)
    layouts = dict(matcher._passes._layouts)
    for frames in (2, 3):
        with torch.inference_mode():
            states = plain.model.encode_pixels(torch.randn(2, frames, 3, 32, 32))
            kv = matcher._passes.project_image(states)
            texts = plain.tokenizer.encode(["a red circle"] * 2, 30)
            matcher._passes.match_probabilities(texts.ids, texts.visible, kv)
    assert sum(key[0] == "match" for key in matcher._passes._made) == 3
    assert all(matcher._passes._layouts[key] is one for key, one in layouts.items())


def test_passes_that_are_kept_are_bounded(plain: Matcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blip.inference.static_matching.MAX_PASSES", 6)
    assert MAX_PASSES > 6
    matcher = make_fixed(plain)
    for count in range(1, 9):
        matcher.scores(pictures(count), [["a red circle"]] * count)
    assert len(matcher._passes) == 6


def test_other_weights_have_other_passes(plain: Matcher) -> None:
    model = make_model(plain.tokenizer)
    matcher = Matcher(model, plain.tokenizer)
    matcher.compile("on")
    matcher._passes.failed = True
    matcher.scores(pictures(1), [["a"]])
    model.double()
    matcher.scores(pictures(2), [["a"]] * 2)
    assert {key[1][0] for key in matcher._passes._made} == {2}


@pytest.mark.parametrize(
    "name", ["_encode", "_project", "_image_features", "_match", "_text_features"]
)
def test_a_pass_reads_nothing_back(
    plain: Matcher, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, calls = getattr(PassPool, name), []

    def watched(pool: PassPool, *tensors: torch.Tensor) -> Any:
        calls.append([(one.shape, one.stride()) for one in tensors])
        with RefuseReads():
            return work(pool, *tensors)

    monkeypatch.setattr(PassPool, name, watched)
    matcher = make_fixed(plain)
    matcher.scores(pictures(3), [["a red circle", "the"]] * 3)
    matcher.scores(pictures(3, seed=1), [["two", "a blue star"]] * 3)
    assert len(calls) == 2
    assert calls[0] == calls[1]


def test_a_compiled_pass_is_one_graph_and_compiled_once(tmp_path: Path) -> None:
    # On its own: what checks shapes in the tests cannot be traced.
    said = tmp_path / "said"
    assert run_module("tests.support.compiled_matching", said) == 0, said.read_text()
    assert "compiling: match, 4 x 8; later runs find it in torch's cache" in said.read_text()


def test_matching_goes_on_where_nothing_compiles(
    plain: Matcher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler\nand more")

    monkeypatch.setattr(torch, "compile", broken)
    matcher = Matcher(plain.model, plain.tokenizer)
    matcher.compile("on")
    texts = [["a red circle"]]
    assert agree(matcher.scores(pictures(1), texts), plain.scores(pictures(1), texts))
    said = capsys.readouterr().err
    assert said.count("the model goes on without compiled passes: no compiler\n") == 1


def test_what_is_compiled_and_captured_is_made_on_the_gpu_of_the_model(
    plain: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    current: list[str] = []

    @contextmanager
    def as_current(device: torch.device) -> Iterator[None]:
        current.append(str(device))
        yield
        current.pop()

    monkeypatch.setattr(fixed_shapes, "as_current", as_current)
    model = make_model(plain.tokenizer)
    pool = fixed_shapes.FixedShapes[str, int](model, "on")
    assert pool.fastest([], lambda: [*current], "the model goes on") == ["cpu"]
    model.to("meta")
    assert pool.fastest([], lambda: [*current], "the model goes on") == ["meta"]
    assert not current


def test_int8_is_not_compiled(plain: Matcher) -> None:
    with kernels(False):
        model = make_model(plain.tokenizer)
        to_int8(model)
        for predictor in (Captioner, Matcher, Embedder):
            opened = predictor(model, plain.tokenizer)
            opened.compile("off")
            with pytest.raises(UsageError, match="compile must be off for a model in int8"):
                opened.compile("on")


def test_nothing_is_compiled_unless_asked_for(plain: Matcher) -> None:
    assert not Matcher(plain.model, plain.tokenizer)._passes.is_used
    for choice in ("auto", "off"):
        assert not PassPool(plain.model, choice).is_used
    with pytest.raises(ArgumentError, match="compile must be auto, on or off, got 'yes'"):
        PassPool(plain.model, "yes")  # pyright: ignore[reportArgumentType]
