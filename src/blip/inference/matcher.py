"""Pictures and texts in, how well they match out; all texts of a picture are scored in one call."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from blip.data.captions import clean_caption
from blip.data.tokenizer import Texts, Tokenizer
from blip.inference.checkpoint import load_model
from blip.inference.pixels import Picture, to_pixels
from blip.model.blip import Blip
from blip.nn.linear import pack_weights


class Scores(NamedTuple):
    """How one text stands to one picture."""

    probability: float
    """ITM: that they match, 0 to 1."""
    cosine: float
    """ITC: how alike their features are, -1 to 1."""


class Matcher:
    """Judges texts against pictures with a model's grounded encoder and its unimodal encoders."""

    def __init__(self, model: Blip, tokenizer: Tokenizer, max_tokens: int = 35) -> None:
        self.model = model.eval()
        pack_weights(self.model)
        self.tokenizer = tokenizer
        self.max_tokens = min(max_tokens, model.config.text.positions)

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> "Matcher":
        """Open a checkpoint; raises UsageError where there is none."""
        loaded = load_model(path, device)
        return cls(loaded.model, loaded.tokenizer)

    def probability(
        self, images: Sequence[Picture], texts: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """ITM probability of each text of each picture (`texts[i]` belong to `images[i]`)."""
        return [[score.probability for score in row] for row in self.scores(images, texts)]

    def cosine(
        self, images: Sequence[Picture], texts: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """ITC cosine of each text of each picture."""
        return [[score.cosine for score in row] for row in self.scores(images, texts)]

    def scores(
        self,
        images: Sequence[Picture],
        texts: Sequence[Sequence[str]],
        batch_size: int = 32,
    ) -> list[list[Scores]]:
        """Both scores of every text; pictures may have different numbers of texts.

        Texts are cleaned as in training and cut to `max_tokens`. Raises ValueError unless there is
        a list of texts for each picture.
        """
        if len(images) != len(texts):
            raise ValueError(f"{len(images)} pictures need as many lists, got {len(texts)}")
        result: list[list[Scores]] = []
        for start in range(0, len(images), batch_size):
            stop = start + batch_size
            result += self._batch(images[start:stop], texts[start:stop])
        return result

    @torch.inference_mode()
    def _batch(
        self, images: Sequence[Picture], texts: Sequence[Sequence[str]]
    ) -> list[list[Scores]]:
        most = max((len(row) for row in texts), default=0)
        if most == 0:
            return [[] for _ in images]
        size, device = self.model.config.vision.image_size, self.model.device
        states = self.model.encode_image(to_pixels(images, size, device))
        # Every picture gets the same number of texts; the fillers are the shortest there can be.
        padded = [[clean_caption(t) for t in row] + [""] * (most - len(row)) for row in texts]
        encoded = self.tokenizer.encode([t for row in padded for t in row], self.max_tokens)
        probability, cosine = self._score(states, encoded.to(device))
        return [
            [Scores(float(probability[place, n]), float(cosine[place, n])) for n in range(len(row))]
            for place, row in enumerate(texts)
        ]

    def _score(self, states: Tensor, texts: Texts) -> tuple[Tensor, Tensor]:
        model, images = self.model, len(states)
        memory = model.project_image(states, "bidirectional")
        start = texts.start_with(self.tokenizer.enc_id)
        logits = model.match_logits(start.ids, start.visible, memory)
        features = model.text_features(texts.ids, texts.visible)
        cosine = model.image_features(states)[:, None] * features.view(
            images, -1, features.shape[1]
        )
        return logits.softmax(dim=1)[:, 1].view(images, -1), cosine.sum(dim=2)
