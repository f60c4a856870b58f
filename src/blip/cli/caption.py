"""`blip caption`: captions for pictures and folders of pictures."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from blip.generation.config import SearchConfig

EXAMPLES = """\
examples:
  blip caption runs/demo/round-1/captioner picture.png
  blip caption runs/captioner photos/ --write txt
  blip caption runs/captioner photos/*.jpg --search nucleus --top-p 0.9 --seed 7 --json
  blip caption runs/captioner photo.jpg --prompt "a picture of "

Prints PATH, a tab and the caption. With --write txt the caption goes into a text file beside each
picture (photo.jpg, photo.txt), as trainers of image generators read it."""

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint or run folder")
    parser.add_argument("pictures", nargs="+", metavar="IMAGE|FOLDER", type=Path)
    parser.add_argument("--write", choices=("txt",), help="a text file beside each picture")
    parser.add_argument(
        "--overwrite", action="store_true", help="with --write: replace text files that are there"
    )
    parser.add_argument("--search", choices=("beam", "greedy", "nucleus"), default="beam")
    parser.add_argument("--beams", type=int, default=3, metavar="N", help="beam: hypotheses (3)")
    parser.add_argument("--top-p", type=float, default=0.9, metavar="P", help="nucleus: mass (0.9)")
    parser.add_argument(
        "--min-length", type=int, default=5, metavar="N", help="tokens, start and prompt too (5)"
    )
    parser.add_argument("--max-length", type=int, default=30, metavar="N", help="likewise (30)")
    parser.add_argument("--repetition-penalty", type=float, default=1.0, metavar="P", help="(1)")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="start of every caption")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="nucleus (0)")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="(16)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="number format (auto: bfloat16 on a GPU that has it, else float32)",
    )
    parser.add_argument("--json", action="store_true", help="a JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Caption; 1 where a picture was broken."""
    from blip.inference.captioner import Captioner
    from blip.log import progress, say
    from blip.nn.device import choose_device, choose_dtype

    search = _search(args)
    paths = list(find_pictures(args.pictures))
    if args.write and not args.overwrite:
        there = [path for path in paths if path.with_suffix(".txt").exists()]
        if there:
            say(f"{len(there)} pictures have a text file already, which is kept (--overwrite)")
        paths = [path for path in paths if path not in set(there)]
    device = choose_device(args.device)
    dtype = choose_dtype(args.precision, device)
    captioner = Captioner.load(args.checkpoint, device, dtype=dtype)
    broken = 0
    with progress(len(paths), "caption", "pictures") as bar:
        for start in range(0, len(paths), args.batch_size):
            batch = paths[start : start + args.batch_size]
            opened = [(path, open_picture(path)) for path in batch]
            sound = [(path, image) for path, image in opened if image is not None]
            broken += len(opened) - len(sound)
            # The seed follows the picture's name: neighbours do not change a caption.
            seeds = [_seed(args.seed, path) for path, _ in sound]
            texts = captioner.caption([image for _, image in sound], search, seeds=seeds)
            for (path, _), text in zip(sound, texts, strict=True):
                _tell(args, path, text)
            bar.advance(len(batch))
    if broken:
        say(f"{broken} of {len(paths)} pictures could not be read")
    return 1 if broken else 0


def find_pictures(named: list[Path]) -> Iterator[Path]:
    """The pictures that are named, and those below named folders, in sorted order.

    Raises UsageError for what does not exist, and for a folder without pictures.
    """
    from blip.errors import UsageError

    for path in named:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURES)
            if not found:
                raise UsageError(f"{path} holds no pictures ({', '.join(PICTURES)})")
            yield from found
        elif path.exists():
            yield path
        else:
            raise UsageError(f"no picture at {path}: no such file or folder")


def open_picture(path: Path) -> "Image.Image | None":
    """The picture, or None and a line on stderr."""
    from blip.data.images import BadImageError, decode_image
    from blip.log import say

    try:
        return decode_image(path.read_bytes())
    except BadImageError as error:
        say(f"{path}: {error}")
    except OSError as error:
        say(f"{path}: {error.strerror}")
    return None


def _search(args: argparse.Namespace) -> "SearchConfig":
    from blip.errors import UsageError
    from blip.generation.config import SearchConfig

    try:
        return SearchConfig(
            kind=args.search,
            beams=args.beams,
            top_p=args.top_p,
            min_length=args.min_length,
            max_length=args.max_length,
            repetition_penalty=args.repetition_penalty,
            prompt=args.prompt,
        )
    except ValueError as error:
        raise UsageError(f"--{str(error).replace('_', '-', 1)}") from error


def _seed(seed: int, path: Path) -> int:
    import hashlib

    digest = hashlib.sha256(f"{seed}/{path.name}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def _tell(args: argparse.Namespace, path: Path, text: str) -> None:
    from blip.files import write_atomically

    if args.write:
        write_atomically(path.with_suffix(".txt"), text + "\n")
    if args.json:
        print(json.dumps({"path": str(path), "caption": text}, ensure_ascii=False), flush=True)
    else:
        print(f"{path}\t{text}", flush=True)
