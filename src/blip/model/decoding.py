"""Step-by-step decoding with a cache: what greedy, beam and nucleus decoding call."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip.model.grounded import EncoderDecoder
from blip.nn.device import send
from blip.nn.kv import ImageKV, ImageStates
from blip.nn.precision import at_least_float32


class CachedSession(ABC):
    """Feeds tokens to a decoder and returns the logits of the next ones.

    Row `r` is about image `r // copies`, or answers that question (`QuestionModel`). Keys and
    values of images and questions are never copied for beams or samples; those of the text are
    cached from call to call. A start that all copies of an image share is read once.

    Abstract: a subclass runs the decoder and holds the cache.
    """

    def __init__(self, image_kv: ImageKV | ImageStates, copies: int) -> None:
        self.image_kv = image_kv
        self.copies = copies

    @abstractmethod
    def _length(self) -> int:
        """Number of cached tokens."""

    @abstractmethod
    def _continue(self, ids: Int[Tensor, "rows new"]) -> Float[Tensor, "rows vocabulary"]:
        """Read new tokens, and cache their keys and values; logits after the last."""

    @abstractmethod
    def _reorder_cache(self, index: Int[Tensor, " kept"]) -> None:
        """Row `j` of the cache becomes the old row `index[j]`."""

    @torch.inference_mode()
    def __call__(self, ids: Int[Tensor, "rows new"]) -> Float[Tensor, "rows vocabulary"]:
        """Read new tokens after the earlier ones; logits after the last, in float32 at least."""
        if self._length() == 0 and self.copies > 1:
            firsts = ids[:: self.copies]
            alike = firsts.repeat_interleave(self.copies, dim=0)
            if torch.equal(alike, ids):
                logits = self._continue(firsts)
                rows = torch.arange(len(firsts), device=ids.device)
                rows = rows.repeat_interleave(self.copies)
                self._reorder_cache(rows)
                return logits[rows]
        return self._continue(ids)

    @torch.inference_mode()
    def reorder(self, index: Int[Tensor, " kept"]) -> None:
        """Row `j` becomes the old row `index[j]`, which is on the CPU; rows may be repeated."""
        unchanged = torch.arange(len(self.image_kv) * self.copies)
        if torch.equal(index, unchanged):
            return
        images = index // self.copies
        grouped = len(index) % self.copies == 0 and bool(
            (images.view(-1, self.copies) == images[:: self.copies, None]).all()
        )
        copies = self.copies if grouped else 1
        kept = images[::copies]
        if copies != self.copies or not torch.equal(kept, unchanged[: len(self.image_kv)]):
            self.image_kv = self.image_kv.select(send(kept, self.image_kv.device))
        self.copies = copies
        self._reorder_cache(send(index, self.image_kv.device))


class DecodingSession(CachedSession):
    """A `CachedSession` of a model in torch."""

    def __init__(
        self, model: EncoderDecoder, image_kv: ImageKV | ImageStates, copies: int = 1
    ) -> None:
        super().__init__(image_kv, copies)
        self.model = model
        self.text = model.text.for_inference("causal", grounded=True)
        self.cache = model.text.empty_cache()

    def _length(self) -> int:
        return self.cache.length

    def _continue(self, ids: Int[Tensor, "rows new"]) -> Float[Tensor, "rows vocabulary"]:
        states = self.text.continue_text(ids, self.cache, self.image_kv)
        return at_least_float32(self.model.next_token_logits(states[:, -1]))

    def _reorder_cache(self, index: Int[Tensor, " kept"]) -> None:
        self.cache.reorder(index)
