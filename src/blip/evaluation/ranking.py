"""Ranking images and texts: all pairs by ITC, then the best again by ITM, grouped by image."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from blip import dist
from blip.data.captions import clean_caption
from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.tokenizer import Texts, Tokenizer
from blip.errors import NotFiniteError
from blip.evaluation.candidates import Candidates, Pairs, best_columns, ranked
from blip.evaluation.config import RetrievalEvaluationConfig
from blip.evaluation.rerank import Reranker
from blip.log import progress
from blip.metrics.retrieval import RankedScores
from blip.model.blip import Blip

STATES_BYTES = 1 << 30
"""Most memory for states of images between ITC and ITM; those beyond are encoded again."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Scores of the candidates of every image and of every text, and which texts are whose."""

    image_to_text: RankedScores
    text_to_image: RankedScores
    texts_of_image: list[list[int]]


@torch.inference_mode()
def rank(
    model: Blip,
    tokenizer: Tokenizer,
    data: EvaluationSet,
    config: RetrievalEvaluationConfig,
    *,
    show_progress: bool = False,
) -> Ranking:
    """Score every image of `data` with its best texts and every text with its best images.

    As published (section 5.1) the k best by ITC cosine are candidates, whose score is that cosine
    plus ITM's (`config.score`); all others come last. A pair that is a candidate in both directions
    is scored once, and all texts of an image are scored against one projection of it. Texts are
    cleaned as in training, and equal ones are read once, so that they have equal scores. Processes
    that train together share the images, and all of them return the whole. Memory grows with the
    number of candidates, not with images times texts. Raises NotFiniteError where no score is
    finite.
    """
    texts = [clean_caption(text) for group in data.texts for text in group]
    distinct = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    text_of = np.array([distinct[text] for text in texts])
    longest = min(config.max_tokens, model.config.text.positions)
    encoded = tokenizer.encode(list(distinct), longest)
    text_features = _encode_texts(model, encoded, config.batch_size)
    images = _Images(model, data, config.batch_size)
    image_features = images.features()
    repeat = torch.from_numpy(text_of).to(model.device)
    of_images = best_columns(image_features, text_features, config.candidates, repeat)
    text_candidates = best_columns(text_features, image_features, config.candidates)
    image_candidates = Candidates(of_images.starts, text_of[of_images.columns])
    pairs = Pairs.from_both_directions(image_candidates, text_candidates, len(distinct))
    reranker = Reranker(model, encoded.start_with(tokenizer.enc_id), config.score)
    weighted = config.itc_weight * image_features
    scores = _score(pairs, reranker, images, weighted, text_features, show_progress)
    if not np.isfinite(scores).any():
        raise NotFiniteError(
            "the model's scores are NaN or infinite for every pair; its weights are broken, or its "
            "values overflow"
        )
    of_texts = text_candidates.repeat(text_of)
    ends = np.cumsum([len(group) for group in data.texts]).tolist()
    return Ranking(
        ranked(
            of_images,
            scores[pairs.find(image_candidates.rows, image_candidates.columns)],
            len(texts),
        ),
        ranked(of_texts, scores[pairs.find(of_texts.columns, text_of[of_texts.rows])], len(data)),
        [list(range(end - len(g), end)) for g, end in zip(data.texts, ends, strict=True)],
    )


def _encode_texts(model: Blip, texts: Texts, batch_size: int) -> Float[Tensor, "texts projection"]:
    """Features of all texts; those of like length are read together."""
    lengths = texts.visible.sum(dim=1)
    order = lengths.argsort(stable=True)
    parts = []
    for index in order.split(batch_size):
        longest = int(lengths[index].max())
        parts.append(
            model.text_features(
                texts.ids[index, :longest].to(model.device), texts.visible[index, :longest]
            )
        )
    return torch.cat(parts)[order.argsort().to(model.device)]


class _Images:
    """This process's share of the images: their features, and then their states once more."""

    def __init__(self, model: Blip, data: EvaluationSet, batch_size: int) -> None:
        self.model, self.data, self.batch_size = model, data, batch_size
        self.share = dist.own_share(len(data))
        self.kept: dict[int, Tensor] = {}
        self.kept_bytes = 0

    def features(self) -> Float[Tensor, "images projection"]:
        """Features of all images, of all processes."""
        model = self.model
        dtype = torch.promote_types(model.dtype, torch.float32)
        features = torch.zeros(
            len(self.data), model.config.projection, dtype=dtype, device=model.device
        )
        for start in self.share[:: self.batch_size]:
            states = self._encode(start)
            features[start : start + len(states)] = model.image_features(states)
            if self.kept_bytes + states.nbytes <= STATES_BYTES:
                self.kept[start] = states
                self.kept_bytes += states.nbytes
        return dist.total(features)

    def states(self) -> Iterator[tuple[int, Float[Tensor, "batch tokens width"]]]:
        """The first image of each batch, and the batch's states; they can be had once."""
        for start in self.share[:: self.batch_size]:
            kept = self.kept.pop(start, None)
            yield start, self._encode(start) if kept is None else kept

    def _encode(self, start: int) -> Tensor:
        pixels = self.data.images(start, min(start + self.batch_size, self.share.stop))
        return self.model.encode_image(pixels.to(self.model.device, self.model.dtype))


def _score(
    pairs: Pairs,
    reranker: Reranker,
    images: _Images,
    image_features: Float[Tensor, "images projection"],
    text_features: Float[Tensor, "texts projection"],
    show_progress: bool,
) -> np.ndarray:
    """Cosine and ITM score of every pair, added; in all processes."""
    scores = np.zeros(len(pairs.codes), dtype=np.float32)
    with (
        progress(len(images.share), "re-ranking", "images")
        if show_progress and dist.is_main()
        else nullcontext()
    ) as bar:
        for start, states in images.states():
            texts = [pairs.texts_of(start + number) for number in range(len(states))]
            found = reranker.scores(states, list(enumerate(texts)))
            cosines = [
                text_features[torch.from_numpy(of).to(text_features.device)]
                @ image_features[start + number]
                for number, of in enumerate(texts)
            ]
            place = pairs.slice_of(start, start + len(states))
            scores[place] = found + torch.cat(cosines).float().cpu().numpy()
            if bar is not None:
                bar.advance(len(states))
    return dist.total(torch.from_numpy(scores).to(text_features.device)).cpu().numpy()
