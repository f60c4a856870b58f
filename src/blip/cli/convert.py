"""`blip convert`: a checkpoint from one layout to another."""

import argparse

from blip.cli import options

EXAMPLES = """\
examples:
  blip convert hf:Salesforce/blip-image-captioning-base runs/captioner
  blip convert original:model_base_retrieval_coco runs/matcher
  blip convert model_base.pth runs/base --tokenizer bert-base-uncased/vocab.txt
  blip convert runs/demo/round-1/captioner exported --to hf --task caption
  blip convert runs/base base.pth --to original
  blip convert --list

SRC is a checkpoint folder (ours or Hugging Face's), a run's folder, a file of weights (.pth, .pt,
.ckpt, .bin, .safetensors), the index of several (.index.json), hf:ORG/NAME or original:NAME.
Layout, kind and sizes are found from what it holds; what wrappers put before all names, such as
`module.`, is taken off; nothing that it contains is executed. Downloads stay in the Hugging Face
cache; with HF_HUB_OFFLINE=1 only the cache is used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "source", type=options.path_text, nargs="?", metavar="SRC", help="checkpoint in any layout"
    )
    parser.add_argument(
        "destination", nargs="?", metavar="DST", type=options.output_folder, help="folder, or .pth"
    )
    parser.add_argument(
        "--to",
        choices=("blip", "hf", "original"),
        default="blip",
        help="our folder, Hugging Face's, or the original release's file (blip)",
    )
    parser.add_argument(
        "--task",
        choices=("caption", "itm"),
        help="only the half of a pre-trained model that writes captions, or that matches",
    )
    parser.add_argument(
        "--image-size",
        type=options.positive_int,
        metavar="PIXELS",
        help="resize the position embeddings",
    )
    parser.add_argument(
        "--tokenizer",
        metavar="FILE|NAME",
        help="vocab.txt, tokenizer.json, folder or hub name (the one beside SRC, or BERT-base's)",
    )
    parser.add_argument(
        "--heads",
        nargs=2,
        type=options.positive_int,
        metavar=("VISION", "TEXT"),
        help="numbers of attention heads, where they are not 64 wide and SRC does not tell",
    )
    parser.add_argument("--list", action="store_true", help="list the released checkpoints")


def run(args: argparse.Namespace) -> int:
    """Convert, or list what was released."""
    from blip.errors import UsageError
    from blip.log import say

    if args.list:
        _list_releases()
        return 0
    if args.source is None or args.destination is None:
        raise UsageError("name a checkpoint and a place; `blip convert --list` shows released ones")
    from blip.inference.convert import convert

    contents = convert(
        args.source,
        args.destination,
        args.to,
        task=args.task,
        image_size=args.image_size,
        tokenizer=args.tokenizer,
        heads=args.heads,
    )
    parameters = sum(tensor.numel() for tensor in contents.tensors.values()) / 1e6
    size = contents.config.vision.image_size
    say(f"{args.destination}: {contents.kind}, {parameters:.1f} M parameters, {size} pixels")
    return 0


def _list_releases() -> None:
    from blip.model.checkpoint.released import RELEASES

    rows = [("name", "task", "image encoder", "pixels", "data")]
    rows += [(r.name, r.task, r.vision, str(r.pixels), r.data) for r in RELEASES]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )
