"""`blip ask`: answers to questions about a picture."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from blip.cli.inputs import find_pictures, open_picture
from blip.cli.options import (
    JSON_HELP,
    Renamed,
    add_model_options,
    batch_size,
    input_path,
    is_no_number,
    path_text,
    plain_text,
    positive_int,
)
from blip.cli.rows import print_json

if TYPE_CHECKING:
    from PIL import Image

    from blip.inference.answerer import Answerer, Ranked, Written

EXAMPLES = """\
examples:
  blip ask runs/vqa picture.png "what colour is the star?" "how many things are there?"
  blip ask original:model_base_vqa_capfilt_large photo.jpg "what is the dog doing?" --json
  blip ask hf:Salesforce/blip-vqa-base photo.jpg "is it raining?" --answers answers.txt
  blip ask hf:Salesforce/blip-vqa-base photo.jpg "what is it?" --top 5 --json

Prints the question, a tab and the answer. With --answers the answer is the likeliest of those
in the file (one a line, or a list in a .json file), and its probability stands before it. With
--top there is a line for each of the best answers, or in JSON a list of them, each with its
probability."""

RENAMED = (
    Renamed("--candidates", "--answers", when=is_no_number),
    Renamed("--top-k", "--candidates"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "checkpoint",
        type=path_text,
        metavar="CKPT",
        help="checkpoint or run folder of a model for questions",
    )
    parser.add_argument("picture", metavar="IMAGE", type=input_path)
    parser.add_argument("questions", nargs="+", type=plain_text, metavar="QUESTION")
    parser.add_argument(
        "--answers",
        type=input_path,
        metavar="FILE",
        help="choose among these answers, write none",
    )
    parser.add_argument(
        "--candidates",
        type=positive_int,
        default=128,
        metavar="N",
        help="with --answers: how many the first token leaves to compare whole (128)",
    )
    parser.add_argument(
        "--top", type=positive_int, metavar="N", help="the best N answers with their probabilities"
    )
    parser.add_argument(
        "--batch-size", type=batch_size, default=16, metavar="N", help="questions at a time (16)"
    )
    add_model_options(parser)
    parser.add_argument("--json", action="store_true", help=JSON_HELP)


def run(args: argparse.Namespace) -> int:
    """Answer; 1 where the picture is broken."""
    from blip.errors import UsageError
    from blip.inference.answerer import Answerer

    if args.picture.is_dir():
        raise UsageError(f"{args.picture} is a folder; `blip ask` takes one picture")
    (path,) = find_pictures([args.picture])
    candidates = None if args.answers is None else read_candidates(args.answers)
    answerer = Answerer.load(args.checkpoint, args.device, precision=args.precision)
    image = open_picture(path, args.max_pixels)
    if image is None:
        return 1
    if candidates is None and args.top is None:
        (answers,) = answerer.answer([image], [args.questions], batch_size=args.batch_size)
        for question, answer in zip(args.questions, answers, strict=True):
            _print(args, {"question": question, "answer": answer})
        return 0
    for question, best in zip(
        args.questions, _several(args, answerer, image, candidates), strict=True
    ):
        _print_best(args, question, best)
    return 0


def _several(
    args: argparse.Namespace,
    answerer: "Answerer",
    image: "Image.Image",
    candidates: list[str] | None,
) -> "Sequence[Sequence[Ranked | Written]]":
    """The best answers to each question."""
    from blip.inference.answerer import PUBLISHED_DECODING

    count = args.top or 1
    if candidates is not None:
        ranked = answerer.rank_several(
            [image],
            [args.questions],
            candidates,
            count,
            top_k=args.candidates,
            batch_size=args.batch_size,
        )
        return ranked[0]
    decoding = replace(PUBLISHED_DECODING, beams=max(PUBLISHED_DECODING.beams, count))
    return answerer.answer_several(
        [image], [args.questions], count, decoding, batch_size=args.batch_size
    )[0]


def _print_best(
    args: argparse.Namespace, question: str, best: "Sequence[Ranked | Written]"
) -> None:
    if not args.json:
        for one in best:
            _print(args, {"question": question, **one._asdict()})
        return
    told: dict[str, object] = {"question": question, **best[0]._asdict()}
    if args.top is not None:
        told["top"] = [one._asdict() for one in best]
    _print(args, told)


def read_candidates(path: Path) -> list[str]:
    """The answers in a file: one a line, blank ones left out, or a JSON list in a `.json` file.

    Raises UsageError for a file that is not there, holds something else, or no answer.
    """
    from blip.config.strict import from_json, load_json
    from blip.errors import UsageError

    if path.suffix == ".json":
        found = list(from_json(tuple[str, ...], load_json(path), where=str(path)))
    else:
        try:
            found = path.read_text(encoding="utf-8-sig").splitlines()
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is not UTF-8: {error.reason}") from error
    found = [text.strip() for text in found if text.strip()]
    if not found:
        raise UsageError(f"{path} holds no answers")
    return found


def _print(args: argparse.Namespace, found: dict[str, object]) -> None:
    if args.json:
        print_json(found)
    elif "probability" in found:
        print(f"{found['question']}\t{found['probability']:.3f}\t{found['answer']}")
    else:
        print(f"{found['question']}\t{found['answer']}")
