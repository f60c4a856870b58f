"""ITM: the positive is never drawn, likelier ones are drawn more often, the loss is two-class."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blip import dist
from blip.data.tokenizer import Texts
from blip.objectives.itm import gather_texts, match_cross_entropy, sample_negatives


def noise(rows: int) -> torch.Tensor:
    return torch.empty(2, rows, rows).exponential_()


@given(
    identities=st.lists(st.integers(0, 3), min_size=2, max_size=8).filter(
        lambda x: len(set(x)) > 1
    ),
    spread=st.sampled_from([0.1, 10.0, 1000.0]),
)
def test_no_pair_of_the_same_image_is_ever_sampled(identities: list[int], spread: float) -> None:
    ids = torch.tensor(identities)
    matches = ids[:, None] == ids[None, :]
    # The positive is by far the most similar: a draw that forgot to forbid it would take it.
    scores = torch.randn(len(ids), len(ids)) + spread * matches
    for _ in range(5):
        drawn = sample_negatives(scores, scores.T, matches, noise(len(ids)))
        own = torch.arange(len(ids))
        assert not matches[own, drawn.texts].any()
        assert not matches[drawn.images, own].any()


def test_harder_negatives_are_sampled_in_proportion() -> None:
    torch.manual_seed(0)
    scores = torch.zeros(3, 3)
    scores[0] = torch.tensor([5.0, math.log(3.0), 0.0])
    counts = torch.zeros(3)
    for _ in range(2000):
        counts[sample_negatives(scores, scores.T, torch.eye(3).bool(), noise(3)).texts[0]] += 1
    assert counts[0] == 0
    assert 0.70 < counts[1] / 2000 < 0.80


def test_a_batch_of_one_image_still_samples() -> None:
    everything = torch.ones(3, 3).bool()
    drawn = sample_negatives(torch.randn(3, 3), torch.randn(3, 3), everything, noise(3))
    assert drawn.images.shape == drawn.texts.shape == (3,)


def test_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    loss = match_cross_entropy(logits, torch.tensor([True, False]), count=2)
    torch.testing.assert_close(loss, torch.tensor((math.log(4 / 3) + math.log(2)) / 2))


def test_texts_of_other_processes_come_without_waiting_for_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gathered: list[str] = []

    def all_reduce(length: torch.Tensor, op: object) -> None:
        assert length.is_cpu
        length.clamp_(min=5)

    def all_gather(parts: list[torch.Tensor], rows: torch.Tensor) -> None:
        gathered.append(rows.device.type)
        for part in parts:
            part.copy_(rows)

    monkeypatch.setattr(dist, "world_size", lambda: 2)
    monkeypatch.setattr(dist.distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(dist.distributed, "all_gather", all_gather)
    visible = torch.tensor([[True, True, True], [True, True, False]])
    # No value of a tensor on this device can be read.
    texts = gather_texts(Texts(torch.ones(2, 3, dtype=torch.int64, device="meta"), visible))
    assert (texts.ids.device.type, texts.ids.shape) == ("meta", (4, 5))
    assert (
        texts.visible.tolist()
        == [[True, True, True, False, False]] * 2 + [[True, True, False, False, False]] * 2
    )
    assert gathered == ["meta", "cpu"]
