"""`blip evaluate`: the figures of a checkpoint, such as those of retrieval and captions."""

import argparse

from blip.cli import options

EXAMPLES = """\
examples:
  blip evaluate runs/demo/round-2/pretrain --data runs/demo/data/test
  blip evaluate runs/base --data 'coco/test/*.tar' --candidates 256 --max-length 20 --json
  blip evaluate runs/base --data captions_val2014.json --json
  blip evaluate runs/base --data 'coco/test/*.tar' --task retrieval --device cuda --batch-size 256
  blip evaluate original:model_base_retrieval_coco --data 'coco/test/*.tar' --out results/coco

--data takes what `blip data pack` takes: tars, .parquet, .csv, .tsv, .json and .jsonl tables,
folders of pictures with their texts beside them, globs and brace ranges.
Without --task a model is measured by all that it can do: a captioner by its captions, a filter by
retrieval, a pre-trained model by both. Broken pictures and empty texts are left out, counted and
named. Samples of the same image are judged as one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from blip.tasks.table import EVALUATIONS

    parser.add_argument(
        "checkpoint", type=options.path_text, metavar="CKPT", help="checkpoint or run folder"
    )
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="DATA",
        help="tars, tables, folders of pictures, globs, brace ranges",
    )
    parser.add_argument(
        "--task",
        choices=[evaluation.name for evaluation in EVALUATIONS],
        help="what to measure (all that the model can do)",
    )
    parser.add_argument(
        "--candidates",
        type=options.whole_number,
        default=128,
        metavar="K",
        help="re-ranked by ITM (128)",
    )
    parser.add_argument(
        "--max-length", type=options.whole_number, default=30, metavar="N", help="captions (30)"
    )
    parser.add_argument(
        "--prompt",
        type=options.plain_text,
        default="",
        metavar="TEXT",
        help="start of every caption",
    )
    parser.add_argument(
        "--batch-size",
        type=options.batch_size,
        default=64,
        metavar="N",
        help="images, or texts, at a time (64)",
    )
    options.add_model_options(parser)
    parser.add_argument(
        "--out",
        type=options.output_folder,
        metavar="DIR",
        help="folder for config.json and evaluation.json (nothing is written)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace another evaluation in DIR"
    )
    parser.add_argument("--json", action="store_true", help="all figures and captions as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from blip.config.strict import from_json
    from blip.evaluation.config import EvaluateConfig
    from blip.evaluation.evaluate import evaluate, evaluate_into
    from blip.files import json_text
    from blip.log import say
    from blip.tasks.table import EVALUATIONS

    given = {
        "checkpoint": args.checkpoint,
        "data": args.data,
        "task": args.task,
        "retrieval": {"candidates": args.candidates, "batch_size": args.batch_size},
        "captioning": {"max_length": args.max_length, "prompt": args.prompt},
        "batch_size": args.batch_size,
        "device": args.device,
        "precision": args.precision,
    }
    if args.max_pixels is not None:
        given["max_pixels"] = args.max_pixels
    with options.naming_options(options.given_options(args)):
        config = from_json(EvaluateConfig, given)
        if args.out is None:
            result = evaluate(config, EVALUATIONS)
        else:
            result = evaluate_into(config, EVALUATIONS, args.out, overwrite=args.overwrite)
    if args.json:
        print(json_text(result))
        return 0
    say(f"{result['images']} images with {result['texts']} texts")
    for evaluation in EVALUATIONS:
        for name, value in (result.get(evaluation.name) or {}).items():
            if value is not None:
                print(f"{name:<10}{value:>8.2f}")
    for name, reason in result["not_measured"].items():
        say(f"{name} is not measured: {reason}")
    return 0
