"""A batch of pairs: how many it holds, and how it comes from a worker to a GPU."""

import pickle
from dataclasses import FrozenInstanceError

import pytest
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Texts


@pytest.fixture
def batch() -> PairBatch:
    texts = Texts(torch.ones(3, 5, dtype=torch.int64), torch.ones(3, 5, dtype=torch.bool))
    return PairBatch(torch.randn(3, 3, 8, 8), texts, torch.arange(3), ("a", "b", "c"))


def test_its_length_is_the_number_of_pairs_and_it_cannot_change(batch: PairBatch) -> None:
    assert len(batch) == 3
    with pytest.raises(FrozenInstanceError):
        batch.keys = ()


def test_it_travels_between_processes(batch: PairBatch) -> None:
    arrived = pickle.loads(pickle.dumps(batch))
    assert torch.equal(arrived.images, batch.images)
    assert torch.equal(arrived.texts.visible, batch.texts.visible)
    assert arrived.keys == batch.keys


def test_the_lengths_of_texts_stay_on_the_cpu(batch: PairBatch) -> None:
    moved = batch.to("meta")
    assert {moved.images.device.type, moved.texts.ids.device.type} == {"meta"}
    assert moved.image_ids.is_meta
    assert moved.texts.visible.device.type == "cpu"


def test_torchs_loader_pins_every_tensor(batch: PairBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinned memory needs a GPU; that it is asked for shows without one."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    pinned, others = pin_memory((batch, []))
    assert torch.equal(pinned.images, batch.images + 1)
    assert torch.equal(pinned.texts.ids, batch.texts.ids + 1)
    assert torch.equal(pinned.texts.visible, batch.texts.visible + 1)
    assert torch.equal(pinned.image_ids, batch.image_ids + 1)
    assert (pinned.keys, others) == (batch.keys, [])
