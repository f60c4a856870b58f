"""ITM of many pairs: each image is projected once, and texts of several images share a call."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from blip.data.tokenizer import Texts
from blip.evaluation import room
from blip.evaluation.config import MatchScore
from blip.model.blip import Blip
from blip.nn.device import fetch, send
from blip.nn.kv import ImageKV

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


def split_into_calls(
    texts_of_images: list[TextsOfImage], lengths: np.ndarray, most_images: int
) -> Iterator[Call]:
    """Cut the pairs of a batch into calls of at most `TOKENS_AT_A_TIME` tokens, in their order.

    `lengths` has the tokens of every text. The texts of an image stay together where they fit into
    a call; where they do not, its calls hold no other image, and follow each other. A call has at
    most `most_images`, and its tokens, padded to those of the image with most of them, take at most
    twice the memory.
    """
    waiting: list[TextsOfImage] = []
    tokens = longest = 0
    for image, texts in texts_of_images:
        if not len(texts):
            continue
        of_image = int(lengths[texts].sum())
        padded = (len(waiting) + 1) * max(longest, of_image)
        is_full = tokens + of_image > room.TOKENS_AT_A_TIME or padded > 2 * room.TOKENS_AT_A_TIME
        if waiting and (is_full or len(waiting) == most_images):
            yield Call(waiting)
            waiting, tokens, longest = [], 0, 0
        if of_image > room.TOKENS_AT_A_TIME:
            yield from (Call([(image, part)]) for part in _cut(texts, lengths))
            continue
        waiting.append((image, texts))
        tokens, longest = tokens + of_image, max(longest, of_image)
    if waiting:
        yield Call(waiting)


def _cut(texts: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
    """The texts of one image, in parts of as many tokens as a call may have."""
    while len(texts):
        fitting = np.searchsorted(np.cumsum(lengths[texts]), room.TOKENS_AT_A_TIME, side="right")
        # A text that is longer than a whole call goes alone.
        taken = max(int(fitting), 1)
        yield texts[:taken]
        texts = texts[taken:]


class Reranker:
    """Matches pairs with a model's grounded encoder."""

    def __init__(self, model: Blip, texts: Texts) -> None:
        """`texts` begin with `[ENC]` and lie on the CPU."""
        self.model, self.texts = model, texts
        self.lengths = texts.visible.sum(dim=1).numpy()
        size = int(self.lengths.sum()) * model.config.text.width * model.dtype.itemsize
        self.begun = (
            model.begin_texts(texts.ids.to(model.device), texts.visible)
            if size <= room.BEGUN_BYTES
            else None
        )

    def logits(
        self, states: Float[Tensor, "batch tokens width"], texts_of_images: list[TextsOfImage]
    ) -> Float[np.ndarray, "pairs 2"]:
        """The logits against and for a match of each text of each image, float32, in order."""
        each = room.kv_bytes(self.model.config, states.shape[1], states.element_size())
        most = room.fitting(room.KV_BYTES, each)
        computed = list[Callable[[], Tensor]]()
        images, image_kv = list[int](), None
        for call in split_into_calls(texts_of_images, self.lengths, most):
            if image_kv is None or call.images != images:
                # Those of the last call go before these come.
                image_kv = None
                image_kv = self.model.project_image(
                    states.index_select(0, send(torch.tensor(call.images), states.device)),
                    "bidirectional",
                )
                images = call.images
            computed.append(self._logits_of(image_kv, call))
        # Last, so that the next call is made ready while the device computes.
        found = (read().numpy() for read in computed)
        return np.concatenate([np.zeros((0, 2), np.float32), *found])

    def _logits_of(self, image_kv: ImageKV, call: Call) -> Callable[[], Tensor]:
        index = torch.from_numpy(np.concatenate([texts for _, texts in call.texts_of_images]))
        counts = torch.tensor([len(texts) for _, texts in call.texts_of_images])
        image_of_text = torch.arange(len(counts)).repeat_interleave(counts)
        if self.begun is not None:
            logits = self.model.match_begun(self.begun, index, image_kv, image_of_text)
        else:
            visible = self.texts.visible[index]
            longest = int(visible.sum(dim=1).max())
            ids = send(self.texts.ids[index, :longest], self.model.device)
            logits = self.model.match_logits(ids, visible[:, :longest], image_kv, image_of_text)
        return fetch(logits.float())


def _log_probability(logits: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return -np.logaddexp(0, logits[:, 0] - logits[:, 1])


MATCH_SCORES: dict[MatchScore, Callable[[np.ndarray], np.ndarray]] = {
    "logit": lambda logits: logits[:, 1],
    "log_probability": _log_probability,
    "probability": lambda logits: np.exp(_log_probability(logits)),
}
"""From the two logits of ITM `(pairs, 2)` to what is added to the cosine `(pairs,)`, float32."""
