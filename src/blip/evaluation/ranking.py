"""Ranking images and texts: all pairs by ITC, then the best again by ITM, grouped by image."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from blip import dist
from blip.data.captions import clean_caption
from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.tokenizer import Texts, Tokenizer
from blip.errors import NotFiniteError
from blip.evaluation.config import RetrievalEvaluationConfig
from blip.model.blip import Blip
from blip.nn.kv import ImageKV

NOT_RANKED = -100.0
"""Score of a pair that ITC did not put among the candidates; below any that ITM gives."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Scores of all pairs, `(images, texts)`, for either direction, and which texts are whose."""

    image_to_text: np.ndarray
    text_to_image: np.ndarray
    texts_of_image: list[list[int]]


@torch.inference_mode()
def rank(
    model: Blip, tokenizer: Tokenizer, data: EvaluationSet, config: RetrievalEvaluationConfig
) -> Ranking:
    """Score every image of `data` with its best texts and every text with its best images.

    As published (section 5.1) a candidate's score is its ITC cosine plus its ITM match logit, and
    what is no candidate comes last. A pair that both directions want is scored once, and all texts
    of an image are scored against one projection of it. Texts are cleaned as in training, and equal
    ones are read once, so that they have equal scores. Processes that train together share the
    images, and all of them return the whole. Raises NotFiniteError where no score is finite.
    """
    device = model.device
    texts = [clean_caption(text) for group in data.texts for text in group]
    different = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    column = torch.tensor([different[text] for text in texts], device=device)
    longest = min(config.max_tokens, model.config.text.positions)
    encoded = tokenizer.encode(list(different), longest).to(device)
    mine = _share(len(data))
    image_features, states = _encode_images(model, data, mine, config.batch_size)
    text_features = torch.cat(
        [
            model.text_features(part.ids, part.visible)
            for part in _batches(encoded, config.batch_size)
        ]
    )
    of_different = image_features @ text_features.T
    cosine = of_different[:, column]
    best_texts = _best(cosine, config.candidates)
    best_images = _best(cosine.T, config.candidates).T
    start = encoded.start_with(tokenizer.enc_id)
    wanted = torch.zeros_like(of_different, dtype=torch.bool)
    # Equal texts are all wanted, or none is.
    wanted[:, column] = best_texts | best_images
    matching = torch.zeros_like(of_different)
    matching[mine.start : mine.stop] = _match(
        model, states, start, wanted[mine.start : mine.stop], config.batch_size
    )
    scores = cosine + dist.total(matching)[:, column]
    if not bool(scores.isfinite().any()):
        raise NotFiniteError(
            "the model's scores are NaN or infinite for every pair; its weights are broken, or its "
            "values overflow"
        )
    ends = np.cumsum([len(group) for group in data.texts]).tolist()
    return Ranking(
        scores.masked_fill(~best_texts, NOT_RANKED).cpu().numpy(),
        scores.masked_fill(~best_images, NOT_RANKED).cpu().numpy(),
        [list(range(end - len(g), end)) for g, end in zip(data.texts, ends, strict=True)],
    )


def _share(images: int) -> range:
    """The images that this process looks at."""
    first, last = (images * place // dist.world_size() for place in (dist.rank(), dist.rank() + 1))
    return range(first, last)


def _encode_images(
    model: Blip, data: EvaluationSet, mine: range, batch_size: int
) -> tuple[Float[Tensor, "images projection"], list[Float[Tensor, "batch tokens width"]]]:
    """Features of all images, and states of this process's."""
    states = []
    dtype = torch.promote_types(model.dtype, torch.float32)
    features = torch.zeros(len(data), model.config.projection, dtype=dtype, device=model.device)
    for start in mine[::batch_size]:
        stop = min(start + batch_size, mine.stop)
        states.append(model.encode_image(data.images(start, stop).to(model.device, model.dtype)))
        features[start:stop] = model.image_features(states[-1])
    return dist.total(features), states


def _batches(texts: Texts, size: int) -> Iterator[Texts]:
    for start in range(0, len(texts.ids), size):
        yield _trim(Texts(texts.ids[start : start + size], texts.visible[start : start + size]))


def _trim(texts: Texts) -> Texts:
    longest = int(texts.visible.sum(dim=1).max())
    return Texts(texts.ids[:, :longest], texts.visible[:, :longest])


def _best(scores: Float[Tensor, "rows columns"], k: int) -> Bool[Tensor, "rows columns"]:
    """The best k of each row, and what equals the last of them."""
    scores = scores.nan_to_num(nan=-torch.inf)
    return scores >= scores.topk(min(k, scores.shape[1]), dim=1).values[:, -1:]


def _match(
    model: Blip,
    states: Iterable[Float[Tensor, "batch tokens width"]],
    texts: Texts,
    wanted: Bool[Tensor, "images texts"],
    batch_size: int,
) -> Float[Tensor, "images texts"]:
    """ITM logits of the wanted pairs, 0 elsewhere; each image is projected once."""
    logits = torch.zeros(wanted.shape, device=wanted.device)
    image = 0
    for batch in states:
        image_kv = model.project_image(batch, "bidirectional")
        for row in range(len(image_kv)):
            index = wanted[image].nonzero().squeeze(1)
            one = image_kv.select(torch.tensor([row], device=index.device))
            logits[image, index] = _match_one(model, one, texts, index, batch_size)
            image += 1
    return logits


def _match_one(
    model: Blip,
    image_kv: ImageKV,
    texts: Texts,
    index: Int[Tensor, " wanted"],
    batch_size: int,
) -> Float[Tensor, " wanted"]:
    # Texts of like length go together, so that none is padded to the longest of all.
    order = index[texts.visible[index].sum(dim=1).argsort()]
    chosen = Texts(texts.ids[order], texts.visible[order])
    parts = [
        model.match_logits(part.ids, part.visible, image_kv)[:, 1]
        for part in _batches(chosen, batch_size)
    ]
    scores = torch.zeros(texts.ids.shape[0], device=index.device)
    scores[order] = torch.cat(parts).float()
    return scores[index]
