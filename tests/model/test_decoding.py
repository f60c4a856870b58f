"""Decoding with a cache equals decoding without, token by token, also after rows moved."""

from dataclasses import replace

import pytest
import torch

from blip.model.blip import Blip
from blip.model.decoding import DecodingSession
from blip.model.question import QuestionModel
from blip.nn.kv import ImageKV
from tests.support.tiny import TINY, tiny_model, tiny_texts


@pytest.fixture
def model() -> Blip:
    return tiny_model()


@pytest.fixture
def image_kv(model: Blip) -> ImageKV:
    with torch.no_grad():
        return model.project_image(model.encode_image(torch.randn(3, 3, 32, 32)), "causal")


@torch.no_grad()
def whole(model: Blip, image_kv: ImageKV, ids: torch.Tensor, images: list[int]) -> torch.Tensor:
    each = image_kv.select(torch.tensor(images))
    return model.language_logits(ids, torch.ones_like(ids).bool(), each)


@pytest.mark.parametrize("prompt", [1, 3])
def test_step_by_step_equals_the_whole(model: Blip, image_kv: ImageKV, prompt: int) -> None:
    ids = torch.randint(1, 38, (6, 8))
    expected = whole(model, image_kv, ids, [0, 0, 1, 1, 2, 2])
    session = DecodingSession(model, image_kv, copies=2)
    torch.testing.assert_close(session(ids[:, :prompt]), expected[:, prompt - 1])
    for position in range(prompt, 8):
        logits = session(ids[:, position : position + 1])
        torch.testing.assert_close(logits, expected[:, position])


@pytest.mark.parametrize(
    ("order", "images", "copies"),
    [
        ([1, 0, 3, 3, 4, 5], [0, 0, 1, 1, 2, 2], 2),
        ([4, 5, 1, 0], [2, 2, 0, 0], 2),
        ([0, 2, 5], [0, 1, 2], 1),
        ([5, 5, 0, 3], [2, 2, 0, 1], 1),
    ],
)
def test_rows_may_move_repeat_and_leave(
    model: Blip, image_kv: ImageKV, order: list[int], images: list[int], copies: int
) -> None:
    ids = torch.randint(1, 38, (6, 5))
    session = DecodingSession(model, image_kv, copies=2)
    session(ids[:, :4])
    session.reorder(torch.tensor(order))
    assert session.copies == copies
    moved = ids[order]
    logits = session(moved[:, 4:])
    torch.testing.assert_close(logits, whole(model, image_kv, moved, images)[:, 4])


def test_a_start_that_all_copies_share_is_read_once(
    model: Blip, image_kv: ImageKV, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    continue_text = model.text.continue_text

    def counting(ids: torch.Tensor, *rest: object) -> torch.Tensor:
        read.append(tuple(ids.shape))
        return continue_text(ids, *rest)

    monkeypatch.setattr(model.text, "continue_text", counting)
    ids = torch.randint(1, 38, (6, 6))
    ids[:, :3] = ids[0, :3]
    expected = whole(model, image_kv, ids, [0, 0, 1, 1, 2, 2])
    session = DecodingSession(model, image_kv, copies=2)
    torch.testing.assert_close(session(ids[:, :3]), expected[:, 2])
    torch.testing.assert_close(session(ids[:, 3:4]), expected[:, 3])
    torch.testing.assert_close(session(ids[:, 4:]), expected[:, 5])
    assert read == [(3, 3), (6, 1), (6, 2)]


def test_a_session_answers_questions() -> None:
    torch.manual_seed(0)
    model = QuestionModel(replace(TINY, architecture="vqa")).eval()
    ids, visible = tiny_texts(4)
    with torch.no_grad():
        states = model.encode_image(torch.randn(2, 3, 32, 32))
        questions = model.read_questions(ids, visible, states)
        answers = torch.randint(1, 38, (8, 4))
        expected = model.language_logits(answers, torch.ones_like(answers).bool(), questions)
    session = DecodingSession(model, questions, copies=2)
    for position in range(4):
        logits = session(answers[:, position : position + 1])
        torch.testing.assert_close(logits, expected[:, position])
    session.reorder(torch.tensor([6, 7, 2, 3]))
    assert session.image_kv.visible is not None
    assert torch.equal(session.image_kv.visible, visible[[3, 1]])
