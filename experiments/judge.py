"""Judges a checkpoint on a file, each figure with an interval over the images.

python -m experiments.judge CKPT --data FILE.parquet [--out FILE.json]
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from blip.cli.from_dataclass import Options
from blip.cli.options import DECODING_GROUP, DECODING_HIDDEN, DECODING_NAMES, ModelOptions
from blip.cli.parser import Parser
from blip.config.ranges import BATCH_SIZE, COUNT, PLACE, SEED, SHARE, TOKENS, check_fields
from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.examples.question_set import QuestionSet
from blip.data.examples.statement_set import StatementSet
from blip.data.readers.parquet import open_described
from blip.errors import BlipError, UsageError, plain
from blip.evaluation import video_qa, video_retrieval
from blip.evaluation.config import AnsweringConfig, EvaluateConfig, RetrievalEvaluationConfig
from blip.evaluation.subject import Subject, describe_data
from blip.files import write_json
from blip.generation.config import DecodingConfig
from blip.inference.checkpoint import Loaded, open_checkpoint
from blip.metrics.intervals import LEVEL, RESAMPLES
from blip.model.blip import Blip
from blip.nn.device import choose_device, choose_dtype
from blip.reports.origin import origin
from experiments.judging import (
    Resampling,
    judge_answers,
    judge_captions,
    judge_filter,
    judge_retrieval,
    judge_statements,
    judge_video_answers,
    judge_videos,
    table,
)
from experiments.labels import find_label, read_labelled, write_right

TASKS = ("retrieval", "caption", "filter", "video", "vqa", "video_qa", "nlvr")
EXAMPLES = """\
examples:
  python -m experiments.judge runs/retrieval --data flickr8k/dev.parquet --out judged.json
  python -m experiments.judge runs/captioner --data dev.parquet --prompt 'a picture of '
  python -m experiments.judge runs/filter --data labelled.parquet --label match --threshold 0.25
  python -m experiments.judge runs/vqa --data vqa/questions.parquet --answers vqa/answer_list.json
  python -m experiments.judge runs/vqa --data msvd/test_qa.json --tasks video_qa
  python -m experiments.judge runs/retrieval --data msvd/videos.parquet
  python -m experiments.judge runs/nlvr --data nlvr1/dev.parquet

A MED is judged by retrieval (by ITC alone, and re-ranked by both scores), by captions, and, where
a column match, matches, label, right or correct (or --label) says of every text whether it is
right, as a filter; retrieval and captions then take the right texts alone. A model for questions
is judged by VQA accuracy; the pictures lie in the file, or in a table beside it. A model for pairs
of images is judged by accuracy and consistency. A file of videos is judged by retrieval, zero-shot;
questions about videos where --tasks is video_qa. Intervals come from the bootstrap: images (sets of
pairs, for statements) are drawn with replacement, with all that belongs to them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeOptions:
    """What is judged, by what, and how."""

    checkpoint: Annotated[str, PLACE]
    """Checkpoint or run folder."""
    data: Annotated[str, PLACE]
    """Parquet file to judge with, or other data that `blip evaluate` takes."""
    tasks: tuple[str, ...] = ()
    """What to judge; without it, all that model and file allow."""
    label: str | None = None
    """Column that says whether a text is right."""
    threshold: Annotated[float, SHARE] = 0.5
    """Probability of a match from which a filter keeps a text."""
    candidates: Annotated[int, COUNT] = 128
    """Images, or texts, that ITM re-ranks."""
    max_tokens: Annotated[int, TOKENS] = 35
    """Where texts are cut."""
    answers: Path | None = None
    """VQA: choose among the answers in this file, write none."""
    decoding: DecodingConfig = DecodingConfig(max_length=30)
    batch_size: Annotated[int, BATCH_SIZE] = 64
    """Images, or texts, at a time."""
    model: ModelOptions = ModelOptions()
    resamples: Annotated[int, COUNT] = RESAMPLES
    """Samples of the images that an interval is made of."""
    seed: Annotated[int, SEED] = 0
    """Of these samples."""
    out: Path | None = None
    """JSON file for all figures, captions and answers."""

    def __post_init__(self) -> None:
        """Refuse numbers out of range, and tasks that there are not."""
        check_fields(self)
        if odd := [task for task in self.tasks if task not in TASKS]:
            raise UsageError(f"--tasks is {odd[0]}; allowed: {', '.join(TASKS)}")


OPTIONS = Options(
    of=JudgeOptions,
    arguments=("checkpoint",),
    names=DECODING_NAMES,
    groups=DECODING_GROUP,
    hidden=DECODING_HIDDEN,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Judge, print a table; returns the exit status."""
    parser = Parser(
        prog="python -m experiments.judge",
        description=(__doc__ or "").splitlines()[0],
        epilog=EXAMPLES,
    )
    OPTIONS.declare(parser)
    try:
        args = parser.parse(sys.argv[1:] if argv is None else argv)
        with OPTIONS.naming(args):
            options = OPTIONS.read(args)
            result = judge(options)
        if options.out is not None:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            write_json(options.out, result)
    except BlipError as error:
        print(f"judge: error: {plain(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print("\n".join(describe(result)))
    return 0


def judge(options: JudgeOptions) -> dict[str, Any]:
    """All figures, each `[value, low, high]`, and where they come from.

    Raises UsageError where the file is not one that such a model can be judged by.
    """
    device = choose_device(options.model.device)
    checkpoint = open_checkpoint(options.checkpoint)
    names = _columns(options.data)
    loaded = checkpoint.load(device, precision=choose_dtype(options.model.precision, device))
    found: dict[str, Any] = {
        "checkpoint": options.checkpoint,
        "model": checkpoint.fingerprint(),
        "data": options.data,
        "resamples": options.resamples,
        "seed": options.seed,
        "level": LEVEL,
    }
    match checkpoint.contents.config.architecture:
        case "med":
            found |= _judge_med(options, loaded, names)
        case "vqa":
            found |= _judge_vqa(options, loaded)
        case "nlvr":
            found |= _judge_nlvr(options, loaded)
        case other:
            raise UsageError(f"{options.checkpoint} is a model for {other}, not judged here")
    return found | origin(Path(__file__).parent)


def _judge_med(options: JudgeOptions, loaded: Loaded[Any], names: list[str]) -> dict[str, Any]:
    """Retrieval, captions and filtering, as far as model and file allow."""
    if "question" in names:
        raise UsageError(f"{options.data} asks questions, and {options.checkpoint} is a MED")
    if "video" in names:
        return _judge_videos(options, loaded)
    label = find_label(names, Path(options.data), options.label) if names else None
    tasks = _choose_tasks(options, loaded.model, label)
    config = _configure(options)
    how = Resampling(options.resamples, options.seed)
    found: dict[str, Any] = {}
    sets: list[Any] = []
    if "filter" in tasks and label is not None:
        pairs = read_labelled(Path(options.data), label, options.model.max_pixels)
        sets.append(pairs)
        subject = Subject(loaded.model, loaded.tokenizer, pairs, config)
        found["filter"] = judge_filter(subject, options.threshold, how)
        found |= {"label": label, "threshold": options.threshold}
    if {"retrieval", "caption"} & set(tasks):
        data = _read_pairs(options, label, loaded.config.vision.image_size)
        sets.append(data)
        subject = Subject(loaded.model, loaded.tokenizer, data, config)
        if "retrieval" in tasks:
            found["retrieval"] = judge_retrieval(subject, how)
            found["candidates"] = config.retrieval.candidates
        if "caption" in tasks:
            found["caption"], found["captions"] = judge_captions(subject, how)
    return {**describe_data(sets), **found}


def _judge_videos(options: JudgeOptions, loaded: Loaded[Any]) -> dict[str, Any]:
    _refuse_others(options, "video")
    config = _configure(options)
    data = video_retrieval.read(config, loaded.config)
    subject = Subject(loaded.model, loaded.tokenizer, data, config)
    figures = judge_videos(subject, Resampling(options.resamples, options.seed))
    return {**describe_data([data]), "retrieval": figures, "candidates": options.candidates}


def _judge_vqa(options: JudgeOptions, loaded: Loaded[Any]) -> dict[str, Any]:
    """Questions about pictures, or where they are asked for, about videos."""
    if options.tasks == ("video_qa",):
        config = _configure(options)
        videos = video_qa.read(config, loaded.config)
        subject = Subject(loaded.model, loaded.tokenizer, videos, config)
        how = Resampling(options.resamples, options.seed)
        figures, answers = judge_video_answers(subject, how)
        return {**describe_data([videos]), "video_qa": figures, "answers": answers}
    _refuse_others(options, "vqa")
    data = QuestionSet([options.data], max_pixels=options.model.max_pixels)
    subject = Subject(loaded.model, loaded.tokenizer, data, _configure(options))
    figures, answers = judge_answers(subject, Resampling(options.resamples, options.seed))
    return {**describe_data([data]), "vqa": figures, "answers": answers}


def _judge_nlvr(options: JudgeOptions, loaded: Loaded[Any]) -> dict[str, Any]:
    _refuse_others(options, "nlvr")
    data = StatementSet([options.data], max_pixels=options.model.max_pixels)
    subject = Subject(loaded.model, loaded.tokenizer, data, _configure(options))
    how = Resampling(options.resamples, options.seed)
    figures, predictions = judge_statements(subject, how)
    return {**describe_data([data]), "nlvr": figures, "predictions": predictions}


def _refuse_others(options: JudgeOptions, only: str) -> None:
    if others := [task for task in options.tasks if task != only]:
        raise UsageError(f"--tasks is {others[0]}; {options.checkpoint} can do {only} alone")


def _choose_tasks(options: JudgeOptions, model: Blip, label: str | None) -> list[str]:
    """The tasks that model and file allow; raises UsageError for others that were asked for."""
    possible = {
        "retrieval": "bidirectional" in model.config.modes,
        "caption": "causal" in model.config.modes,
        "filter": label is not None and "bidirectional" in model.config.modes,
    }
    for task in options.tasks:
        if not possible.get(task):
            able = ", ".join(name for name, can in possible.items() if can)
            raise UsageError(
                f"--tasks is {task}; {options.checkpoint} and {options.data} allow: {able}"
            )
    return [name for name, can in possible.items() if can and name in (options.tasks or TASKS)]


def _read_pairs(options: JudgeOptions, label: str | None, image_size: int) -> EvaluationSet:
    """The pairs of a file; of one with labels those that are right."""
    max_pixels = options.model.max_pixels
    if label is None:
        return EvaluationSet([options.data], image_size, max_pixels=max_pixels)
    with tempfile.TemporaryDirectory() as folder:
        right = Path(folder) / Path(options.data).name
        if not write_right(Path(options.data), label, right):
            raise BlipError(f"{options.data}: no text is right by the column {label}")
        return EvaluationSet([str(right)], image_size, max_pixels=max_pixels)


def _columns(data: str) -> list[str]:
    """The columns of a Parquet file; none for other data."""
    if not data.lower().endswith(".parquet"):
        return []
    return open_described(Path(data)).schema_arrow.names


def _configure(options: JudgeOptions) -> EvaluateConfig:
    config = EvaluateConfig(
        checkpoint=options.checkpoint,
        data=(options.data,),
        retrieval=RetrievalEvaluationConfig(
            candidates=options.candidates,
            max_tokens=options.max_tokens,
            batch_size=options.batch_size,
        ),
        captioning=options.decoding,
        batch_size=options.batch_size,
        max_pixels=options.model.max_pixels,
    )
    answers = None if options.answers is None else str(options.answers)
    answering = AnsweringConfig(answers=answers, candidates=options.candidates)
    return replace(config, answering=answering)


def describe(result: dict[str, Any]) -> list[str]:
    """Lines of the table for the terminal."""
    counted = ("images", "videos", "texts", "labelled_images", "labelled_texts", "pairs")
    counted += ("questions", "statements")
    counts = ", ".join(
        f"{result[name]} {name.replace('_', ' ')}" for name in counted if result.get(name)
    )
    drawn = "sets of pairs" if "nlvr" in result else "videos" if "videos" in result else "images"
    lines = [
        f"{result['data']}: {counts}; {LEVEL:.0%} intervals of {result['resamples']} samples of "
        f"the {drawn}, seed {result['seed']}"
    ]
    if "filter" in result:
        title = f"filter at {result['threshold']:g}, by the column {result['label']}, in per cent"
        lines += table(result["filter"], title)
    for name, figures in result.get("retrieval", {}).items():
        by = "ITC alone" if name == "itc" else f"re-ranked by ITM's {name.replace('_', '-')}"
        lines += table(figures, f"retrieval, {by}, recall in per cent")
    if "caption" in result:
        lines += table(result["caption"], "captions, times 100")
    for task, title in (
        ("vqa", "VQA, per cent"),
        ("video_qa", "questions about videos, per cent"),
        ("nlvr", "statements about pairs, per cent"),
    ):
        if task in result:
            lines += table(result[task], title)
            if not result[task]:
                lines.append("  none: no true answers or labels stand in the data")
    return lines


if __name__ == "__main__":
    sys.exit(main())
