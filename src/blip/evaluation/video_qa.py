"""Zero-shot answers to questions about videos, and their accuracy (BLIP, section 5.6)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from blip import dist
from blip.data.examples.video_set import VideoSet
from blip.data.tokenizer import Tokenizer
from blip.evaluation.batches import in_batches
from blip.evaluation.config import AnsweringConfig, EvaluateConfig
from blip.evaluation.subject import Subject
from blip.evaluation.vqa import answer_some, candidates_of
from blip.evaluation.written import is_one_of
from blip.inference.answerer import QUESTION_FRAMES, Answerer
from blip.inference.pixels import NormalisedImage
from blip.model.config import ModelConfig
from blip.model.question import QuestionModel


def measure(subject: Subject[VideoSet]) -> dict[str, Any]:
    """`video_qa`: accuracy in per cent, None without true answers; `answers`: a row a question.

    Rows have the keys of MSVD-QA's and MSRVTT-QA's files: `{"id", "video_id", "question",
    "answer"}`.
    """
    model, data = subject.model, subject.data
    assert isinstance(model, QuestionModel)
    answering = subject.config.answering
    batch_size = subject.config.batch_size
    answer = partial(
        *(answer_about_videos, model, subject.tokenizer, data, answering, batch_size),
        show_progress=True,
    )
    answers = dist.share_out(len(data), answer)
    if answers is None:
        return {}
    questions = [(key, one) for key, own in zip(data.keys, data.asked, strict=True) for one in own]
    rows = [
        {"id": one.question_id, "video_id": key, "question": one.text, "answer": answer}
        for (key, one), answer in zip(questions, answers, strict=True)
    ]
    scores = score_answers(subject, answers)
    scored = [score for score in scores if score is not None]
    accuracy = 100.0 * sum(scored) / len(scored) if scored else None
    return {"video_qa": {"accuracy": accuracy}, "answers": rows}


def read(config: EvaluateConfig, model: ModelConfig) -> VideoSet:
    """The videos and questions that a configuration names."""
    size, frames = model.vision.image_size, config.frames or QUESTION_FRAMES
    return VideoSet(config.data, size, frames, "questions", max_pixels=config.max_pixels)


def rows(_: Subject[VideoSet], answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What answers.json holds."""
    return answers


def score_answers(subject: Subject[VideoSet], answers: Sequence[str]) -> list[float | None]:
    """1 for an answer that equals a true one (`written.is_one_of`), else 0, of each question.

    None for a question without true answers.
    """
    return [
        float(is_one_of(subject.tokenizer, answer, one.answers)) if one.answers else None
        for one, answer in zip(subject.data.questions, answers, strict=True)
    ]


def answer_about_videos(
    model: QuestionModel,
    tokenizer: Tokenizer,
    data: VideoSet,
    config: AnsweringConfig,
    batch_size: int,
    places: range,
    *,
    show_progress: bool = False,
) -> list[str]:
    """An answer to each question about the videos `places`, from their frames, side by side.

    It is chosen or written, as in `vqa.answer_some`.
    """
    answerer, candidates = Answerer(model, tokenizer), candidates_of(config)
    found: list[str] = []
    for some in in_batches(places, 1, "answer", "videos", show_progress=show_progress):
        videos = [NormalisedImage(data.video(place)) for place in some]
        asked = [[one.text for one in data.asked[place]] for place in some]
        found += answer_some(answerer, videos, asked, config, candidates, batch_size)
    return found
