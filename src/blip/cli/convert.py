"""`blip convert`: a checkpoint from one layout to another."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from blip.cli.from_dataclass import Options
from blip.config.ranges import COUNT, PLACE, SIDE, check_fields

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


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertOptions:
    """What `blip convert` is asked to do."""

    source: Annotated[str, PLACE]
    """Checkpoint in any layout."""
    destination: Path
    """Folder, or .pth."""
    to: Literal["blip", "hf", "original"] = "blip"
    """Our folder (blip), Hugging Face's (hf), or the original release's file (original)."""
    task: Literal["caption", "itm"] | None = None
    """Only the half of a pre-trained model that writes captions, or that matches."""
    image_size: Annotated[int | None, SIDE] = None
    """Resize the position embeddings to pictures of this side."""
    tokenizer: str | None = None
    """The file vocab.txt or tokenizer.json, a folder or a hub name; none is the one beside SRC, or
    BERT-base's."""
    heads: Annotated[tuple[int, int] | None, COUNT] = None
    """Numbers of attention heads, where they are not 64 wide and SRC does not say."""
    json: bool = False
    """Print a JSON object."""

    def __post_init__(self) -> None:
        """Refuse numbers and names that cannot work."""
        check_fields(self)


OPTIONS = Options(of=ConvertOptions, arguments=("source", "destination"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from blip.cli.options import add_listing

    OPTIONS.declare(parser)
    add_listing(parser, "released checkpoints", list_releases)


def run(args: argparse.Namespace) -> int:
    """Convert."""
    from blip.cli.rows import print_json
    from blip.inference.convert import convert
    from blip.log import say

    options = OPTIONS.read(args)
    contents = convert(
        options.source,
        options.destination,
        options.to,
        task=options.task,
        image_size=options.image_size,
        tokenizer=options.tokenizer,
        heads=options.heads,
    )
    parameters = sum(tensor.numel() for tensor in contents.tensors.values())
    size = contents.config.vision.image_size
    where, kind = str(options.destination), contents.kind
    say(f"{where}: {kind}, {parameters / 1e6:.1f} M parameters, {size} pixels")
    if options.json:
        print_json({"out": where, "kind": kind, "parameters": parameters, "image_size": size})
    return 0


def list_releases() -> str:
    """A table of the released checkpoints."""
    from blip.model.checkpoint.released import RELEASES

    rows = [("name", "task", "image encoder", "pixels", "data")]
    rows += [(r.name, r.task, r.vision, str(r.pixels), r.data) for r in RELEASES]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
