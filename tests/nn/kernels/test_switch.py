"""With kernels or without, padded or packed: one model, the same outputs, the same gradients."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache

import pytest
import torch

from blip.errors import UsageError
from blip.model.blip import Blip
from blip.model.decoding import DecodingSession
from blip.nn.kernels import onednn, switch
from blip.nn.kernels.packed_weight import pack_weights
from blip.nn.kernels.switch import kernels, kernels_enabled
from blip.nn.packing import pack_pass
from tests.support.tiny import TINY

# Wide enough for the products that a CPU leaves to oneDNN.
WIDE = replace(
    TINY,
    vision=replace(TINY.vision, width=512, depth=2, heads=8),
    text=replace(TINY.text, width=512, depth=2, heads=8, mlp_width=512),
)
LENGTHS = [3, 9, 2, 2, 7, 5]
CLOSE = {
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
    torch.float64: {"rtol": 1e-12, "atol": 1e-12},
}
x86 = pytest.mark.skipif(
    not onednn.onednn_multiplies(torch.float32), reason="oneDNN is used on x86 processors alone"
)


@cache
def initial_model() -> Blip:
    """To draw its weights takes longer than to compute with them."""
    torch.manual_seed(0)
    return Blip(WIDE).eval()


def make_model(dtype: torch.dtype) -> Blip:
    return deepcopy(initial_model()).to(dtype)


def make_texts() -> tuple[torch.Tensor, torch.Tensor]:
    visible = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    source = torch.Generator().manual_seed(1)
    return torch.randint(1, WIDE.text.vocabulary_size, visible.shape, generator=source), visible


def padded(model: Blip, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Each functionality by itself, padding and all."""
    ids, visible = make_texts()
    states = model.encode_image(pixels)
    image_kv = model.project_image(states, "bidirectional")
    return (
        model.image_features(states),
        model.encode_text(ids, visible)[:, 0],
        model.ground(ids, visible, image_kv)[:, 0],
        model.decode(ids, visible, image_kv)[visible],
    )


def packed(model: Blip, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The same without padding, and encoder and decoder together."""
    ids, visible = make_texts()
    states = model.encode_image(pixels)
    image_kv = model.project_image(states, "bidirectional")
    images = len(image_kv)
    encoded = pack_pass(ids, visible, "bidirectional", images, first_states_only=True)
    decoded = pack_pass(ids, visible, "causal", images)
    return (
        model.image_features(states),
        model.text.first_states(ids, visible),
        *model.text.forward_packed(image_kv, encoded, decoded),
    )


def outputs_and_gradients(
    compute: Callable[[Blip, torch.Tensor], tuple[torch.Tensor, ...]],
    dtype: torch.dtype,
    *,
    enabled: bool,
) -> dict[str, torch.Tensor]:
    model = make_model(dtype)
    pixels = torch.randn(
        3, 3, 32, 32, dtype=dtype, generator=torch.Generator().manual_seed(2)
    ).requires_grad_()
    with kernels(enabled):
        outputs = compute(model, pixels)
        source = torch.Generator().manual_seed(3)
        weights = [torch.randn(o.shape, dtype=dtype, generator=source) for o in outputs]
        sum((o * w).sum() for o, w in zip(outputs, weights, strict=True)).backward()
    found = {f"output {number}": output.detach() for number, output in enumerate(outputs)}
    assert pixels.grad is not None
    found["pixels"] = pixels.grad
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            found[name] = parameter.grad
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_padded_packed_and_kernels_agree_in_outputs_and_every_gradient(dtype: torch.dtype) -> None:
    plain = outputs_and_gradients(padded, dtype, enabled=False)
    assert len(plain) > 50
    for compute, enabled in ((packed, False), (padded, True), (packed, True)):
        found = outputs_and_gradients(compute, dtype, enabled=enabled)
        assert found.keys() == plain.keys()
        for name, expected in plain.items():
            # Relative to the largest element: sums of many terms round by what is summed.
            scale = expected.abs().max().clamp(min=1.0)
            torch.testing.assert_close(
                found[name] / scale,
                expected / scale,
                **CLOSE[dtype],
                msg=f"{compute.__name__}, kernels {enabled}: {name} differs",
            )


def test_decoding_agrees() -> None:
    logits: list[torch.Tensor] = []
    for enabled in (False, True):
        model = make_model(torch.float32)
        pack_weights(model)
        with kernels(enabled), torch.inference_mode():
            pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
            session = DecodingSession(
                model, model.project_image(model.encode_image(pixels), "causal")
            )
            parts = [session(torch.tensor([[token], [token + 1]])) for token in (1, 7, 4)]
        logits.append(torch.stack(parts))
    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)


@x86
def test_the_switch_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[torch.Size] = []
    multiply = onednn.multiply

    def spy(input: torch.Tensor, *rest: torch.Tensor | None) -> torch.Tensor:
        calls.append(input.shape)
        return multiply(input, *rest)

    monkeypatch.setattr(onednn, "multiply", spy)
    outputs_and_gradients(packed, torch.float32, enabled=False)
    assert not calls
    outputs_and_gradients(packed, torch.float32, enabled=True)
    assert calls
    model = make_model(torch.float32)
    pack_weights(model)
    weight = model.text.layers[0].mlp.select("causal").input
    with torch.inference_mode():
        assert weight.packed.of(weight.weight) is not None
        with kernels(False):
            assert weight.packed.of(weight.weight) is None


def test_the_switch_is_turned_back_and_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = kernels_enabled()
    with kernels(not before):
        assert kernels_enabled() is not before
    assert kernels_enabled() is before
    for value, expected in (("on", True), ("off", False)):
        monkeypatch.setenv(switch.VARIABLE, value)
        assert switch._read_environment() is expected
    monkeypatch.setenv(switch.VARIABLE, "maybe")
    with pytest.raises(UsageError, match="BLIP_KERNELS must be on or off, got 'maybe'"):
        switch._read_environment()
    monkeypatch.delenv(switch.VARIABLE)
    assert switch._read_environment()
