"""ITC: equal to a direct computation over concatenated features; its state moves as written."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from blip.objectives.itc import (
    Candidates,
    FeatureQueue,
    MomentumEncoder,
    Similarities,
    image_matches,
    itc_loss,
    pair_matches,
    similarities,
    soft_targets,
)


def unit(rows: int) -> torch.Tensor:
    return normalize(torch.randn(rows, 6), dim=1)


def test_loss_with_a_queue_equals_cross_entropy_over_batch_and_queue() -> None:
    images, texts, temperature = unit(4), unit(4), torch.tensor([0.2])
    momentum_images, momentum_texts, queue_images, queue_texts = unit(4), unit(4), unit(5), unit(5)
    candidates = Candidates(
        torch.cat([momentum_images, queue_images]),
        torch.cat([momentum_texts, queue_texts]),
        pair_matches(torch.arange(4), 9),
    )
    online = similarities(images, texts, candidates, temperature)
    hard = candidates.matches.float()
    loss = itc_loss(online, Similarities(hard, hard))
    to_text = images @ torch.cat([momentum_texts, queue_texts]).T / 0.2
    to_image = texts @ torch.cat([momentum_images, queue_images]).T / 0.2
    own = torch.arange(4)
    expected = (cross_entropy(to_text, own) + cross_entropy(to_image, own)) / 2
    torch.testing.assert_close(loss, expected)


def test_soft_targets_by_hand() -> None:
    momentum = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    matches = torch.tensor([[True, False, True]])
    expected = torch.tensor([[0.4 * 0.5 + 0.3, 0.4 * 0.25, 0.4 * 0.25 + 0.3]])
    torch.testing.assert_close(soft_targets(momentum, matches, 0.4), expected)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9])
def test_soft_targets_are_distributions(alpha: float) -> None:
    matches = image_matches(torch.tensor([3, 3, 8]), torch.tensor([3, 3, 8, 8, -1]))
    targets = soft_targets(torch.randn(3, 5), matches, alpha)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(3))


def test_texts_of_the_same_image_match() -> None:
    matches = image_matches(torch.tensor([4, 4, 9]), torch.tensor([4, 4, 9, 9, -1]))
    expected = [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 1, 0]]
    assert matches.int().tolist() == expected


def test_similarities_are_whole_under_autocast() -> None:
    """At small temperatures half precision is an error of whole units."""
    images, texts = unit(4), unit(4)
    candidates = Candidates(unit(6), unit(6), pair_matches(torch.arange(4), 6))
    temperature = torch.tensor([0.001])
    expected = similarities(images, texts, candidates, temperature)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = similarities(images, texts, candidates, temperature)
    assert torch.equal(found.image_to_text, expected.image_to_text)


def test_the_momentum_encoder_is_a_moving_average() -> None:
    online, module = nn.Linear(3, 2), nn.Linear(3, 2)
    encoder = MomentumEncoder(module, online)
    start = online.weight.detach().clone()
    assert torch.equal(module.weight, start)
    with torch.no_grad():
        online.weight += 1.0
    encoder.update(0.9)
    torch.testing.assert_close(module.weight, start + 0.1)
    assert not any(p.requires_grad for p in module.parameters())


def test_a_parameter_that_the_online_model_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the online model has no parameter 0\.bias"):
        MomentumEncoder(nn.Sequential(nn.Linear(3, 2)), nn.Linear(3, 2))


@given(size=st.integers(0, 9), batches=st.lists(st.integers(1, 12), max_size=6))
def test_the_queue_holds_the_last_pairs(size: int, batches: list[int]) -> None:
    queue = FeatureQueue(size, 2)
    pushed: list[int] = []
    for batch in batches:
        ids = torch.arange(len(pushed), len(pushed) + batch)
        features = ids[:, None].float().expand(-1, 2)
        queue.push(features, -features, ids)
        pushed += ids.tolist()
    contents = queue.contents()
    assert sorted(contents.image_ids.tolist()) == pushed[len(pushed) - min(size, len(pushed)) :]
    assert torch.equal(contents.images[:, 0], contents.image_ids.float())
    assert torch.equal(contents.texts[:, 1], -contents.image_ids.float())


def test_queue_round_trip_and_wrong_size() -> None:
    queue, other = FeatureQueue(4, 2), FeatureQueue(4, 2)
    queue.push(torch.randn(3, 2), torch.randn(3, 2), torch.arange(3))
    other.load_state_dict(queue.state_dict())
    assert torch.equal(other.contents().images, queue.contents().images)
    assert other.next == 3
    with pytest.raises(ValueError, match=r"shape \(5, 2\), the checkpoint's \(4, 2\)"):
        FeatureQueue(5, 2).load_state_dict(queue.state_dict())
