"""Texts laid end to end: each token once, none sees another text, the same states as alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blip.model.blip import Blip
from blip.nn.end_to_end import lay_end_to_end
from tests.model.tiny import TINY, tiny_model


def visible_of(lengths: list[int], longest: int | None = None) -> torch.Tensor:
    return torch.arange(longest or max(lengths)) < torch.tensor(lengths)[:, None]


@given(
    pairs=st.lists(st.tuples(st.integers(1, 7), st.integers(0, 3)), min_size=1, max_size=12),
    padding=st.integers(0, 2),
)
def test_each_token_has_one_place_among_texts_and_memories(
    pairs: list[tuple[int, int]], padding: int
) -> None:
    lengths, memory_of_text = map(list, zip(*pairs, strict=True))
    visible = visible_of(lengths, max(lengths) + padding)
    laid = lay_end_to_end(visible, 4, torch.tensor(memory_of_text))
    numbers = torch.arange(1, visible.numel() + 1).view_as(visible)
    tokens = laid.take(numbers)
    assert sorted(tokens.tolist()) == sorted(numbers[visible].tolist())
    assert torch.equal(laid.texts.lay(laid.texts.pad(tokens)), tokens)
    assert torch.equal(laid.memories.lay(laid.memories.pad(tokens)), tokens)
    texts = laid.give_back(laid.texts.pad(tokens))
    assert torch.equal(texts, numbers[:, : max(lengths)] * visible[:, : max(lengths)])
    assert torch.equal(laid.give_back(tokens[laid.first]), numbers[:, 0])
    in_text = torch.arange(visible.shape[1]).expand_as(visible)
    assert torch.equal(laid.position, laid.take(in_text))
    for memory in range(4):
        mine = [text for text, read in enumerate(memory_of_text) if read == memory]
        expected = [n for text in mine for n in numbers[text, : lengths[text]].tolist()]
        row = laid.memories.pad(tokens)[memory]
        assert row[row > 0].tolist() == expected
        firsts = laid.firsts.pad(tokens[laid.first])[memory]
        assert firsts[firsts > 0].tolist() == [int(numbers[text, 0]) for text in mine]


@pytest.fixture
def model() -> Blip:
    return tiny_model()


@pytest.mark.parametrize("images", [0, 1, 2, 3])
def test_first_states_are_those_of_each_text_alone(model: Blip, images: int) -> None:
    lengths = [3, 9, 2, 2, 7, 5]
    visible = visible_of(lengths, 10)
    ids = torch.randint(1, TINY.text.vocabulary_size, visible.shape)
    pixels = torch.randn(max(images, 1), 3, 32, 32)
    memory = model.project_image(model.encode_image(pixels), "bidirectional")
    given_memory = memory if images else None
    laid = model.text.first_states(ids, visible, memory=given_memory)
    whole = model.text(ids, visible, mode="bidirectional", memory=given_memory)
    other = model.text.first_states(ids.where(visible, 5), visible, memory=given_memory)
    torch.testing.assert_close(laid, whole[:, 0])
    assert torch.equal(laid, other), "padding was read"
    for row, length in enumerate(lengths):
        one = memory.select(torch.tensor([row // (6 // images)])) if images else None
        alone = model.text(
            ids[row : row + 1, :length],
            visible[row : row + 1, :length],
            mode="bidirectional",
            memory=one,
        )
        torch.testing.assert_close(whole[row, :length], alone[0])


def test_texts_may_read_memories_in_any_order_without_copies(model: Blip) -> None:
    image_of_text = torch.tensor([2, 0, 2, 2, 0, 4, 2])
    visible = visible_of([3, 9, 2, 2, 7, 5, 1])
    ids = torch.randint(1, TINY.text.vocabulary_size, visible.shape)
    states = torch.randn(5, 6, TINY.vision.width, requires_grad=True)
    memory = model.project_image(states, "bidirectional")

    def gradients(logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
        weighted = (logits * torch.arange(14.0).view(7, 2)).sum()
        inputs = [states, *model.text.parameters()]
        return torch.autograd.grad(weighted, inputs, retain_graph=True, allow_unused=True)

    found = model.match_logits(ids, visible, memory, image_of_text)
    copied = model.match_logits(ids, visible, memory.select(image_of_text))
    torch.testing.assert_close(found, copied)
    for one, other in zip(gradients(found), gradients(copied), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_text_does_not_see_its_neighbours(model: Blip) -> None:
    visible = visible_of([4, 6, 3])
    ids = torch.randint(1, TINY.text.vocabulary_size, visible.shape)
    with torch.inference_mode():
        together = model.text.first_states(ids, visible)
        alone = model.text.first_states(ids[1:2], visible[1:2])
    torch.testing.assert_close(together[1:2], alone)


def test_tokens_are_those_of_the_texts(model: Blip) -> None:
    visible = visible_of([4, 0, 3], 5)
    ids = torch.randint(1, TINY.text.vocabulary_size, visible.shape)
    memory = model.project_image(torch.randn(3, 6, TINY.vision.width), "causal")
    whole = model.decode(ids, visible, memory)
    torch.testing.assert_close(model.decode_tokens(ids, visible, memory), whole[visible])
    none = torch.zeros_like(visible)
    assert model.decode_tokens(ids, none, memory).shape == (0, TINY.text.width)
