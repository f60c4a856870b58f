"""Zero-shot video retrieval: recall at 1, 5 and 10, median and mean rank (BLIP, section 5.6)."""

from dataclasses import replace
from typing import Any

import numpy as np

from blip.data.examples.video_set import VideoSet
from blip.evaluation.config import EvaluateConfig
from blip.evaluation.ranking import Ranking, rank
from blip.evaluation.subject import Subject
from blip.metrics.retrieval import first_ranks, recalls
from blip.model.blip import Blip
from blip.model.config import ModelConfig

FRAMES = 8
"""Of each video, where no number is given (BLIP, section 5.6)."""


def measure(subject: Subject[VideoSet]) -> dict[str, Any]:
    """`video_retrieval`: tr1 ... tr10 of a video's texts, vr1 ... vr10 of a text's video, ranks."""
    model, data, config = subject.model, subject.data, subject.config
    assert isinstance(model, Blip)
    # A batch holds so many frames.
    videos = max(1, config.retrieval.batch_size // data.frames)
    chosen = config.retrieval.score_of(subject.origin)
    retrieval = replace(config.retrieval, batch_size=videos, score=chosen)
    ranking = rank(model, subject.tokenizer, data, retrieval, show_progress=True)
    return {"video_retrieval": retrieval_figures(ranking)}


def read(config: EvaluateConfig, model: ModelConfig) -> VideoSet:
    """The videos and texts that a configuration names."""
    size, frames = model.vision.image_size, config.frames or FRAMES
    return VideoSet(config.data, size, frames, "texts", max_pixels=config.max_pixels)


def retrieval_figures(ranking: Ranking) -> dict[str, float]:
    """Recalls in per cent, and the median and the mean rank of the first right one, both ways.

    `tr`: a video's texts, `vr`: a text's video. Equal scores are averaged over all their orders.
    """
    own = ranking.texts_of_image
    texts = np.array([text for of_video in own for text in of_video], dtype=np.int64)
    videos = np.repeat(np.arange(len(own)), [len(of_video) for of_video in own])
    found = recalls(ranking.image_to_text, ranking.text_to_image, own)
    figures = {name.replace("ir", "vr"): value for name, value in found.items()}
    for name, ranks in (
        ("tr", first_ranks(ranking.image_to_text, videos, texts)),
        ("vr", first_ranks(ranking.text_to_image, texts, videos)),
    ):
        figures[f"{name}_median_rank"] = float(np.median(ranks))
        figures[f"{name}_mean_rank"] = float(ranks.mean())
    return figures
