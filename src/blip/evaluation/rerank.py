"""ITM of many pairs: each image is projected once, and texts of several images share a call."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from blip.data.tokenizer import Texts
from blip.evaluation.config import MatchScore
from blip.model.blip import Blip

TOKENS_AT_A_TIME = 8192
"""Tokens of texts that the grounded encoder reads in one call; memory does not grow beyond."""

BEGUN_BYTES = 1 << 26
"""Most memory for what all images share of the texts; without it each pair reads its whole text."""

TextsOfImage = tuple[int, np.ndarray]
"""An image's number in its batch, and the numbers of the texts that are scored with it."""


@dataclass(frozen=True, slots=True)
class Call:
    """Some images of a batch, and the texts that are scored with each."""

    texts_of_images: list[TextsOfImage]

    @property
    def images(self) -> list[int]:
        """Numbers in the batch."""
        return [image for image, _ in self.texts_of_images]


def split_into_calls(texts_of_images: list[TextsOfImage], lengths: np.ndarray) -> Iterator[Call]:
    """Cut the pairs of a batch into calls of about `TOKENS_AT_A_TIME` tokens, in their order.

    `lengths` has the tokens of every text.
    """
    waiting: list[TextsOfImage] = []
    room = TOKENS_AT_A_TIME
    for image, texts in texts_of_images:
        rest = texts
        while len(rest):
            ends = np.cumsum(lengths[rest])
            fitting = int(np.searchsorted(ends, room, side="right"))
            if fitting == 0 and waiting:
                yield Call(waiting)
                waiting, room = [], TOKENS_AT_A_TIME
                continue
            # A text that is longer than a whole call goes alone.
            taken = max(fitting, 1)
            waiting.append((image, rest[:taken]))
            room -= int(ends[taken - 1])
            rest = rest[taken:]
    if waiting:
        yield Call(waiting)


class Reranker:
    """Matches pairs with a model's grounded encoder."""

    def __init__(self, model: Blip, texts: Texts) -> None:
        """`texts` begin with `[ENC]` and lie on the CPU."""
        self.model, self.texts = model, texts
        self.lengths = texts.visible.sum(dim=1).numpy()
        size = int(self.lengths.sum()) * model.config.text.width * model.dtype.itemsize
        self.begun = (
            model.begin_texts(texts.ids.to(model.device), texts.visible)
            if size <= BEGUN_BYTES
            else None
        )

    def logits(
        self, states: Float[Tensor, "batch tokens width"], texts_of_images: list[TextsOfImage]
    ) -> Float[np.ndarray, "pairs 2"]:
        """The logits against and for a match of each text of each image, float32, in order."""
        found = [
            self._logits_of(states, call)
            for call in split_into_calls(texts_of_images, self.lengths)
        ]
        return np.concatenate([np.zeros((0, 2), np.float32), *found])

    def _logits_of(self, states: Tensor, call: Call) -> np.ndarray:
        index = torch.from_numpy(np.concatenate([texts for _, texts in call.texts_of_images]))
        counts = torch.tensor([len(texts) for _, texts in call.texts_of_images])
        image_of_text = torch.arange(len(counts)).repeat_interleave(counts)
        image_kv = self.model.project_image(states[call.images], "bidirectional")
        if self.begun is not None:
            logits = self.model.match_begun(self.begun, index, image_kv, image_of_text)
        else:
            visible = self.texts.visible[index]
            longest = int(visible.sum(dim=1).max())
            ids = self.texts.ids[index, :longest].to(states.device)
            logits = self.model.match_logits(ids, visible[:, :longest], image_kv, image_of_text)
        return logits.float().cpu().numpy()


def _log_probability(logits: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return -np.logaddexp(0, logits[:, 0] - logits[:, 1])


MATCH_SCORES: dict[MatchScore, Callable[[np.ndarray], np.ndarray]] = {
    "logit": lambda logits: logits[:, 1],
    "log_probability": _log_probability,
    "probability": lambda logits: np.exp(_log_probability(logits)),
}
"""From the two logits of ITM `(pairs, 2)` to what is added to the cosine `(pairs,)`, float32."""
