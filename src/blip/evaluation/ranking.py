"""Ranking images and texts: all pairs by ITC, then the best again by ITM, grouped by image."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip import dist
from blip.data.captions import clean_caption
from blip.data.tokenizer import Texts, Tokenizer
from blip.errors import NotFiniteError
from blip.evaluation import room
from blip.evaluation.candidates import Candidates, Pairs, best_columns
from blip.evaluation.config import MatchScore, RetrievalEvaluationConfig
from blip.evaluation.rerank import MATCH_SCORES, Reranker
from blip.log import progress
from blip.metrics.retrieval import RankedScores
from blip.model.blip import Blip


class RankedSet(Protocol):
    """Images, or videos of the same number of frames, and the texts of each."""

    texts: list[list[str]]
    frames: int
    """Pictures that each consists of."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def images(self, start: int, stop: int) -> Float[Tensor, "images *frames 3 size size"]:
        """Normalised pixels of the images `start` to `stop` (not included)."""
        ...


@dataclass(frozen=True, slots=True)
class Ranking:
    """Scores of the candidates of every image and of every text, and which texts are whose."""

    image_to_text: RankedScores
    text_to_image: RankedScores
    texts_of_image: list[list[int]]


@dataclass(frozen=True, slots=True)
class ScoredPairs:
    """ITC cosine and ITM logits of every candidate; each kind of score makes a ranking of them."""

    of_images: Candidates
    of_texts: Candidates
    pairs: Pairs
    figures: Float[np.ndarray, "pairs 3"]
    """Cosine, logit against a match, logit for it; float32, of images and different texts."""
    text_of: Int[np.ndarray, " texts"]
    """Which of the different texts each text is."""
    texts_of_image: list[list[int]]

    def rank(self, score: MatchScore, itc_weight: float = 1.0) -> Ranking:
        """Rank by the weighted cosine plus what `score` makes of the logits."""
        return self._by(lambda found: itc_weight * found[:, 0] + MATCH_SCORES[score](found[:, 1:]))

    def rank_by_cosine(self) -> Ranking:
        """Rank by ITC alone; recalls up to the number of candidates are those of all pairs."""
        return self._by(lambda found: found[:, 0])

    def _by(self, score: Callable[[np.ndarray], np.ndarray]) -> Ranking:
        of_images, of_texts = self.of_images, self.of_texts

        def score_pairs(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
            return score(self.figures[self.pairs.find(images, self.text_of[texts])])

        image_scores = np.empty(len(of_images.columns), dtype=np.float32)
        for place, images in of_images.blocks():
            image_scores[place] = score_pairs(images, of_images.columns[place])
        text_scores = np.empty(len(of_texts.columns), dtype=np.float32)
        for place, texts in of_texts.blocks():
            text_scores[place] = score_pairs(of_texts.columns[place], texts)
        return Ranking(
            RankedScores(of_images.starts, of_images.columns, image_scores, len(of_texts)),
            RankedScores(of_texts.starts, of_texts.columns, text_scores, len(of_images)),
            self.texts_of_image,
        )


def rank(
    model: Blip,
    tokenizer: Tokenizer,
    data: RankedSet,
    config: RetrievalEvaluationConfig,
    *,
    show_progress: bool = False,
) -> Ranking:
    """Score every image of `data` with its best texts and every text with its best images.

    As published (section 5.1) a candidate's score is its ITC cosine plus ITM's (`config.score`; the
    logit where none is chosen); all others come last. Raises what `score_candidates` raises.
    """
    scored = score_candidates(model, tokenizer, data, config, show_progress=show_progress)
    return scored.rank(config.score_of("released"), config.itc_weight)


@torch.inference_mode()
def score_candidates(
    model: Blip,
    tokenizer: Tokenizer,
    data: RankedSet,
    config: RetrievalEvaluationConfig,
    *,
    show_progress: bool = False,
) -> ScoredPairs:
    """ITM logits of the k best texts of every image and images of every text, by ITC cosine.

    A pair that is a candidate in both directions is scored once, and all texts of an image are
    scored against one projection of it. Texts are cleaned as in training, and equal ones are read
    once, so that they have equal scores. Processes that train together share the images, and all of
    them return the whole. Memory grows with the number of candidates, not with images times texts,
    and what the model holds of images and texts stays within the bytes of `evaluation/room.py`.
    Raises NotFiniteError if no pair has a finite cosine and finite logits.
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
    of_texts = best_columns(text_features, image_features, config.candidates)
    of_distinct = Candidates(of_images.starts, text_of[of_images.columns])
    pairs = Pairs.from_both_directions(of_distinct, of_texts, len(distinct))
    # In place: a copy for half a million texts is large.
    encoded.ids[:, 0] = tokenizer.enc_id
    reranker = Reranker(model, encoded)
    figures = _score(pairs, reranker, images, image_features, text_features, show_progress)
    if not np.isfinite(figures).all(axis=1).any():
        raise NotFiniteError(
            "the model's scores are NaN or infinite for every pair; its weights are broken, or its "
            "values overflow"
        )
    ends = np.cumsum([len(group) for group in data.texts]).tolist()
    own = [list(range(end - len(g), end)) for g, end in zip(data.texts, ends, strict=True)]
    return ScoredPairs(of_images, of_texts.repeat(text_of), pairs, figures, text_of, own)


def _encode_texts(model: Blip, texts: Texts, batch_size: int) -> Float[Tensor, "texts projection"]:
    """Features of all texts; those of like length are read together."""
    lengths = texts.visible.sum(dim=1)
    batch_size = min(batch_size, room.fitting(room.TOKENS_AT_A_TIME, texts.ids.shape[1]))
    features = _empty_features(model, len(lengths))
    for index in lengths.argsort(stable=True).split(batch_size):
        longest = int(lengths[index].max())
        features[index.to(model.device)] = model.text_features(
            texts.ids[index, :longest].to(model.device), texts.visible[index, :longest]
        )
    return features


def _empty_features(model: Blip, count: int) -> Float[Tensor, "count projection"]:
    dtype = torch.promote_types(model.dtype, torch.float32)
    return torch.zeros(count, model.config.projection, dtype=dtype, device=model.device)


class _Images:
    """This process's share of the images: their features, and then their states once more."""

    def __init__(self, model: Blip, data: RankedSet, batch_size: int) -> None:
        self.model, self.data = model, data
        each = room.encoding_bytes(model.config, data.frames, model.dtype.itemsize)
        self.batch_size = min(batch_size, room.fitting(room.ENCODING_BYTES, each))
        self.share = dist.own_share(len(data))
        self.kept: dict[int, Tensor] = {}
        self.kept_bytes = 0

    def features(self) -> Float[Tensor, "images projection"]:
        """Features of all images, of all processes."""
        model = self.model
        features = _empty_features(model, len(self.data))
        for start in self.share[:: self.batch_size]:
            states = self._encode(start)
            features[start : start + len(states)] = model.image_features(states)
            if self.kept_bytes + states.nbytes <= room.STATES_BYTES:
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
        return self.model.encode_pixels(pixels.to(self.model.device, self.model.dtype))


def _score(
    pairs: Pairs,
    reranker: Reranker,
    images: _Images,
    image_features: Float[Tensor, "images projection"],
    text_features: Float[Tensor, "texts projection"],
    show_progress: bool,
) -> Float[np.ndarray, "pairs 3"]:
    """Cosine and ITM logits of every pair, in all processes."""
    figures = np.zeros((len(pairs.codes), 3), dtype=np.float32)
    with (
        progress(len(images.share), "re-ranking", "images")
        if show_progress and dist.is_main()
        else nullcontext()
    ) as bar:
        for start, states in images.states():
            texts = [pairs.texts_of(start + number) for number in range(len(states))]
            cosines = [
                text_features[torch.from_numpy(of).to(text_features.device)]
                @ image_features[start + number]
                for number, of in enumerate(texts)
            ]
            place = pairs.slice_of(start, start + len(states))
            figures[place, 0] = torch.cat(cosines).float().cpu().numpy()
            figures[place, 1:] = reranker.logits(states, list(enumerate(texts)))
            if bar is not None:
                bar.advance(len(states))
    return dist.total(torch.from_numpy(figures).to(text_features.device)).cpu().numpy()
