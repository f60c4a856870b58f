"""`blip evaluate`: the figures of a checkpoint, such as those of retrieval and captions."""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from blip.cli.from_dataclass import Options
from blip.cli.options import (
    DECODING_GROUP,
    DECODING_HIDDEN,
    DECODING_NAMES,
    ModelOptions,
    unused_by,
    with_typed_decoding,
)
from blip.config.ranges import BATCH_SIZE, COUNT, FRAMES, PLACE, check_fields
from blip.evaluation.choose import Evaluation, choose_evaluations
from blip.evaluation.config import (
    AnsweringConfig,
    EvaluateConfig,
    RetrievalEvaluationConfig,
)
from blip.generation.config import DecodingConfig
from blip.tasks.table import EVALUATIONS

EXAMPLES = """\
examples:
  blip evaluate runs/demo/round-2/pretrain --data runs/demo/data/test
  blip evaluate runs/base --data 'coco/test/*.tar' --candidates 256 --max-length 20 --json
  blip evaluate runs/base --data captions_val2014.json --json
  blip evaluate runs/base --data 'coco/test/*.tar' --task retrieval --device cuda --batch-size 256
  blip evaluate runs/base --data 'coco/test/*.tar' --task retrieval --score log_probability
  blip evaluate runs/captioner --data coco_val.json --task caption --meteor --out results/captions
  blip evaluate original:model_base_retrieval_coco --data 'coco/test/*.tar' --out results/coco
  blip evaluate runs/vqa --data v2_OpenEnded_mscoco_val2014_questions.json --answers answers.json
  blip evaluate runs/vqa --data shards/vqa-test --task vqa --out results/vqa
  blip evaluate runs/filter --data msrvtt/videodatainfo.json --task video_retrieval --json
  blip evaluate runs/vqa --data msvd/test_qa.json --task video_qa --answers answers.txt
  blip evaluate runs/nlvr --data shards/nlvr2-test1 --out results/nlvr2
  blip evaluate runs/visdial --data shards/visdial-val --batch-size 16 --out results/visdial
  torchrun --nproc-per-node 8 -m blip evaluate runs/base --data 'coco/test/*.tar' --out results/coco

Processes that torchrun starts share the images; the first one prints and writes.
--data takes what `blip data pack` takes: tars, compressed or not, .parquet, .csv, .tsv, .json and
.jsonl tables, folders of pictures with their texts beside them, globs and brace ranges. It takes
remote tars, too, s3://, gs:// and https:// (not compressed), and 'pipe:COMMAND'.
Without --task a model is measured by all that it can do: a captioner by its captions, a filter by
retrieval, a pre-trained model by both, a model for questions by VQA accuracy, one for pairs of
images by accuracy and consistency, one for dialogues by the ranks of answers. Videos (--task
video_retrieval or video_qa) are measured only where --task says so; --data is then a folder, a
table or an annotation file of videos. --out keeps captions.json for the servers of COCO and NoCaps,
answers.json for those of VQA v2 and VizWiz, predictions.csv for the script of NLVR2, or ranks.json
for the server of VisDial. Broken pictures and empty texts are left out, counted and named. Samples
of the same image count as one.
The options of decoding say how captions are written, or the answers of a model for questions. An
option that no evaluation of the model uses is refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateOptions:
    """Options of `blip evaluate`."""

    checkpoint: Annotated[str, PLACE]
    """Checkpoint or run folder."""
    data: tuple[str, ...]
    """What to measure with: tars, tables, annotation files, folders, globs, brace ranges."""
    task: str | None = None
    """What to measure; without it, all that the model can do."""
    candidates: Annotated[int, COUNT] = 128
    """Images, or texts, that ITM re-ranks; with --answers, how many are compared whole."""
    retrieval: RetrievalEvaluationConfig = RetrievalEvaluationConfig()
    frames: Annotated[int | None, FRAMES] = None
    """Evenly spaced frames of each video; without it 8 for retrieval, 16 for questions."""
    answers: Path | None = None
    """VQA: choose among the answers in this file (one a line, or a JSON list), write none."""
    write_answers: bool = False
    """VisDial: let the decoder write an answer to every round, too."""
    decoding: DecodingConfig = DecodingConfig(max_length=30)
    meteor: bool = False
    """Score captions by METEOR, too; needs Java."""
    spice: bool = False
    """Score captions by SPICE, too; needs Java and models that are downloaded apart."""
    batch_size: Annotated[int, BATCH_SIZE] = 64
    """Images, pairs of them, or texts at a time."""
    model: ModelOptions = ModelOptions()
    out: Path | None = None
    """Folder for config.json, evaluation.json and a file for the server; else none is written."""
    overwrite: bool = False
    """Replace another evaluation in DIR."""
    json: bool = False
    """Print all figures and captions as JSON."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)


UNSCORED = {
    "images_without_captions": "images have no true captions",
    "questions_without_answers": "questions have no true answers",
    "statements_without_labels": "statements have no labels",
    "rounds_without_answers": "rounds have no true answers",
}
"""Of what is counted under these keys, what to say."""
ANSWERS = "answers"
"""The option that says whether answers are chosen or written."""
WRITTEN = "write_answers"
"""The option that says whether answers are written beside their ranks."""
OPTIONS = Options(
    of=EvaluateOptions,
    arguments=("checkpoint",),
    names=DECODING_NAMES,
    groups=DECODING_GROUP,
    hidden=(
        *DECODING_HIDDEN,
        *(f"retrieval.{name}" for name in ("candidates", "max_tokens", "batch_size")),
    ),
    choices={"task": tuple(evaluation.name for evaluation in EVALUATIONS)},
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    OPTIONS.declare(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from blip import dist
    from blip.cli.rows import print_json
    from blip.evaluation.evaluate import evaluate, evaluate_into
    from blip.inference.checkpoint import open_checkpoint

    with OPTIONS.naming(args), ExitStack() as joined:
        options = OPTIONS.read(_with_least_length(args))
        config = _configure(options)
        checkpoint = open_checkpoint(options.checkpoint)
        chosen, _ = choose_evaluations(EVALUATIONS, config, checkpoint.contents.config)
        _refuse_unused(args, options, chosen)
        if any({ANSWERS, WRITTEN} & set(evaluation.options) for evaluation in chosen):
            decoding = with_typed_decoding(config.answering.decoding, OPTIONS, args)
            config = replace(config, answering=replace(config.answering, decoding=decoding))
        joined.enter_context(dist.processes(options.model.device, dist.SHARES_TIMEOUT))
        is_main = dist.is_main()
        if options.out is None:
            result = evaluate(config, EVALUATIONS, checkpoint=checkpoint)
        else:
            result = evaluate_into(
                config,
                EVALUATIONS,
                options.out,
                overwrite=options.overwrite,
                checkpoint=checkpoint,
            )
    if not is_main:
        return 0
    if options.json:
        print_json(result)
    else:
        _print(result, options)
    return 0


def _print(result: Mapping[str, Any], options: EvaluateOptions) -> None:
    """How much was measured, the figures, and what was not measured."""
    from blip.log import say

    measured = [evaluation for evaluation in EVALUATIONS if result.get(evaluation.name)]
    for nouns in dict.fromkeys(evaluation.counted for evaluation in measured):
        say(" with ".join(f"{result[noun]} {noun}" for noun in nouns))
    for key, what in UNSCORED.items():
        if result.get(key):
            lost = "; --out DIR keeps what was written" if options.out is None else ""
            say(f"{result[key]} {what}, and are not scored{lost}")
    for evaluation in EVALUATIONS:
        figures = result.get(evaluation.name) or {}
        width = max(10, *(len(name) + 1 for name in figures), 0)
        for name, value in figures.items():
            if value is not None:
                print(f"{name:<{width}}{value:>8.2f}")
    if (score := result.get("retrieval_score")) is not None:
        say(f"ranked by the ITC cosine and ITM's {score.replace('_', '-')} (--score)")
    # Whoever chose a task knows that the others were not.
    for name, reason in result["not_measured"].items() if options.task is None else ():
        say(f"{name} is not measured: {reason}")


def _configure(options: EvaluateOptions) -> EvaluateConfig:
    """The configuration of these options, but for how answers are written."""
    return EvaluateConfig(
        checkpoint=options.checkpoint,
        data=options.data,
        task=options.task,
        retrieval=replace(
            options.retrieval, candidates=options.candidates, batch_size=options.batch_size
        ),
        captioning=options.decoding,
        meteor=options.meteor,
        spice=options.spice,
        answering=AnsweringConfig(
            answers=None if options.answers is None else str(options.answers),
            candidates=options.candidates,
        ),
        frames=options.frames,
        write_answers=options.write_answers,
        batch_size=options.batch_size,
        max_pixels=options.model.max_pixels,
        device=options.model.device,
        precision=options.model.precision,
    )


def _with_least_length(args: argparse.Namespace) -> argparse.Namespace:
    """What was typed, with a --min-length that a short --max-length allows where none was typed."""
    typed = vars(args)
    if "decoding.max_length" not in typed or "decoding.min_length" in typed:
        return args
    least = min(DecodingConfig().min_length, typed["decoding.max_length"])
    return argparse.Namespace(**typed, **{"decoding.min_length": least})


def _refuse_unused(
    args: argparse.Namespace, options: EvaluateOptions, chosen: Sequence[Evaluation]
) -> None:
    """Raise UsageError for a typed option that only other evaluations use than those `chosen`."""
    particular = {name for evaluation in EVALUATIONS for name in evaluation.options}
    used = {name for evaluation in chosen for name in evaluation.options}
    how = " and ".join(evaluation.name for evaluation in chosen)
    if ANSWERS in used:
        # Answers are chosen from a file, or written.
        used -= {"candidates"} if options.answers is None else {"decoding"}
        how += " without --answers" if options.answers is None else " with --answers"
    if WRITTEN in used and not options.write_answers:
        used -= {"decoding"}
        how += " without --write-answers"
    unused = {f"where {options.checkpoint} is measured by {how}": tuple(sorted(particular - used))}
    unused |= unused_by(options.decoding.kind)
    if options.out is None:
        unused["without --out"] = ("overwrite",)
    OPTIONS.refuse_unused(args, unused)
