"""`blip evaluate`: retrieval and captioning of a checkpoint."""

import argparse

from blip.cli import options
from blip.data.config import MAX_PIXELS

EXAMPLES = """\
examples:
  blip evaluate runs/demo/round-2/pretrain --data runs/demo/data/test
  blip evaluate runs/base --data 'coco/test/*.tar' --candidates 256 --max-length 20 --json
  blip evaluate runs/base --data captions_val2014.json --json
  blip evaluate original:model_base_retrieval_coco --data 'coco/test/*.tar' --out results/coco

--data takes what `blip data pack` takes: tars, .parquet, .csv, .tsv, .json and .jsonl tables,
folders of pictures with their texts beside them, globs and brace ranges.
A model for captions alone, or for retrieval alone, is measured by what it can do. Broken pictures
and empty texts are left out, counted and named. Samples of the same image are judged as one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
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
    options.add_max_pixels(parser, MAX_PIXELS)
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

    given = {
        "checkpoint": args.checkpoint,
        "data": args.data,
        "retrieval": {"candidates": args.candidates},
        "max_pixels": args.max_pixels,
        "captioning": {"max_length": args.max_length, "prompt": args.prompt},
    }
    with options.naming_options(options.given_options(args)):
        config = from_json(EvaluateConfig, given)
        if args.out is None:
            result = evaluate(config)
        else:
            result = evaluate_into(config, args.out, overwrite=args.overwrite)
    if args.json:
        print(json_text(result))
        return 0
    say(f"{result['images']} images with {result['texts']} texts")
    for part in ("retrieval", "caption"):
        for name, value in (result[part] or {}).items():
            if value is not None:
                print(f"{name:<10}{value:>8.2f}")
    for part, reason in result["not_measured"].items():
        say(f"{part} is not measured: {reason}")
    return 0
