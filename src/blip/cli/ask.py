"""`blip ask`: answers to questions about a picture."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from blip.cli.from_dataclass import Options
from blip.cli.inputs import Place, find_pictures, open_picture, refuse_videos
from blip.cli.options import ModelOptions, Renamed, is_no_number
from blip.cli.rows import print_json
from blip.config.ranges import BATCH_SIZE, COUNT, FRAMES, PLACE, UTF8, check_fields

if TYPE_CHECKING:
    from blip.inference.answerer import Answerer, Ranked, Written
    from blip.inference.dialogue_answerer import RankedAnswer
    from blip.inference.pixels import Picture

EXAMPLES = """\
examples:
  blip ask runs/vqa picture.png "what colour is the star?" "how many things are there?"
  blip ask original:model_base_vqa_capfilt_large photo.jpg "what is the dog doing?" --json
  blip ask hf:Salesforce/blip-vqa-base photo.jpg "is it raining?" --answers answers.txt
  blip ask hf:Salesforce/blip-vqa-base photo.jpg "what is it?" --top 5 --json
  blip ask runs/visdial photo.jpg "is it red?" "how many?" --caption "a car" --answers answers.txt
  blip ask runs/visdial photo.jpg "is it raining?" --history history.tsv --answers answers.txt
  blip ask runs/vqa clip.mp4 "what is the man doing?"

Prints the question, a tab and the answer. With --answers the answer is the likeliest of those
in the file (one a line, or a list in a .json file), and its probability stands before it. With
--top there is a line for each of the best answers, or in JSON a list of them, each with its
probability.

A model for dialogues answers the questions one after another: it reads each after the rounds of
--history, and after the questions before it with their answers; --caption says what the picture
shows. It takes no video, and none of --frames, --batch-size and --candidates, as all answers are
compared. Its probabilities say of each answer by itself whether it is true. A model that only
ranks, as that of the recipe visdial, needs --answers."""

RENAMED = (
    Renamed("--candidates", "--answers", when=is_no_number),
    Renamed("--top-k", "--candidates"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class AskOptions:
    """Options of `blip ask`."""

    checkpoint: Annotated[str, PLACE]
    """Checkpoint or run folder of a model for questions, or for dialogues."""
    picture: Annotated[str, PLACE]
    """A picture or its URL; with a model for questions also a video."""
    questions: Annotated[tuple[str, ...], UTF8]
    """Questions about it."""
    answers: Path | None = None
    """Choose among the answers in this file, write none."""
    candidates: Annotated[int, COUNT] = 128
    """With --answers: compare whole the N answers whose first tokens are likeliest."""
    top: Annotated[int | None, COUNT] = None
    """The best N answers with their probabilities."""
    caption: Annotated[str | None, UTF8] = None
    """Dialogue: what the picture shows."""
    history: Path | None = None
    """Dialogue: a file of questions and answers before, a tab between both, or a JSON list."""
    frames: Annotated[int, FRAMES] = 16
    """Evenly spaced frames that are read of a video."""
    batch_size: Annotated[int, BATCH_SIZE] = 16
    """Questions at a time."""
    model: ModelOptions = ModelOptions()
    json: bool = False
    """Print a JSON object a line."""

    def __post_init__(self) -> None:
        """Refuse numbers and texts that cannot work."""
        check_fields(self)


OPTIONS = Options(of=AskOptions, arguments=("checkpoint", "picture", "questions"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    OPTIONS.declare(parser)


def run(args: argparse.Namespace) -> int:
    """Answer; 1 where the picture is broken."""
    from blip.data.annotations.answers import read_candidates
    from blip.errors import UsageError

    options = OPTIONS.read(args)
    _refuse_wordless(options.questions)
    if os.path.isdir(options.picture):
        raise UsageError(f"{options.picture} is a folder; `blip ask` takes one picture")
    (path,) = find_pictures([options.picture])
    candidates = None if options.answers is None else read_candidates(options.answers)
    # Not before the arguments have been found sound: they load PyTorch.
    from blip.inference.answerer import Answerer
    from blip.inference.checkpoint import read_sizes

    if read_sizes(options.checkpoint).architecture == "visdial":
        refuse_videos([options.picture], f"{options.checkpoint}, a model for dialogues,")
        unused = ("candidates", "frames", "batch_size")
        OPTIONS.refuse_unused(args, {f"by {options.checkpoint}, a model for dialogues": unused})
        return _in_dialogue(options, path, candidates)
    for name, value in (("--caption", options.caption), ("--history", options.history)):
        if value is not None:
            raise UsageError(f"{name} is for a model for dialogues, not {options.checkpoint}")
    _refuse_unused(args, options)
    answerer = Answerer.load(
        options.checkpoint, options.model.device, precision=options.model.precision
    )
    image = open_picture(
        path, options.model.max_pixels, options.frames, answerer.config.vision.image_size
    )
    if image is None:
        return 1
    questions = list(options.questions)
    if candidates is None and options.top is None:
        (answers,) = answerer.answer([image], [questions], batch_size=options.batch_size)
        for question, answer in zip(questions, answers, strict=True):
            _print({"question": question, "answer": answer}, json=options.json)
        return 0
    answered = _several(options, answerer, image, candidates)
    for question, best in zip(questions, answered, strict=True):
        _print_best(options, question, best)
    return 0


def _refuse_wordless(questions: Sequence[str]) -> None:
    from blip.data.questions import clean_question
    from blip.errors import UsageError

    for number, question in enumerate(questions, 1):
        if not clean_question(question):
            raise UsageError(f"question {number} is {question!r}; it has no words")


def _refuse_unused(args: argparse.Namespace, options: AskOptions) -> None:
    from blip.data.readers.video_files import is_video_name

    unused = {"without --answers": ("candidates",) if options.answers is None else ()}
    if not is_video_name(options.picture):
        unused[f"with the picture {options.picture}"] = ("frames",)
    OPTIONS.refuse_unused(args, unused)


def _in_dialogue(options: AskOptions, path: Place, candidates: list[str] | None) -> int:
    """Answer with a model for dialogues; 1 where the picture is broken."""
    from blip.cli.dialogue import read_history
    from blip.errors import UsageError
    from blip.inference.dialogue_answerer import DialogueAnswerer
    from blip.inference.discussion import discuss

    if candidates is None and options.top is not None:
        raise UsageError("--top needs --answers with a model for dialogues")
    history = [] if options.history is None else read_history(options.history)
    answerer = DialogueAnswerer.load(
        options.checkpoint, options.model.device, precision=options.model.precision
    )
    if candidates is None and "causal" not in answerer.model.config.modes:
        raise UsageError(
            f"{options.checkpoint} has no text decoder; --answers FILE gives it answers to rank"
        )
    image = open_picture(path, options.model.max_pixels)
    if image is None:
        return 1
    caption, questions = options.caption or "", options.questions
    (found,) = discuss(answerer, [image], caption, history, questions, candidates)
    for question, best in zip(questions, found, strict=True):
        if isinstance(best, str):
            _print({"question": question, "answer": best}, json=options.json)
        else:
            _print_best(options, question, best[: options.top or 1])
    return 0


def _several(
    options: AskOptions,
    answerer: "Answerer",
    image: "Picture",
    candidates: list[str] | None,
) -> "Sequence[Sequence[Ranked | Written]]":
    """The best answers to each question."""
    from blip.inference.answerer import PUBLISHED_DECODING

    count, questions = options.top or 1, list(options.questions)
    if candidates is not None:
        ranked = answerer.rank_several(
            [image],
            [questions],
            candidates,
            count,
            top_k=options.candidates,
            batch_size=options.batch_size,
        )
        return ranked[0]
    decoding = replace(PUBLISHED_DECODING, beams=max(PUBLISHED_DECODING.beams, count))
    return answerer.answer_several(
        [image], [questions], count, decoding, batch_size=options.batch_size
    )[0]


def _print_best(
    options: AskOptions, question: str, best: "Sequence[Ranked | RankedAnswer | Written]"
) -> None:
    if not options.json:
        for answer in best:
            _print({"question": question, **answer._asdict()}, json=False)
        return
    row: dict[str, object] = {"question": question, **best[0]._asdict()}
    if options.top is not None:
        row["top"] = [answer._asdict() for answer in best]
    _print(row, json=True)


def _print(row: dict[str, object], *, json: bool) -> None:
    if json:
        print_json(row)
    elif "probability" in row:
        print(f"{row['question']}\t{row['probability']:.3f}\t{row['answer']}")
    else:
        print(f"{row['question']}\t{row['answer']}")
