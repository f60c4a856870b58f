"""`blip ask`: answers to questions about a picture."""

import argparse
import json
from pathlib import Path

EXAMPLES = """\
examples:
  blip ask runs/vqa picture.png "what colour is the star?" "how many things are there?"
  blip ask original:model_base_vqa_capfilt_large photo.jpg "what is the dog doing?" --json
  blip ask hf:Salesforce/blip-vqa-base photo.jpg "is it raining?" --candidates answers.txt

Prints the question, a tab and the answer. With --candidates the answer is the likeliest of those
in the file (one a line, or a list in a .json file), and its probability stands before it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "checkpoint", metavar="CKPT", help="checkpoint or run folder of a model for questions"
    )
    parser.add_argument("picture", metavar="IMAGE", type=Path)
    parser.add_argument("questions", nargs="+", metavar="QUESTION")
    parser.add_argument(
        "--candidates", type=Path, metavar="FILE", help="choose answers among these, write none"
    )
    parser.add_argument(
        "--top-k",
        type=int,
        default=128,
        metavar="N",
        help="with --candidates: how many the first token leaves over (128)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="number format (auto: bfloat16 on a GPU that has it, else float32)",
    )
    parser.add_argument("--json", action="store_true", help="a JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Answer; 1 where the picture is broken."""
    from blip.cli.caption import find_pictures, open_picture
    from blip.errors import UsageError
    from blip.inference.answerer import Answerer
    from blip.nn.device import choose_device, choose_dtype

    if args.picture.is_dir():
        raise UsageError(f"{args.picture} is a folder; `blip ask` takes one picture")
    if args.top_k < 1:
        raise UsageError(f"--top-k must be positive, got {args.top_k}")
    (path,) = find_pictures([args.picture])
    candidates = None if args.candidates is None else read_candidates(args.candidates)
    device = choose_device(args.device)
    dtype = choose_dtype(args.precision, device)
    answerer = Answerer.load(args.checkpoint, device, dtype=dtype)
    image = open_picture(path)
    if image is None:
        return 1
    if candidates is None:
        for question, answer in zip(
            args.questions, answerer.answer([image], [args.questions])[0], strict=True
        ):
            _tell(args, {"question": question, "answer": answer})
        return 0
    ranked = answerer.rank([image], [args.questions], candidates, top_k=args.top_k)[0]
    for question, best in zip(args.questions, ranked, strict=True):
        _tell(args, {"question": question, **best._asdict()})
    return 0


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
            found = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is not UTF-8: {error.reason}") from error
    found = [text.strip() for text in found if text.strip()]
    if not found:
        raise UsageError(f"{path} holds no answers")
    return found


def _tell(args: argparse.Namespace, found: dict[str, object]) -> None:
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
    elif "probability" in found:
        print(f"{found['question']}\t{found['probability']:.3f}\t{found['answer']}")
    else:
        print(f"{found['question']}\t{found['answer']}")
