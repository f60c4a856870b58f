"""Zero-shot video retrieval: recall at 1, 5 and 10, median and mean rank (BLIP, section 5.6)."""

from dataclasses import replace
from typing import Any

import numpy as np

from blip import dist
from blip.data.examples.video_set import VideoSet
from blip.evaluation.config import EvaluateConfig, RetrievalEvaluationConfig
from blip.evaluation.ranking import Ranking, ScoredPairs, score_candidates
from blip.evaluation.retrieval import REPORTED
from blip.evaluation.subject import Subject
from blip.metrics.retrieval import first_ranks, recalls
from blip.model.blip import Blip
from blip.model.config import ModelConfig

FRAMES = 8
"""Of each video, where no number is given (BLIP, section 5.6)."""


def measure(subject: Subject[VideoSet]) -> dict[str, Any]:
    """`video_retrieval`: tr1 ... tr10 of a video's texts, vr1 ... vr10 of a text's video, ranks.

    `retrieval_score` is the score that ranked, and `retrieval_by_score` has the same figures by the
    published logit of a match and by its log-probability, whichever is chosen.
    """
    config = subject.config.retrieval
    scored = score_videos(subject, config)
    if not dist.is_main():
        return {}
    chosen = config.score_of(subject.origin)
    by_score = {
        score: retrieval_figures(scored.rank(score, config.itc_weight))
        for score in dict.fromkeys((*REPORTED, chosen))
    }
    return {
        "video_retrieval": by_score[chosen],
        "retrieval_score": chosen,
        "retrieval_by_score": by_score,
    }


def score_videos(subject: Subject[VideoSet], config: RetrievalEvaluationConfig) -> ScoredPairs:
    """The candidates of all videos and texts; `config.batch_size` counts frames."""
    model, data = subject.model, subject.data
    assert isinstance(model, Blip)
    config = replace(config, batch_size=max(1, config.batch_size // data.frames))
    return score_candidates(model, subject.tokenizer, data, config, show_progress=True)


def read(config: EvaluateConfig, model: ModelConfig) -> VideoSet:
    """The videos and texts that a configuration names."""
    size, frames = model.vision.image_size, config.frames or FRAMES
    return VideoSet(config.data, size, frames, "texts", max_pixels=config.max_pixels)


def retrieval_figures(ranking: Ranking) -> dict[str, float]:
    """Recalls in per cent, and the median and the mean rank of the first right one, both ways.

    `tr`: a video's texts, `vr`: a text's video. Equal scores are averaged over all their orders.
    """
    found = recalls(ranking.image_to_text, ranking.text_to_image, ranking.texts_of_image)
    figures = {name.replace("ir", "vr"): value for name, value in found.items()}
    for name, ranks in ranks_of(ranking).items():
        figures[f"{name}_median_rank"] = float(np.median(ranks))
        figures[f"{name}_mean_rank"] = float(ranks.mean())
    return figures


def ranks_of(ranking: Ranking) -> dict[str, np.ndarray]:
    """The rank of the first right one, from 1: `tr` of each video's texts, `vr` of each text's."""
    own = ranking.texts_of_image
    texts = np.array([text for of_video in own for text in of_video], dtype=np.int64)
    videos = np.repeat(np.arange(len(own)), [len(of_video) for of_video in own])
    return {
        "tr": first_ranks(ranking.image_to_text, videos, texts),
        "vr": first_ranks(ranking.text_to_image, texts, videos),
    }
