"""`blip match`: how well texts match a picture."""

import argparse
import json
from pathlib import Path

EXAMPLES = """\
examples:
  blip match runs/demo/round-1/filter picture.png "a red circle" "two blue stars"
  blip match runs/filter photo.jpg "a dog on a beach" --json

Prints the probability of a match (ITM), the cosine of the features (ITC) and the text."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint or run folder")
    parser.add_argument("picture", metavar="IMAGE", type=Path)
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="number format (auto: bfloat16 on a GPU that has it, else float32)",
    )
    parser.add_argument("--json", action="store_true", help="a JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Score; 1 where the picture is broken."""
    from blip.cli.caption import find_pictures, open_picture
    from blip.errors import UsageError
    from blip.inference.matcher import Matcher
    from blip.nn.device import choose_device, choose_dtype

    if args.picture.is_dir():
        raise UsageError(f"{args.picture} is a folder; `blip match` takes one picture")
    (path,) = find_pictures([args.picture])
    device = choose_device(args.device)
    dtype = choose_dtype(args.precision, device)
    matcher = Matcher.load(args.checkpoint, device, dtype=dtype)
    image = open_picture(path)
    if image is None:
        return 1
    for text, score in zip(args.texts, matcher.scores([image], [args.texts])[0], strict=True):
        if args.json:
            line = {"text": text, "probability": score.probability, "cosine": score.cosine}
            print(json.dumps(line, ensure_ascii=False))
        else:
            print(f"{score.probability:.3f}  {score.cosine:+.3f}  {text}")
    return 0
