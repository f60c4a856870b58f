"""Zero-shot answers to questions about videos, and their accuracy (BLIP, section 5.6)."""

from contextlib import nullcontext
from typing import Any

from blip.data.examples.video_set import VideoSet
from blip.data.tokenizer import Tokenizer
from blip.evaluation.config import AnsweringConfig, EvaluateConfig
from blip.evaluation.subject import Subject
from blip.evaluation.vqa import candidates_of
from blip.inference.answerer import QUESTION_FRAMES, Answerer
from blip.inference.pixels import NormalisedImage
from blip.log import progress
from blip.model.config import ModelConfig
from blip.model.question import QuestionModel


def measure(subject: Subject[VideoSet]) -> dict[str, Any]:
    """`video_qa`: accuracy in per cent, None without true answers; `answers`: a row a question.

    An answer is right if it equals a true one, in whatever case. Rows have the keys of MSVD-QA's
    and MSRVTT-QA's files: `{"id", "video_id", "question", "answer"}`.
    """
    model, data = subject.model, subject.data
    assert isinstance(model, QuestionModel)
    answering = subject.config.answering
    batch_size = subject.config.batch_size
    answers = answer_about_videos(
        model, subject.tokenizer, data, answering, batch_size, show_progress=True
    )
    questions = [(key, one) for key, own in zip(data.keys, data.asked, strict=True) for one in own]
    rows = [
        {"id": one.question_id, "video_id": key, "question": one.text, "answer": answer}
        for (key, one), answer in zip(questions, answers, strict=True)
    ]
    scored = [
        answer.strip().lower() in [true.lower() for true in one.answers]
        for (_, one), answer in zip(questions, answers, strict=True)
        if one.answers
    ]
    accuracy = 100.0 * sum(scored) / len(scored) if scored else None
    return {"video_qa": {"accuracy": accuracy}, "answers": rows}


def read(config: EvaluateConfig, model: ModelConfig) -> VideoSet:
    """The videos and questions that a configuration names."""
    size, frames = model.vision.image_size, config.frames or QUESTION_FRAMES
    return VideoSet(config.data, size, frames, "questions", max_pixels=config.max_pixels)


def rows(_: Subject[VideoSet], answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What answers.json holds."""
    return answers


def answer_about_videos(
    model: QuestionModel,
    tokenizer: Tokenizer,
    data: VideoSet,
    config: AnsweringConfig,
    batch_size: int,
    *,
    show_progress: bool = False,
) -> list[str]:
    """An answer to each question, chosen or written from the frames of its video, side by side."""
    answerer, candidates = Answerer(model, tokenizer), candidates_of(config)
    found: list[str] = []
    with progress(len(data), "answer", "videos") if show_progress else nullcontext() as bar:
        for place, questions in enumerate(data.asked):
            video = [NormalisedImage(data.video(place))]
            asked = [[one.text for one in questions]]
            if candidates is None:
                (written,) = answerer.answer(video, asked, config.decoding, batch_size=batch_size)
                found += written
            else:
                (ranked,) = answerer.rank(
                    video, asked, candidates, top_k=config.candidates, batch_size=batch_size
                )
                found += [best.answer for best in ranked]
            if bar is not None:
                bar.advance()
    return found
