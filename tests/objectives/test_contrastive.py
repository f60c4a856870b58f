"""ITC: equal to a direct computation over concatenated features; soft targets mix as written."""

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from blip.objectives.contrastive import (
    Candidates,
    Similarities,
    contrastive_loss,
    image_matches,
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
    loss = contrastive_loss(online, Similarities(hard, hard))
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
