"""Judges a checkpoint on a file, each figure with an interval over the images.

python -m experiments.judge CKPT --data FILE.parquet [--out FILE.json]
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from blip.cli.from_dataclass import Options
from blip.cli.options import (
    DECODING_GROUP,
    DECODING_HIDDEN,
    DECODING_NAMES,
    ModelOptions,
    with_typed_decoding,
)
from blip.cli.parser import Parser
from blip.config.ranges import BATCH_SIZE, COUNT, FRAMES, PLACE, SEED, SHARE, TOKENS, check_fields
from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.readers.video_places import are_only_videos
from blip.errors import BlipError, UsageError, plain
from blip.evaluation.choose import choose_evaluations
from blip.evaluation.config import AnsweringConfig, EvaluateConfig, RetrievalEvaluationConfig
from blip.evaluation.subject import Subject, describe_data
from blip.files import write_json
from blip.generation.config import DecodingConfig
from blip.inference.checkpoint import Loaded, open_checkpoint
from blip.metrics.intervals import LEVEL, RESAMPLES
from blip.model.blip import Blip
from blip.model.config import ModelConfig
from blip.nn.device import choose_device, choose_format
from blip.outputs import refuse_folder
from blip.reports.origin import origin
from blip.tasks.table import EVALUATIONS
from experiments.judging import (
    Resampling,
    judge_answers,
    judge_captions,
    judge_dialogues,
    judge_filter,
    judge_retrieval,
    judge_statements,
    judge_video_answers,
    judge_videos,
    table,
    with_enough_candidates,
)
from experiments.labels import find_label, list_columns, read_labelled, write_right


@dataclass(frozen=True, slots=True)
class OneTask:
    """How a model is judged that does one task with such data."""

    judge: Callable[[Subject[Any], Resampling], tuple[Any, Any]]
    """Gives the figures, and what the model said of each sample; None where that is not kept."""
    drawn: str
    """What the bootstrap draws."""
    title: str
    """Of the table."""


ONE_TASK = {
    "video_retrieval": OneTask(judge_videos, "videos", "recall in per cent, and ranks"),
    "vqa": OneTask(judge_answers, "images", "VQA, per cent"),
    "video_qa": OneTask(judge_video_answers, "videos", "questions about videos, per cent"),
    "nlvr": OneTask(judge_statements, "sets of pairs", "statements about pairs, per cent"),
    "visdial": OneTask(judge_dialogues, "images", "answers in dialogues, per cent, and mean rank"),
}
"""By their names in `blip evaluate --task`."""
TASKS = ("retrieval", "caption", "filter", *ONE_TASK)
PUBLISHED = AnsweringConfig().decoding
"""How answers are written."""
EXAMPLES = """\
examples:
  python -m experiments.judge runs/retrieval --data flickr8k/dev.parquet --out judged.json
  python -m experiments.judge runs/captioner --data dev.parquet --prompt 'a picture of '
  python -m experiments.judge runs/filter --data labelled.parquet --label match --threshold 0.25
  python -m experiments.judge runs/vqa --data vqa/questions.parquet --answers vqa/answer_list.json
  python -m experiments.judge runs/vqa --data msvd/test_qa.json
  python -m experiments.judge runs/retrieval --data msvd/videodatainfo.json
  python -m experiments.judge runs/nlvr --data nlvr1/dev.parquet
  python -m experiments.judge runs/visdial --data visdial_1.0_val.json --batch-size 16

A MED is judged by retrieval (by ITC alone, and re-ranked by both scores), by captions, and, where
a column match, matches, label, right or correct (or --label) says of every text whether it is
right, as a filter; retrieval and captions then take the right texts alone. A model for questions
is judged by VQA accuracy, one for pairs of images by accuracy and consistency, one for dialogues by
the ranks of answers; pictures lie in the file, or where `blip evaluate` finds them. Of videos a MED
is judged by retrieval, a model for questions by its answers, zero-shot. Intervals come
from the bootstrap: images (sets of pairs, for statements) are drawn with replacement, with all that
belongs to them."""


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
    """Images, or texts, that ITM re-ranks: 10 at least."""
    max_tokens: Annotated[int, TOKENS] = 35
    """Where texts are cut."""
    frames: Annotated[int | None, FRAMES] = None
    """Evenly spaced frames of each video; without it 8 for retrieval, 16 for questions."""
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
        """Refuse numbers out of range and unknown tasks."""
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
            if options.out is not None:
                refuse_folder(options.out)
            decoding = with_typed_decoding(PUBLISHED, OPTIONS, args)
            result = judge(options, decoding)
        if options.out is not None:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            write_json(options.out, result)
    except BlipError as error:
        print(f"judge: error: {plain(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print("\n".join(describe(result)))
    return 0


def judge(options: JudgeOptions, writing: DecodingConfig = PUBLISHED) -> dict[str, Any]:
    """All figures, each `[value, low, high]`, and where they come from.

    `options.decoding` is for captions, `writing` for answers that a model for questions writes.
    Raises UsageError if the file is not one that such a model can be judged by.
    """
    device = choose_device(options.model.device)
    checkpoint = open_checkpoint(options.checkpoint)
    names = list_columns(options.data)
    task = _find_task(options, checkpoint.contents.config, writing)
    if task is None and "question" in names:
        raise UsageError(f"{options.data} asks questions, and {options.checkpoint} is a MED")
    loaded = checkpoint.load(device, precision=choose_format(options.model.precision, device))
    found: dict[str, Any] = {
        "checkpoint": options.checkpoint,
        "model": checkpoint.fingerprint(),
        "data": options.data,
        "resamples": options.resamples,
        "seed": options.seed,
        "level": LEVEL,
    }
    judged = (
        _judge_med(options, loaded, names)
        if task is None
        else _judge_task(options, loaded, task, writing)
    )
    return found | judged | origin(Path(__file__).parent)


def _find_task(options: JudgeOptions, model: ModelConfig, writing: DecodingConfig) -> str | None:
    """The one task that the model can do with the data; None for a MED and pictures.

    Raises UsageError if --tasks says another one, or the model cannot do it.
    """
    able = [
        one.name
        for one in EVALUATIONS
        if one.architecture == model.architecture and one.name in ONE_TASK
    ]
    of_videos = [name for name in able if ONE_TASK[name].drawn == "videos"]
    chosen = [task for task in options.tasks if task in of_videos]
    if not chosen and of_videos and not options.tasks and are_only_videos(options.data):
        chosen = of_videos
    if not chosen:
        chosen = [name for name in able if name not in of_videos]
    if not chosen:
        return None
    if others := [task for task in options.tasks if task not in chosen]:
        alone = f"{options.checkpoint} can do {chosen[0]} alone"
        raise UsageError(f"--tasks is {others[0]}; {alone} with {options.data}")
    config = replace(_configure(options, writing), task=chosen[0])
    (evaluation,), _ = choose_evaluations(EVALUATIONS, config, model)
    if evaluation.check is not None:
        evaluation.check(config, model)
    return evaluation.name


def _judge_task(
    options: JudgeOptions, loaded: Loaded[Any], task: str, writing: DecodingConfig
) -> dict[str, Any]:
    """The figures of a model by its one task, and what it said, if that is kept."""
    evaluation = next(one for one in EVALUATIONS if one.name == task)
    config = _configure(options, writing)
    data = evaluation.read(config, loaded.config)
    subject = Subject(loaded.model, loaded.tokenizer, data, config)
    figures, said = ONE_TASK[task].judge(subject, Resampling(options.resamples, options.seed))
    kept = {} if said is None else {str(evaluation.outputs): said}
    ranked = with_enough_candidates(config.retrieval).candidates
    of_candidates = {"candidates": ranked} if task == "video_retrieval" else {}
    return {**describe_data([data]), task: figures, **kept, **of_candidates}


def _judge_med(options: JudgeOptions, loaded: Loaded[Any], names: list[str]) -> dict[str, Any]:
    """Retrieval, captions and filtering, as far as model and file allow."""
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
            found["candidates"] = with_enough_candidates(config.retrieval).candidates
        if "caption" in tasks:
            found["caption"], found["captions"] = judge_captions(subject, how)
    return {**describe_data(sets), **found}


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


def _configure(options: JudgeOptions, writing: DecodingConfig = PUBLISHED) -> EvaluateConfig:
    config = EvaluateConfig(
        checkpoint=options.checkpoint,
        data=(options.data,),
        retrieval=RetrievalEvaluationConfig(
            candidates=options.candidates,
            max_tokens=options.max_tokens,
            batch_size=options.batch_size,
        ),
        captioning=options.decoding,
        frames=options.frames,
        batch_size=options.batch_size,
        max_pixels=options.model.max_pixels,
    )
    answers = None if options.answers is None else str(options.answers)
    answering = AnsweringConfig(answers=answers, candidates=options.candidates, decoding=writing)
    return replace(config, answering=answering)


def describe(result: dict[str, Any]) -> list[str]:
    """Lines of the table for the terminal."""
    counted = ("images", "videos", "texts", "labelled_images", "labelled_texts", "pairs")
    counted += ("questions", "statements", "rounds")
    counts = ", ".join(
        f"{result[name]} {name.replace('_', ' ')}" for name in counted if result.get(name)
    )
    drawn = next((one.drawn for name, one in ONE_TASK.items() if name in result), "images")
    lines = [
        f"{result['data']}: {counts}; {LEVEL:.0%} intervals of {result['resamples']} samples of "
        f"the {drawn}, seed {result['seed']}"
    ]
    if "filter" in result:
        title = f"filter at {result['threshold']:g}, by the column {result['label']}, in per cent"
        lines += table(result["filter"], title)
    for task, title in (
        ("retrieval", "recall in per cent"),
        ("video_retrieval", ONE_TASK["video_retrieval"].title),
    ):
        for name, figures in result.get(task, {}).items():
            best = f"the best {result['candidates']} re-ranked by ITM's {name.replace('_', '-')}"
            by = "ITC alone" if name == "itc" else best
            lines += table(figures, f"retrieval, {by}, {title}")
    if "caption" in result:
        lines += table(result["caption"], "captions, times 100")
    for task, one in ONE_TASK.items():
        if task in result and task != "video_retrieval":
            lines += table(result[task], one.title)
            if not result[task]:
                lines.append("  none: no true answers or labels stand in the data")
    return lines


if __name__ == "__main__":
    sys.exit(main())
