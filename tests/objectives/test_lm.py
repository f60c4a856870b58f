"""LM: padding and prompt are not scored; smoothing is the textbook's."""

import torch

from blip.objectives.lm import next_tokens, scored_positions, token_cross_entropy


def test_prompt_and_padding_are_left_out() -> None:
    #            [DEC] a  picture of dog [SEP] pad
    ids = torch.tensor([[37, 5, 6, 7, 8, 2, 0], [37, 5, 6, 7, 9, 10, 2]])
    visible = ids != 0
    scored = scored_positions(visible, prompt_tokens=3)
    assert next_tokens(ids, scored).tolist() == [8, 2, 9, 10, 2]
    assert next_tokens(ids, scored_positions(visible)).tolist() == [
        5,
        6,
        7,
        8,
        2,
        5,
        6,
        7,
        9,
        10,
        2,
    ]


def test_smoothed_loss_by_hand() -> None:
    logits, targets = torch.randn(5, 7), torch.tensor([0, 6, 3, 3, 1])
    log_probabilities = logits.log_softmax(dim=1)
    right = -log_probabilities[torch.arange(5), targets]
    everything = -log_probabilities.mean(dim=1)
    expected = (0.9 * right + 0.1 * everything).mean()
    torch.testing.assert_close(token_cross_entropy(logits, targets, 0.1), expected)


def test_a_batch_with_nothing_to_score_costs_nothing_and_still_has_a_gradient() -> None:
    logits = torch.empty(0, 7, requires_grad=True)
    loss = token_cross_entropy(logits, torch.empty(0, dtype=torch.int64), 0.1)
    loss.backward()
    assert loss.item() == 0.0
