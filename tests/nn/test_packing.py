"""Packed texts: each token once, none sees another text, the same states as alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blip.model.blip import Blip
from blip.nn.mode import BOTH_MODES
from blip.nn.packing import group_by_image, pack_pass, pack_texts
from tests.support.tiny import TINY, tiny_model


def visible_of(lengths: list[int], longest: int | None = None) -> torch.Tensor:
    return torch.arange(longest or max(lengths)) < torch.tensor(lengths)[:, None]


@given(
    pairs=st.lists(st.tuples(st.integers(1, 7), st.integers(0, 3)), min_size=1, max_size=12),
    padding=st.integers(0, 2),
    tile=st.sampled_from([1, 8, 64]),
)
def test_each_token_has_one_place_among_texts_rows_and_images(
    pairs: list[tuple[int, int]], padding: int, tile: int
) -> None:
    lengths, image_of_text = map(list, zip(*pairs, strict=True))
    visible = visible_of(lengths, max(lengths) + padding)
    packed = pack_texts(torch.tensor(lengths), tile=tile)
    queries = group_by_image(torch.tensor(lengths), 4, torch.tensor(image_of_text))
    numbers = torch.arange(1, visible.numel() + 1).view_as(visible)
    tokens = packed.pack(numbers)
    assert torch.equal(tokens, numbers[visible])
    layouts = [packed.padded, packed.rows.tokens, queries.tokens]
    assert all(torch.equal(layout.pack(layout.unpack(tokens)), tokens) for layout in layouts)
    texts = packed.padded.unpack(tokens)
    assert torch.equal(texts, numbers[:, : max(lengths)] * visible[:, : max(lengths)])
    assert torch.equal(tokens[packed.first_tokens], numbers[:, 0])
    in_text = torch.arange(visible.shape[1]).expand_as(visible)
    assert torch.equal(packed.positions, packed.pack(in_text))
    for image in range(4):
        mine = [text for text, about in enumerate(image_of_text) if about == image]
        expected = [n for text in mine for n in numbers[text, : lengths[text]].tolist()]
        row = queries.tokens.unpack(tokens)[image]
        assert row[row > 0].tolist() == expected
        firsts = queries.first_tokens.unpack(tokens[packed.first_tokens])[image]
        assert firsts[firsts > 0].tolist() == [int(numbers[text, 0]) for text in mine]


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    tile=st.sampled_from([1, 8, 16]),
    causal=st.booleans(),
)
def test_rows_hold_whole_texts_that_see_themselves_alone(
    lengths: list[int], tile: int, causal: bool
) -> None:
    rows = pack_texts(torch.tensor(lengths), tile=tile).rows
    text = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    place = rows.tokens.unpack(torch.arange(1, len(text) + 1)).flatten()
    assert rows.tokens.columns % tile == 0
    # A text more would not have gone into any row but the last.
    assert len(lengths) == 1 or rows.tokens.rows < 1 + 2 * sum(lengths) / rows.tokens.columns
    visible = rows.document_mask(causal=causal)
    of_firsts = rows.first_token_mask()
    assert (visible is None) == (of_firsts is None) == rows.one_text_per_row
    for position, token in enumerate(place.tolist()):
        row, column = divmod(position, rows.tokens.columns)
        if token == 0:
            assert visible is not None
            assert visible[row, 0, column].any()
            continue
        seen = torch.ones(rows.tokens.columns, dtype=torch.bool)
        if visible is not None:
            seen = visible[row, 0, column]
        elif causal:
            seen = seen.cumsum(0) <= column + 1
        found = place.view(rows.tokens.rows, -1)[row][seen].tolist()
        same = (text == text[token - 1]).nonzero().flatten() + 1
        assert found == [other for other in same.tolist() if not causal or other <= token]


def test_appended_rows_hold_one_behind_the_other() -> None:
    lengths = torch.tensor([2, 1, 3])
    one = group_by_image(lengths, 3, torch.tensor([2, 0, 2])).tokens
    other = group_by_image(lengths, 3).tokens
    both = one.append(other)
    tokens = torch.arange(1, 13)
    assert both.columns == 8
    rows = [[3, 7, 8], [9], [1, 2, 4, 5, 6, 10, 11, 12]]
    assert both.unpack(tokens).tolist() == [row + [0] * (8 - len(row)) for row in rows]
    assert torch.equal(both.pack(both.unpack(tokens)), tokens)


@pytest.fixture
def model() -> Blip:
    return tiny_model()


@pytest.mark.parametrize("images", [0, 1, 2, 3])
def test_first_states_are_those_of_each_text_alone(model: Blip, images: int) -> None:
    lengths = [3, 9, 2, 2, 7, 5]
    visible = visible_of(lengths, 10)
    ids = torch.randint(1, TINY.text.vocabulary_size, visible.shape)
    pixels = torch.randn(max(images, 1), 3, 32, 32)
    image_kv = model.project_image(model.encode_image(pixels), "bidirectional")
    given_kv = image_kv if images else None
    packed = model.text.first_states(ids, visible, image_kv=given_kv)
    whole = model.text(ids, visible, mode="bidirectional", image_kv=given_kv)
    other = model.text.first_states(ids.where(visible, 5), visible, image_kv=given_kv)
    torch.testing.assert_close(packed, whole[:, 0])
    assert torch.equal(packed, other), "padding was read"
    for row, length in enumerate(lengths):
        one = image_kv.select(torch.tensor([row // (6 // images)])) if images else None
        alone = model.text(
            ids[row : row + 1, :length],
            visible[row : row + 1, :length],
            mode="bidirectional",
            image_kv=one,
        )
        torch.testing.assert_close(whole[row, :length], alone[0])


def test_texts_may_attend_to_images_in_any_order_without_copies(model: Blip) -> None:
    image_of_text = torch.tensor([2, 0, 2, 2, 0, 4, 2])
    visible = visible_of([3, 9, 2, 2, 7, 5, 1])
    ids = torch.randint(1, TINY.text.vocabulary_size, visible.shape)
    states = torch.randn(5, 6, TINY.vision.width, requires_grad=True)
    image_kv = model.project_image(states, "bidirectional")

    def gradients(logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
        weighted = (logits * torch.arange(14.0).view(7, 2)).sum()
        inputs = [states, *model.text.parameters()]
        return torch.autograd.grad(weighted, inputs, retain_graph=True, allow_unused=True)

    one = pack_pass(
        ids,
        visible,
        "bidirectional",
        len(image_kv),
        image_of_text=image_of_text,
        first_states_only=True,
    )
    found = model.matching_head(model.text.forward_packed(image_kv, one)[0])
    copied = model.match_logits(ids, visible, image_kv.select(image_of_text))
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
    image_kv = model.project_image(torch.randn(3, 6, TINY.vision.width), "causal")
    whole = model.decode(ids, visible, image_kv)
    (tokens,) = model.text.forward_packed(
        image_kv, pack_pass(ids, visible, "causal", len(image_kv))
    )
    torch.testing.assert_close(tokens, whole[visible])
    none = pack_pass(ids, torch.zeros_like(visible), "causal", len(image_kv))
    assert model.text.forward_packed(image_kv, none)[0].shape == (0, TINY.text.width)


@pytest.mark.parametrize("lengths", [[4, 1, 3], [5, 5, 5], [2, 0, 5]])
def test_encoder_and_decoder_together_give_what_each_gives_alone(
    model: Blip, lengths: list[int]
) -> None:
    images = torch.tensor([0, 1, 2, 1, 1, 0])
    ids = torch.randint(1, TINY.text.vocabulary_size, (9, 5))
    image_kv = model.project_image(torch.randn(3, 6, TINY.vision.width), "bidirectional")
    pairs = pack_pass(
        ids[:6],
        visible_of([3, 5, 1, 2, 2, 5]),
        "bidirectional",
        len(image_kv),
        image_of_text=images,
        first_states_only=True,
    )
    writing = pack_pass(ids[6:], visible_of(lengths, 5), "causal", len(image_kv))
    first, tokens = model.text.forward_packed(image_kv, pairs, writing)
    torch.testing.assert_close(first, model.text.forward_packed(image_kv, pairs)[0])
    torch.testing.assert_close(tokens, model.text.forward_packed(image_kv, writing)[0])


@pytest.mark.parametrize(
    ("texts", "images", "image_of_text", "message"),
    [
        (5, 2, None, "5 texts cannot be about 2 images"),
        (1, 2, None, "1 texts cannot be about 2 images"),
        (1, 0, None, "1 texts cannot be about 0 images"),
        (0, 2, None, "there are no texts to encode"),
        (2, 2, [0, 2], "`image_of_text` names an image that is not among the 2 images"),
        (2, 2, [-1, 0], "`image_of_text` names an image that is not among the 2 images"),
    ],
)
def test_texts_that_are_about_no_image_are_refused(
    texts: int, images: int, image_of_text: list[int] | None, message: str
) -> None:
    visible = torch.ones(texts, 3, dtype=torch.bool)
    which = None if image_of_text is None else torch.tensor(image_of_text)
    with pytest.raises(ValueError, match=message):
        pack_pass(visible.long(), visible, "bidirectional", images, image_of_text=which)


def test_what_is_not_shared_does_not_run_together() -> None:
    model = tiny_model("all_but_cross_attention")
    ids, visible = torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.bool)
    image_kv = model.project_image(torch.randn(2, 6, TINY.vision.width), "bidirectional")
    one, other = (pack_pass(ids, visible, mode, len(image_kv)) for mode in BOTH_MODES)
    with pytest.raises(AssertionError):
        model.text.forward_packed(image_kv, one, other)
