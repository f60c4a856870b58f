"""Kernels of attention give what torch's attention gives."""

import pytest
import torch
from torch.nn.attention import SDPBackend

from blip.nn.attention import AttentionSizes, MultiHeadCrossAttention, SelfAttention
from blip.nn.kernels.attention import (
    MAX_QUERIES,
    attention_of_varying_shapes,
    folds_projections,
)
from blip.nn.kernels.switch import kernels
from blip.nn.kv import LayerKV
from blip.nn.packing import pack_texts

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


class OnGpu(torch.Tensor):
    """Says that it is on a GPU."""

    is_cuda = True


def test_texts_of_any_length_need_no_plan_of_their_own() -> None:
    """torch asks the kernels in this order, and cuDNN, which plans each shape, last but one."""
    usual = torch._C._get_sdp_priority_order()
    states = torch.zeros(1).as_subclass(OnGpu)
    with torch.no_grad(), attention_of_varying_shapes(states):
        order = [SDPBackend(one) for one in torch._C._get_sdp_priority_order()]
        assert order.index(SDPBackend.FLASH_ATTENTION) == 0
        assert order.index(SDPBackend.CUDNN_ATTENTION) == 2
    assert torch._C._get_sdp_priority_order() == usual
    for gradients, where in ((True, states), (False, torch.zeros(1))):
        with torch.set_grad_enabled(gradients), attention_of_varying_shapes(where):
            assert torch._C._get_sdp_priority_order() == usual
