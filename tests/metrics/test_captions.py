"""Measures of captions equal COCO's reference implementation, Java's tokenizer included."""

import json
import shutil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blip.metrics.captions import (
    caption_parts,
    caption_scores,
    meteor_score,
    tokenise_caption,
)
from tests.support.vectors import FOLDER, needs_vectors

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no java on this machine")


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return json.loads((FOLDER / "metrics/captions.json").read_text(encoding="utf-8"))


@needs_vectors
def test_tokens_are_those_of_the_reference_implementation(recorded: dict[str, Any]) -> None:
    for image in recorded["images"]:
        found = [tokenise_caption(text) for text in image["references"]]
        assert found == image["tokenised_references"]
        assert tokenise_caption(image["candidate"]) == image["tokenised_candidate"]


@needs_vectors
def test_figures_are_those_of_the_reference_implementation(recorded: dict[str, Any]) -> None:
    candidates = [image["candidate"] for image in recorded["images"]]
    references = [image["references"] for image in recorded["images"]]
    found, expected = caption_scores(candidates, references), recorded["overall"]
    for name, official in (
        ("cider", "CIDEr"),
        ("rouge_l", "ROUGE_L"),
        *((f"bleu{n}", f"Bleu_{n}") for n in range(1, 5)),
    ):
        assert found[name] == pytest.approx(100 * expected[official], rel=1e-9)


@needs_vectors
@needs_java
def test_meteor_is_that_of_the_reference_implementation(recorded: dict[str, Any]) -> None:
    candidates = [image["candidate"] for image in recorded["images"]]
    references = [image["references"] for image in recorded["images"]]
    official = 100 * recorded["overall"]["METEOR"]
    assert meteor_score(candidates, references) == pytest.approx(official, rel=1e-6)


def test_meteor_is_none_without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert meteor_score(["a dog"], [["a dog"]]) is None


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The dog doesn't stop.", "the dog does n't stop"),
        ("A man's five o'clock T-shirt, red & blue", "a man 's five o'clock t-shirt red & blue"),
        (
            "We cannot see 1,500 (or 3.5) U.S.A. flags",
            "we can not see 1,500 -lrb- or 3.5 -rrb- u.s.a. flags",
        ),
        ("Mr. Smith's dog...", "mr. smith 's dog"),
        ("a_b", "a b"),
        ("", ""),
    ],
)
def test_a_caption_is_cut_into_tokens(text: str, tokens: str) -> None:
    assert tokenise_caption(text) == tokens


def test_better_captions_score_higher_and_nothing_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    references = [["a red circle", "the red circle is big"], ["two blue stars on grey ground"]]
    perfect = caption_scores(["a red circle", "two blue stars on grey ground"], references)
    worse = caption_scores(["a red star", "two blue stars"], references)
    punctuated = caption_scores(["A red circle.", "Two blue stars, on grey ground!"], references)
    for name, value in perfect.items():
        assert value > worse[name]
    assert punctuated == perfect
    assert capsys.readouterr().out == ""


def test_a_missing_candidate_is_refused() -> None:
    with pytest.raises(ValueError, match="1 candidates, but 2"):
        caption_scores(["a"], [["a"], ["b"]])


WORDS = st.sampled_from(["a", "red", "dog", "runs", "on", "grass"])
REFERENCES = st.lists(st.lists(WORDS, min_size=1, max_size=9).map(" ".join), min_size=1, max_size=3)
IMAGES = st.tuples(st.lists(WORDS, max_size=9).map(" ".join), REFERENCES)


@settings(max_examples=25, deadline=None)
@given(st.lists(IMAGES, min_size=2, max_size=6))
def test_parts_of_captions_give_their_scores(images: list[tuple[str, list[str]]]) -> None:
    candidates, references = map(list, zip(*images, strict=True))
    parts, expected = caption_parts(candidates, references), caption_scores(candidates, references)
    found = parts.scores(np.ones((1, len(images))))
    assert {name: values[0] for name, values in found.items()} == pytest.approx(expected)


def test_a_sample_scores_as_the_images_that_it_holds() -> None:
    """BLEU is of sums, not a mean over images: an image that comes twice is there twice."""
    images = [
        ("a dog runs on the grass", ["a dog runs on grass", "the dog is on the grass"]),
        ("a red car", ["a blue car on a road", "one red car"]),
        ("two cats sleep", ["two cats sleep", "cats sleeping on a bed"]),
    ]
    candidates, references = map(list, zip(*images, strict=True))
    found = caption_parts(candidates, references).scores(np.array([[2.0, 0.0, 1.0]]))
    chosen = [0, 0, 2]
    expected = caption_scores([candidates[i] for i in chosen], [references[i] for i in chosen])
    for name in ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l"):
        assert found[name][0] == pytest.approx(expected[name])
