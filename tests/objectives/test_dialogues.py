"""The loss of candidate answers, beside one written out for each question."""

import torch

from blip.objectives.dialogues import answer_scores, true_answer_loss


def test_loss_and_accuracy_equal_those_written_out() -> None:
    torch.manual_seed(0)
    of = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
    true = torch.tensor([1, 0, 0, 1, 0, 1, 0, 0, 0]).bool()
    logits = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)
    found = true_answer_loss(logits, true, of, 3)
    losses, right = [], []
    for question in range(3):
        mine = logits[of == question].log_softmax(1)
        scores = answer_scores(logits[of == question]).detach()
        hard = scores[1:].softmax(0)
        losses.append(-0.5 * mine[0, 1] - 0.5 * (hard * mine[1:, 0]).sum())
        right.append(float(scores[0] > scores[1:].max()))
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(found.loss, expected)
    assert found.accuracy.item() == sum(right) / 3
    (gradient,) = torch.autograd.grad(found.loss, logits, retain_graph=True)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])


def test_hard_false_answers_count_for_more_and_the_gradient_stays_finite() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 90.0], [90.0, 0.0]], requires_grad=True)
    loss = true_answer_loss(logits, torch.tensor([True, False, False]), torch.zeros(3).long(), 1)
    (gradient,) = torch.autograd.grad(loss.loss, logits)
    assert gradient.isfinite().all()
    assert gradient[1].abs().sum() > 0.9
    assert gradient[2].abs().sum() < 1e-6
    assert loss.accuracy == 0
