"""Answers in a dialogue: the same in any batch and among any candidates; written or ranked."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from blip.data.dialogues import Turn
from blip.data.tokenizer import Tokenizer
from blip.errors import ArgumentError, UsageError
from blip.generation.config import DecodingConfig
from blip.inference import dialogue_answerer as module
from blip.inference.dialogue_answerer import DialogueAnswerer
from blip.model.dialogue import DialogueModel
from blip.nn.mode import BOTH_MODES, Mode
from tests.support.attentive_models import CANDIDATES, noise_pictures
from tests.support.tiny import TINY
from tests.support.tiny_data import SENTENCE

TURNS = [
    [
        Turn("a red circle", (), "is it a star?"),
        Turn("a red circle", (("is it a star?", "no"), ("is it red", "one big")), "stripes?"),
        Turn("another caption", (), "is it a star?"),
    ],
    [],
    [Turn("", (("near what", "a square"),), "a circle?")],
]
OPTIONS = [[CANDIDATES, CANDIDATES[2:], CANDIDATES[:3]], [], [CANDIDATES[:1] * 2]]


def make(
    tokenizer: Tokenizer, modes: tuple[Mode, ...] = BOTH_MODES, positions: int = 96
) -> DialogueModel:
    torch.manual_seed(0)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size, positions=positions)
    model = DialogueModel(replace(TINY, text=text, architecture="visdial", modes=modes))
    for layer in model.text.layers:
        for mode in modes:
            read = layer.cross_attention.select(mode).read
            torch.nn.init.normal_(read.key_value.weight, std=1.5)
    return model


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([SENTENCE] * 3, vocabulary_size=200)


@pytest.fixture(scope="module")
def answerer(tokenizer: Tokenizer) -> DialogueAnswerer:
    return DialogueAnswerer(make(tokenizer), tokenizer)


def test_scores_equal_those_of_each_candidate_alone(
    answerer: DialogueAnswerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = noise_pictures(3)
    together = answerer.scores(images, TURNS, OPTIONS)
    assert [[len(row) for row in rows] for rows in together] == [[8, 6, 3], [], [2]]
    for image, turns, options, rows in zip(images, TURNS, OPTIONS, together, strict=True):
        for turn, answers, scores in zip(turns, options, rows, strict=True):
            for answer, score in zip(answers, scores, strict=True):
                ((alone,),) = answerer.scores([image], [[turn]], [[[answer]]])
                assert alone == pytest.approx([score], abs=1e-4)
    monkeypatch.setattr(module, "CANDIDATES", 3)
    for batch_size in (1, 2):
        again = answerer.scores(images, TURNS, OPTIONS, batch_size=batch_size)
        for rows, same in zip(together, again, strict=True):
            for scores, others in zip(rows, same, strict=True):
                assert others == pytest.approx(scores, abs=1e-4)
    flat = {round(score, 3) for rows in together for scores in rows for score in scores}
    assert len(flat) > 8


def test_candidates_come_the_likeliest_first(answerer: DialogueAnswerer) -> None:
    images = noise_pictures(3)
    first = answerer.scores(images, TURNS, OPTIONS)[0][0]
    best = answerer.rank(images, TURNS, OPTIONS)[0][0]
    expected = sorted(range(8), key=lambda place: -first[place])
    assert [one.answer for one in best] == [CANDIDATES[place] for place in expected]
    assert best[0].probability == pytest.approx(torch.tensor(max(first)).sigmoid().item())


def test_picture_dialogue_and_caption_are_read_once_for_all_candidates(
    answerer: DialogueAnswerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    model = answerer.model
    parts = {
        "image": model.encode_image,
        "caption": model.project_with_captions,
        "dialogue": model.encode_dialogues,
        "answers": model.answer_logits,
    }
    for name, method in parts.items():

        def counting(*given, name=name, method=method):
            calls.append(name)
            return method(*given)

        monkeypatch.setattr(model, method.__name__, counting)
    answerer.scores(noise_pictures(1), [TURNS[0][:1]], [[[f"{n} star" for n in range(100)]]])
    assert calls == list(parts)


def test_history_and_caption_matter(answerer: DialogueAnswerer) -> None:
    ((one, two, three),) = answerer.scores(
        noise_pictures(1), TURNS[:1], [[CANDIDATES, CANDIDATES, CANDIDATES]]
    )
    assert one != pytest.approx(two, abs=1e-3)
    assert one != pytest.approx(three, abs=1e-3)


@pytest.mark.parametrize("kind", ["beam", "greedy"])
def test_written_answers_do_not_depend_on_their_neighbours(
    answerer: DialogueAnswerer, kind: str
) -> None:
    decoding = DecodingConfig(kind=kind, min_length=3, max_length=9)
    images = noise_pictures(3)
    together = answerer.answer(images, TURNS, decoding)
    assert [len(row) for row in together] == [3, 0, 1]
    assert answerer.answer(images, TURNS, decoding, batch_size=1) == together


def test_wrong_requests_are_refused(answerer: DialogueAnswerer, tokenizer: Tokenizer) -> None:
    images, turn = noise_pictures(1), TURNS[0][0]
    with pytest.raises(ValueError, match="1 pictures need as many lists, got 2"):
        answerer.scores(images, [[turn], []], [[["yes"]], []])
    with pytest.raises(ValueError, match="of picture 1: 1 turns need as many lists, got 2"):
        answerer.scores(images, [[turn]], [[["yes"], ["no"]]])
    with pytest.raises(ValueError, match="chosen from candidates, got none"):
        answerer.scores(images, [[turn]], [[[]]])
    with pytest.raises(ValueError, match=r"caption must be a text, got 3 \(int\)"):
        answerer.scores(images, [[Turn(3, (), "what?")]], [[["yes"]]])  # pyright: ignore
    with pytest.raises(ValueError, match=r"picture 1 \(a.mp4\) is a video"):
        answerer.scores(["a.mp4"], [[turn]], [[["yes"]]])
    with pytest.raises(ValueError, match="by beam or greedy, got nucleus"):
        answerer.answer(images, [[turn]], DecodingConfig(kind="nucleus"))
    assert answerer.scores([], [], []) == []
    ranking = DialogueAnswerer(make(tokenizer, ("bidirectional",)), tokenizer)
    with pytest.raises(UsageError, match="has no text decoder: it ranks answers and writes none"):
        ranking.answer(images, [[turn]])
    with pytest.raises(UsageError, match="32 positions; a model for dialogues needs 40 at least"):
        DialogueAnswerer(make(tokenizer, positions=32), tokenizer)


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        (None, "turns must be a list, got NoneType"),
        (TURNS[0][0], "turns must be a list, got Turn"),
        ([TURNS[0][0]], "turns of picture 1 must be a list, got Turn"),
        ([["what?"]], r"turns of picture 1 must be blip\.Turn, got 'what\?' \(str\)"),
        ([[Turn("a", (), " ! ")]], "question is ' ! '; it has no words"),
        ([[Turn("a", (("", "no"),), "what?")]], "a question of the history is ''"),
        ([[Turn("a", ("what?", "no"), "what?")]], "history must be pairs .*, got 'what?"),
        ([[Turn("a", "what?", "what?")]], "history must be pairs .*, got 'what?"),
        ([[Turn("a", (("what?", "no", "a"),), "what?")]], "history must be pairs"),
        ([[Turn("a", (("what?", None),), "what?")]], "an answer of the history must be a text"),
    ],
)
def test_turns_that_are_none_are_refused_by_all_methods(
    answerer: DialogueAnswerer, turns: Any, message: str
) -> None:
    images, candidates = noise_pictures(1), [[["yes", "no"]]]
    for call in (
        lambda: answerer.scores(images, turns, candidates),
        lambda: answerer.rank(images, turns, candidates),
        lambda: answerer.answer(images, turns),
    ):
        with pytest.raises(ArgumentError, match=message):
            call()


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (None, "candidates must be a list, got NoneType"),
        ([["yes"]], "candidates must be a list of texts, got the single text 'yes'"),
        (["yes"], "candidates of picture 1 must be a list, got the text 'yes'"),
        ([[["yes"]], [["no"]]], "candidates: 1 pictures need as many lists, got 2"),
        ([[[3]]], r"candidates must be texts, got 3 \(int\)"),
    ],
)
def test_candidates_that_are_none_are_refused(
    answerer: DialogueAnswerer, candidates: Any, message: str
) -> None:
    for call in (answerer.scores, answerer.rank):
        with pytest.raises(ArgumentError, match=message):
            call(noise_pictures(1), [TURNS[0][:1]], candidates)
