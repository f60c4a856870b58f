"""`blip convert`: a checkpoint from one layout to another."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from blip.cli.from_dataclass import Options
from blip.config.ranges import COUNT, PLACE, SIDE, check_fields

if TYPE_CHECKING:
    from blip.export.manifest import ExportPrecision
    from blip.inference.pixels import Picture

EXAMPLES = """\
examples:
  blip convert hf:Salesforce/blip-image-captioning-base runs/captioner
  blip convert original:model_base_retrieval_coco runs/matcher
  blip convert model_base.pth runs/base --tokenizer bert-base-uncased/vocab.txt
  blip convert runs/demo/round-1/captioner exported --to hf --task caption
  blip convert runs/base base.pth --to original
  blip convert runs/captioner runs/captioner-onnx --to onnx
  blip convert runs/captioner runs/captioner-int8 --to onnx --int8 dynamic
  blip convert runs/captioner runs/static --to onnx --int8 static --calibration photos/
  blip convert --list

SRC is a checkpoint folder (ours or Hugging Face's), a run's folder, a file of weights (.pth, .pt,
.ckpt, .bin, .safetensors), the index of several (.index.json), hf:ORG/NAME or original:NAME.
Layout, kind and sizes are found from what it holds; what wrappers put before all names, such as
`module.`, is taken off; nothing that it contains is executed. Downloads stay in the Hugging Face
cache; with HF_HUB_OFFLINE=1 only the cache is used.

--to onnx writes a folder that `blip caption` and `blip match` run in onnxruntime, and that needs no
checkpoint; in float32 each graph is compared with the model first. It needs the extra `onnx`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertOptions:
    """Options of `blip convert`."""

    source: Annotated[str, PLACE]
    """Checkpoint in any layout."""
    destination: Path
    """Folder, or .pth."""
    to: Literal["blip", "hf", "original", "onnx"] = "blip"
    """Our folder (blip), Hugging Face's (hf), the original release's file (original), or graphs for
    onnxruntime (onnx)."""
    int8: Literal["dynamic", "static"] | None = None
    """With --to onnx: multiply whole numbers of 8 bits, whose ranges are found each time (dynamic)
    or are those of some pictures (static)."""
    calibration: Annotated[tuple[str, ...], PLACE] = ()
    """With --int8 static: the pictures, or folders of them, whose ranges are used."""
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


PRECISIONS: "dict[str | None, ExportPrecision]" = {
    None: "float32",
    "dynamic": "int8-dynamic",
    "static": "int8-static",
}
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
    if options.to == "onnx":
        return _export(args, options)
    OPTIONS.refuse_unused(args, {"without --to onnx": ("int8", "calibration")})
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
    where, kind = str(options.destination), contents.described
    say(f"{where}: {kind}, {parameters / 1e6:.1f} M parameters, {size} pixels")
    if options.json:
        print_json({"out": where, "kind": kind, "parameters": parameters, "image_size": size})
    return 0


def _export(args: argparse.Namespace, options: ConvertOptions) -> int:
    from blip.cli.rows import print_json
    from blip.export.write import export_onnx
    from blip.log import say

    if options.int8 != "static":
        OPTIONS.refuse_unused(args, {"without --int8 static": ("calibration",)})
    manifest = export_onnx(
        options.source,
        options.destination,
        precision=PRECISIONS[options.int8],
        calibration=_calibration(options),
        task=options.task,
        image_size=options.image_size,
        tokenizer=options.tokenizer,
        heads=options.heads,
    )
    where, size = str(options.destination), manifest.model.vision.image_size
    graphs = ", ".join(manifest.graphs)
    say(f"{where}: {graphs}; {manifest.precision}, {size} pixels")
    if options.json:
        row = {"out": where, "graphs": list(manifest.graphs), "precision": manifest.precision}
        print_json({**row, "image_size": size})
    return 0


def _calibration(options: ConvertOptions) -> "Iterator[Picture]":
    """The pictures that can be read, one after another, with a bar; stderr names the others."""
    from blip.cli.inputs import find_pictures, open_picture, refuse_videos
    from blip.data.config import MAX_PIXELS
    from blip.errors import UsageError
    from blip.log import progress

    if options.int8 != "static":
        return
    if not options.calibration:
        raise UsageError("--int8 static needs --calibration, pictures that are like those to come")
    paths = find_pictures(options.calibration)
    refuse_videos(map(str, paths), "--calibration")
    with progress(len(paths), "calibrate", "pictures") as bar:
        for path in paths:
            picture = open_picture(path, MAX_PIXELS)
            if picture is not None:
                yield picture
            bar.advance(1)


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
