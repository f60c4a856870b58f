"""Texts laid end to end: each token once, none sees another text, the same states as padded."""

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
    lengths=st.integers(1, 3).flatmap(
        lambda rows: st.lists(
            st.lists(st.integers(1, 7), min_size=rows, max_size=rows), min_size=1, max_size=4
        )
    ),
    padding=st.integers(0, 2),
)
def test_tokens_come_back_to_their_places(lengths: list[list[int]], padding: int) -> None:
    rows = len(lengths[0])
    flat = [length for group in zip(*lengths, strict=True) for length in group]
    visible = visible_of(flat, max(flat) + padding)
    laid = lay_end_to_end(visible, rows)
    padded = torch.arange(visible.numel()).view_as(visible)
    assert torch.equal(laid.pad(laid.lay(padded))[visible], padded[visible])
    totals = [sum(group) for group in zip(*lengths, strict=True)]
    assert laid.place.shape == (rows, max(totals))
    each = len(flat) // rows
    for row, total in enumerate(totals):
        expected = padded[row * each : (row + 1) * each][visible[row * each : (row + 1) * each]]
        assert torch.equal(laid.lay(padded)[row, :total], expected)


@pytest.fixture
def model() -> Blip:
    return tiny_model()


@pytest.mark.parametrize("images", [0, 1, 2, 3])
def test_first_states_are_those_of_padded_texts(model: Blip, images: int) -> None:
    lengths = [3, 9, 2, 2, 7, 5]
    visible = visible_of(lengths, 10)
    ids = torch.randint(1, TINY.text.vocabulary_size, visible.shape)
    pixels = torch.randn(max(images, 1), 3, 32, 32)
    with torch.no_grad():
        memory = model.project_image(model.encode_image(pixels), "bidirectional")
        given_memory = memory if images else None
        padded = model.text.first_states(ids, visible, memory=given_memory)
        whole = model.text(ids, visible, mode="bidirectional", memory=given_memory)[:, 0]
    with torch.inference_mode():
        laid = model.text.first_states(ids, visible, memory=given_memory)
        other = model.text.first_states(ids.where(visible, 5), visible, memory=given_memory)
    torch.testing.assert_close(laid, padded)
    torch.testing.assert_close(laid, whole)
    assert torch.equal(laid, other), "padding was read"


def test_a_text_does_not_see_its_neighbours(model: Blip) -> None:
    visible = visible_of([4, 6, 3])
    ids = torch.randint(1, TINY.text.vocabulary_size, visible.shape)
    with torch.inference_mode():
        together = model.text.first_states(ids, visible)
        alone = model.text.first_states(ids[1:2], visible[1:2])
    torch.testing.assert_close(together[1:2], alone)
