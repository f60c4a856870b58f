"""The loss of VisDial, an ITM: is an answer true of its question, given image and dialogue?"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from blip.nn.device import send
from blip.nn.precision import at_least_float32
from blip.objectives.lm import select_rows


class AnswersOutput(NamedTuple):
    """The loss, and how often the true answer was the best of its candidates."""

    loss: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]


def true_answer_loss(
    logits: Float[Tensor, "answers 2"],
    true: Bool[Tensor, " answers"],
    dialogue_of_answer: Int[Tensor, " answers"],
    dialogues: int,
) -> AnswersOutput:
    """Two-class cross-entropy of candidate answers, a mean over the questions (section 5.5).

    The true answer of a question counts as much as its false ones together. Of these each counts by
    how true the model finds it (a softmax of `answer_scores`, without a gradient): what is expected
    of one hard negative that is drawn with this probability, as ITM draws it in pre-training.
    `logits` are those of `DialogueModel.answer_logits`. With `true` and `dialogue_of_answer` on the
    CPU, nothing waits for a GPU. With several processes of equally many
    questions, the mean of their losses is the loss of all.
    """
    logits = at_least_float32(logits)
    of, is_true = send(dialogue_of_answer, logits.device), send(true, logits.device)
    scores = answer_scores(logits.detach())
    lowest = scores.new_full((dialogues,), -torch.inf)
    hardest = lowest.scatter_reduce(0, of, scores.masked_fill(is_true, -torch.inf), "amax")
    false = (scores - hardest[of]).exp().masked_fill(is_true, 0.0)
    total = torch.zeros_like(lowest).index_add(0, of, false)
    weights = 0.5 * torch.where(is_true, 1.0, false / total[of])
    losses = cross_entropy(logits, is_true.long(), reduction="none")
    right = select_rows(scores, true) > hardest[select_rows(of, true)]
    return AnswersOutput((weights * losses).sum() / dialogues, right.to(logits.dtype).mean())


def answer_scores(logits: Float[Tensor, "answers 2"]) -> Float[Tensor, " answers"]:
    """By what candidates are ranked: how much more is for an answer than against it."""
    return logits[:, 1] - logits[:, 0]
