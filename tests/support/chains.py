"""Decoders that are tables: the next token's logits follow from the text so far."""

import torch
from torch import Tensor


class ChainDecoder:
    """A real cache of texts; logits of a text are a fixed random function of all its tokens."""

    def __init__(self, rows: int, vocabulary: int, seed: int = 0, spread: float = 2.0) -> None:
        self.texts: list[list[int]] = [[] for _ in range(rows)]
        self.vocabulary, self.seed, self.spread = vocabulary, seed, spread
        self.reordered = 0

    def __call__(self, ids: Tensor) -> Tensor:
        assert len(ids) == len(self.texts), "fed another number of rows than it holds"
        for text, new in zip(self.texts, ids.tolist(), strict=True):
            text.extend(new)
        return torch.stack([logits_after(text, self) for text in self.texts])

    def reorder(self, index: Tensor) -> None:
        self.texts = [list(self.texts[row]) for row in index.tolist()]
        self.reordered += 1


def logits_after(text: list[int], decoder: ChainDecoder) -> Tensor:
    number = decoder.seed
    for token in text:
        number = (number * 1_000_003 + token + 1) % (2**31)
    return torch.randn(decoder.vocabulary, generator=torch.Generator().manual_seed(number)) * (
        decoder.spread
    )
