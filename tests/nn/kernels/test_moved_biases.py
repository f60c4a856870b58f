"""Biases that move out of the way of residuals change no result beyond rounding."""

import copy
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from blip.model.blip import Blip
from blip.model.decoding import DecodingSession
from blip.model.pair import PairModel
from blip.nn import bert
from blip.nn.kernels.moved_biases import MovedBiases, moved_biases_fit
from blip.train.config import OptimizerConfig
from blip.train.optim import make_optimizer
from blip.train.parallelize import recompute_layers
from tests.support.on_gpu import OnGpu
from tests.support.tiny import TINY, tiny_model, tiny_texts


@pytest.fixture
def model() -> Blip:
    model = tiny_model()
    with torch.no_grad():
        for parameter in model.parameters():
            # Biases and norms of a new model are zeros and ones.
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def outputs(model: Blip) -> list[torch.Tensor]:
    torch.manual_seed(1)
    ids, visible = tiny_texts(4)
    states = model.encode_image(torch.randn(2, 3, 32, 32))
    image_kv = model.project_image(states, "bidirectional")
    session = DecodingSession(model, image_kv, copies=2)
    return [
        model.text_features(ids, visible),
        model.match_logits(ids, visible, image_kv),
        model.decode(ids, visible, image_kv)[visible],
        session(ids[:, :2]),
        session(ids[:, 2:3]),
    ]


@torch.no_grad()
def test_outputs_stay_the_same(model: Blip, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = outputs(model)
    monkeypatch.setattr(bert, "moved_biases_fit", lambda _: True)
    assert model.text.for_inference("causal", grounded=True) is not model.text
    torch.testing.assert_close(outputs(model), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_they_are_moved_once_and_again_after_a_change(
    model: Blip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bert, "moved_biases_fit", lambda _: True)
    first = model.text.for_inference("causal", grounded=True)
    assert model.text.for_inference("causal", grounded=True) is first
    assert model.text.for_inference("causal", grounded=False) is not first
    model.text.text_layers()[0].mlp.select("causal").output.bias.add_(1.0)
    changed = outputs(model)
    monkeypatch.undo()
    torch.testing.assert_close(changed, outputs(model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("recomputed", [False, True])
def test_they_follow_the_training(
    model: Blip, recomputed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if recomputed:
        recompute_layers(model)
    optimizer = make_optimizer(model, OptimizerConfig(lr=1e-2))
    for _ in range(2):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        with torch.no_grad():
            expected = outputs(model)
            with monkeypatch.context() as patch:
                patch.setattr(bert, "moved_biases_fit", lambda _: True)
                torch.testing.assert_close(outputs(model), expected, rtol=1e-4, atol=1e-4)


def test_the_model_stays_as_it_is(model: Blip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bert, "moved_biases_fit", lambda _: True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        outputs(model)
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)
    assert copy.deepcopy(model).text._moved.keys() == model.text._moved.keys()
    assert vars(pickle.loads(pickle.dumps(MovedBiases()))) == vars(MovedBiases())


def test_they_are_for_inference_mode_on_a_gpu() -> None:
    """Under `no_grad` alone momentum encoders run, whose copies would be made at each step."""
    weight = torch.zeros(1).as_subclass(OnGpu)
    with torch.no_grad():
        assert not moved_biases_fit(weight)
    with torch.inference_mode():
        assert moved_biases_fit(weight)
        assert not moved_biases_fit(torch.zeros(1))


def test_a_model_in_training_or_on_a_cpu_or_of_pairs_keeps_its_biases(
    model: Blip, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not moved_biases_fit(next(model.parameters()))
    assert model.text.for_inference("causal", grounded=True) is model.text
    monkeypatch.setattr(bert, "moved_biases_fit", lambda _: True)
    model.train()
    assert model.text.for_inference("causal", grounded=True) is model.text
    pairs = PairModel(replace(TINY, architecture="nlvr", modes=("bidirectional",))).eval()
    assert pairs.text.for_inference("bidirectional", grounded=True) is pairs.text


@torch.no_grad()
def test_a_sharded_model_keeps_its_biases(
    model: Blip, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Its weights change without a trace while they are shards, and its layers cannot be copied.
    monkeypatch.setattr(bert, "moved_biases_fit", lambda _: True)
    store = (tmp_path / "store").as_uri()
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        layer = model.text.text_layers()[0].mlp.select("causal")
        fully_shard(layer, mesh=init_device_mesh("cpu", (1,)))
        assert model.text.for_inference("causal", grounded=True) is model.text
    finally:
        torch.distributed.destroy_process_group()
