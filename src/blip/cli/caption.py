"""`blip caption`: captions for pictures and folders of pictures."""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from blip.cli.backends import Backend, uses_onnx
from blip.cli.from_dataclass import Options
from blip.cli.inputs import (
    Place,
    batches_of,
    find_pictures,
    holds_video,
    open_pictures,
    report_broken,
)
from blip.cli.options import (
    DECODING_GROUP,
    DECODING_HIDDEN,
    DECODING_NAMES,
    EITHER_ROWS,
    NO_VIDEO,
    PictureOptions,
    Renamed,
    unused_by,
)
from blip.cli.rows import RowPrinter
from blip.cli.sidecars import SidecarOptions, Sidecars, numbers_of, text_of
from blip.config.ranges import LINE, PLACE, SEED, Range, check_fields
from blip.generation.config import MAX_CAPTIONS, CompileChoice, DecodingConfig

if TYPE_CHECKING:
    from blip.inference.captioner import Caption, CaptionWriter

RENAMED = (Renamed("--search", "--decode"),)
EXAMPLES = """\
examples:
  blip caption runs/demo/round-1/captioner picture.png
  blip caption runs/captioner photos/ --write txt
  blip caption runs/captioner photos/ --write txt --append --prefix "photo of sks, "
  blip caption runs/captioner photos/ --captions 3 --csv
  blip caption runs/captioner photos/*.jpg --decode nucleus --top-p 0.9 --seed 7 --json
  blip caption runs/captioner clip.mp4 --frames 16
  blip caption runs/captioner https://example.org/photo.jpg
  find photos -name '*.jpg' -print0 | blip caption runs/captioner - --json
  blip caption runs/captioner-onnx photos/ --backend onnx
  blip caption runs/captioner photo.jpg --prompt "a picture of " --keep-prompt

Takes videos, too, by their extension: a caption is written from the states of all frames.
Prints PATH, a tab and the caption; with --captions a line for each. With --write the captions go
into a text file beside each picture (photo.jpg, photo.txt), a line each, as trainers of image
generators read them; with --write json, into an object with `caption` and `captions`. A file that
is there is kept, unless --append or --overwrite is given. --prompt is what the model continues,
--prefix and --suffix are put around what it wrote. --json and --csv add how likely the model finds
a caption: the sum of the log-probabilities of its tokens, and their mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionOptions:
    """Options of `blip caption`."""

    checkpoint: Annotated[str, PLACE]
    """Checkpoint or run folder."""
    pictures: Annotated[tuple[str, ...], PLACE]
    """Pictures, folders of them, URLs, and - for names on stdin."""
    captions: Annotated[int, Range(whole=True, least=1, most=MAX_CAPTIONS)] = 1
    """Captions of each picture."""
    prefix: Annotated[str, LINE] = ""
    """Put this text before every caption, as it stands."""
    suffix: Annotated[str, LINE] = ""
    """Put this text after every caption, as it stands."""
    sidecars: SidecarOptions = SidecarOptions()
    decoding: DecodingConfig = DecodingConfig(max_length=30)
    keep_prompt: bool = False
    """Print and write captions with their prompt."""
    seed: Annotated[int, SEED] = 0
    """Seed of nucleus sampling."""
    compile: CompileChoice = "auto"
    """Image encoder and steps of decoding: on has torch compile them, and on a GPU captures them as
    CUDA graphs, which takes minutes and pays for many pictures; off does not compile, and auto
    is off for now. Captions are the same but for rounding."""
    backend: Backend = "auto"
    """What computes: torch, or onnxruntime (onnx) for a folder of `convert --to onnx`; auto
    goes by what CKPT is."""
    shared: PictureOptions = PictureOptions()

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)


OPTIONS = Options(
    of=CaptionOptions,
    arguments=("checkpoint", "pictures"),
    names=DECODING_NAMES,
    groups=DECODING_GROUP,
    hidden=DECODING_HIDDEN,
    either=EITHER_ROWS,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    OPTIONS.declare(parser)


def run(args: argparse.Namespace) -> int:
    """Caption; 1 where a picture was broken or a caption could not be written."""
    with OPTIONS.naming(args):
        options = OPTIONS.read(args)
        _refuse_unused(args, options)
        decoding = _decoding(options, beams_are_typed="decoding.beams" in OPTIONS.typed(args))
        return _caption(args, options, decoding)


def _refuse_unused(args: argparse.Namespace, options: CaptionOptions) -> None:
    kind = options.decoding.kind
    unused = unused_by(kind)
    if kind != "nucleus":
        unused[f"with --decode {kind}"] += ("seed",)
    if options.sidecars.write is None:
        unused["without --write"] = ("sidecars.write_name",)
    if not options.decoding.prompt:
        unused["without --prompt"] = ("keep_prompt",)
    OPTIONS.refuse_unused(args, unused)


def _caption(args: argparse.Namespace, options: CaptionOptions, decoding: DecodingConfig) -> int:
    from blip.log import progress

    paths = find_pictures(options.pictures, stdin=True)
    if not holds_video(paths):
        OPTIONS.refuse_unused(args, NO_VIDEO)
    texts = Sidecars(options.sidecars, paths) if options.sidecars.write else None
    if texts is not None:
        paths = texts.missing()
        if not paths:
            return 0
    captioner = _load(args, options)
    rows = RowPrinter.of(json=options.shared.rows.json, csv=options.shared.rows.csv)
    # Plain lines show no likelihoods, which cost another pass over each text.
    scored = rows.form != "text" or options.sidecars.is_json
    write = captioner.scored_captions if scored else captioner.captions
    # Decoding that the model cannot do is refused before the bar is drawn.
    write([], options.captions, decoding)
    broken = 0
    with progress(len(paths), "caption", "pictures") as bar:
        for batch in batches_of(paths, options.shared.batch_size, options.shared.frames):
            sound = open_pictures(
                batch,
                options.shared.model.max_pixels,
                options.shared.frames,
                captioner.config.vision.image_size,
            )
            broken += len(batch) - len(sound)
            written = write(
                [image for _, image in sound],
                options.captions,
                decoding,
                seeds=[_seeds(options.seed, path, options.captions) for path, _ in sound],
                batch_size=options.shared.batch_size,
                keep_prompt=options.keep_prompt,
            )
            for (path, _), plain in zip(sound, written, strict=True):
                captions = [_between(options.prefix, one, options.suffix) for one in plain]
                if texts is not None:
                    texts.write(path, captions)
                _print(rows, path, captions)
            bar.advance(len(batch))
    status = report_broken(broken, len(paths))
    return 1 if texts is not None and texts.failed else status


def _load(args: argparse.Namespace, options: CaptionOptions) -> "CaptionWriter":
    model = options.shared.model
    if uses_onnx(options.backend, options.checkpoint, model, OPTIONS, args):
        from blip.export.captioner import OnnxCaptioner

        return OnnxCaptioner.load(options.checkpoint)
    from blip.inference.captioner import Captioner

    captioner = Captioner.load(options.checkpoint, model.device, precision=model.precision)
    captioner.compile(options.compile)
    return captioner


def _decoding(options: CaptionOptions, *, beams_are_typed: bool) -> DecodingConfig:
    """How captions are written; beams that were not typed are as many as captions at least."""
    from blip.errors import UsageError
    from blip.generation.config import check_captions

    captions, decoding = options.captions, options.decoding
    if decoding.kind == "greedy" and captions > 1:
        raise UsageError(
            f"--captions {captions} needs --decode beam or nucleus; greedy decoding writes one"
        )
    if decoding.kind == "beam" and captions > decoding.beams:
        if beams_are_typed:
            raise UsageError(
                f"--beams must be at least --captions ({captions}), got {decoding.beams}"
            )
        decoding = replace(decoding, beams=captions)
    check_captions(captions, decoding)
    return decoding


def _seeds(seed: int, path: Place, count: int) -> list[int]:
    """Made of the picture's name, so that other pictures of the command do not change a caption."""
    import hashlib

    name = path if isinstance(path, str) else path.name
    texts = [f"{seed}/{name}", *(f"{seed}/{name}/{n}" for n in range(1, count))]
    digests = [hashlib.sha256(text.encode("utf-8", "surrogateescape")) for text in texts]
    return [int.from_bytes(digest.digest()[:7], "big") for digest in digests]


def _between(prefix: str, caption: "Caption | str", suffix: str) -> "Caption | str":
    text = f"{prefix}{text_of(caption)}{suffix}"
    return text if isinstance(caption, str) else caption._replace(text=text)


def _print(rows: RowPrinter, path: Place, captions: Iterable["Caption | str"]) -> None:
    from blip.log import printable

    for number, caption in enumerate(captions, 1):
        row: dict[str, str | int | float] = {"path": str(path), "number": number}
        row |= {"caption": text_of(caption), **numbers_of(caption)}
        rows.print(row, f"{printable(path)}\t{text_of(caption)}")
