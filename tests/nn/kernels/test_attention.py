"""Kernels of attention give what torch's attention gives."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.nn.attention import SDPBackend

from blip.model.decoding import DecodingSession
from blip.nn.attention import AttentionSizes, MultiHeadCrossAttention, SelfAttention
from blip.nn.kernels.attention import (
    MAX_QUERIES,
    attention_of_varying_shapes,
    folds_projections,
)
from blip.nn.kernels.switch import kernels
from blip.nn.kv import LayerKV
from blip.nn.packing import pack_texts
from blip.nn.prefix import encode_prefixes, first_states_after
from tests.support.on_gpu import OnGpu
from tests.support.tiny import tiny_model, tiny_texts

SIZES = AttentionSizes(width=24, heads=3, dropout=0.0, eps=1e-12)


@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize("masked", [False, True])
def test_few_queries_attend_as_many_do(length: int, masked: bool) -> None:
    attention = MultiHeadCrossAttention(SIZES, kv_width=10)
    states, hidden = torch.randn(2, 5, 10), torch.randn(4, length, 24)
    assert 2 * length <= MAX_QUERIES
    visible = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()[:, None, None, :]
    kv = LayerKV(*attention.project_kv(states), visible if masked else None)
    expected = attention(hidden, kv).detach()
    with torch.inference_mode():
        torch.testing.assert_close(attention(hidden, kv), expected)


def test_first_states_are_those_with_projected_keys() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(SIZES).double()
    texts = pack_texts(torch.tensor([3, 1, 6, 2]))
    hidden = torch.randn(12, 24).double()
    expected = attention(hidden, texts.rows, texts.rows.document_mask(causal=False), causal=False)[
        texts.first_tokens
    ]
    with torch.inference_mode():
        torch.testing.assert_close(attention.first_states(hidden, texts), expected)
        with kernels(False):
            assert not folds_projections(hidden)
            torch.testing.assert_close(attention.first_states(hidden, texts), expected)
        assert folds_projections(hidden)


def test_texts_of_any_length_need_no_plan_of_their_own() -> None:
    """torch asks the kernels in this order: cuDNN, which plans each shape, late."""
    usual = torch._C._get_sdp_priority_order()
    states = torch.zeros(1).as_subclass(OnGpu)
    with torch.no_grad(), attention_of_varying_shapes(states):
        order = [SDPBackend(one) for one in torch._C._get_sdp_priority_order()]
        assert order.index(SDPBackend.FLASH_ATTENTION) == 0
        assert order.index(SDPBackend.CUDNN_ATTENTION) == 2
    torch.backends.cuda.enable_flash_sdp(False)
    try:
        with torch.no_grad(), attention_of_varying_shapes(states):
            assert torch._C._get_sdp_priority_order() == usual
            assert not torch.backends.cuda.flash_sdp_enabled(), "it was turned off"
    finally:
        torch.backends.cuda.enable_flash_sdp(True)
    assert torch._C._get_sdp_priority_order() == usual
    for gradients, where in ((True, states), (False, torch.zeros(1))):
        with torch.set_grad_enabled(gradients), attention_of_varying_shapes(where):
            assert torch._C._get_sdp_priority_order() == usual


def test_every_pass_over_texts_chooses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[bool] = []
    attended: list[bool] = []

    @contextmanager
    def choosing(_: torch.Tensor) -> Iterator[None]:
        chosen.append(True)
        yield
        chosen.pop()

    def attend(query: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        attended.append(bool(chosen))
        return query

    for name in ("bert", "begun_texts", "prefix"):
        monkeypatch.setattr(f"blip.nn.{name}.attention_of_varying_shapes", choosing)
    monkeypatch.setattr("blip.nn.attention.attend_to_images", attend)
    model = tiny_model().eval()
    ids, visible = tiny_texts(4)
    images = torch.tensor([0, 0, 1, 1])
    with torch.inference_mode():
        states = model.encode_image(torch.randn(2, 3, 32, 32))
        kv = model.project_image(states, "bidirectional")
        of_each = model.project_image(states[images], "bidirectional")
        begun = model.begin_texts(ids, visible)
        prefixes = encode_prefixes(model.text, ids, visible, of_each)
        for work in (
            lambda: model.match_logits(ids, visible, kv),
            lambda: DecodingSession(model, kv, copies=2)(ids[:, :2]),
            lambda: model.match_begun(begun, torch.arange(4), kv, images),
            lambda: first_states_after(model.text, prefixes, ids, visible, of_each),
        ):
            attended.clear()
            work()
            assert attended
            assert all(attended)
