"""The loss of NLVR2: is a statement about two images true?"""

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from blip.nn.precision import at_least_float32


class StatementOutput(NamedTuple):
    """The loss of a step, and how many of its statements were classified correctly."""

    loss: Tensor
    accuracy: Tensor

    def parts(self) -> dict[str, Tensor]:
        """What to log."""
        return {"accuracy": self.accuracy}


def statement_loss(
    logits: Float[Tensor, "statements 2"], labels: Bool[Tensor, " statements"]
) -> StatementOutput:
    """Two-class cross-entropy, a mean over the statements (BLIP, section 5.4); class 1 is "true".

    With several processes of equally many statements, the mean of their losses is the loss of all.
    """
    logits = at_least_float32(logits)
    correct = (logits.detach().argmax(dim=1) == labels).float().mean()
    return StatementOutput(cross_entropy(logits, labels.long()), correct)
