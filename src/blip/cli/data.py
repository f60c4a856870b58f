"""`blip data`: pack any collection into shards, count and look into shards, draw the scenes."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from blip.cli import options
from blip.data.config import MAX_PIXELS

TAKES_OVERRIDES = True
EXAMPLES = """\
examples:
  blip data pack photos/ shards/photos
  blip data pack flickr8k/train.parquet shards/train --per-shard 500
  blip data pack dataset_coco.json shards/coco-val --images coco/ --split val
  blip data inspect 'shards/train/*.tar'
  blip data index 'laion/{00000..12899}.tar' coco/ 's3://bucket/cc12m/*.tar'
  blip data scenes shards/scenes --web 10000 --noise 0.6 --seed 1

`pack` takes WebDataset shards, .parquet (image bytes or paths), .csv and .tsv (paths), .json (BLIP
or Karpathy annotations) and folders of pictures with text files beside them.
`index` counts the samples of shards, local or remote, before a training that streams them does."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the four actions."""
    actions = parser.add_subparsers(
        dest="action", metavar="pack|inspect|index|scenes", required=True
    )
    pack = actions.add_parser("pack", help="write shards from another form")
    pack.add_argument("source", metavar="SRC")
    pack.add_argument("out", metavar="OUT", type=options.output_folder)
    pack.add_argument(
        "--per-shard", type=options.positive_int, default=1000, metavar="N", help="(1000)"
    )
    pack.add_argument(
        "--max-pixels",
        type=options.positive_int,
        default=MAX_PIXELS,
        metavar="N",
        help="largest picture that is packed: width times height (100000000)",
    )
    pack.add_argument(
        "--images", type=options.input_path, metavar="DIR", help="where JSON paths start"
    )
    pack.add_argument("--split", metavar="NAME", help="of a Karpathy file")
    pack.add_argument(
        "--allow-missing-text",
        action="store_true",
        help="pack pictures without a text, too, with an empty one: CapFilt captions them",
    )
    pack.add_argument(
        "--overwrite", action="store_true", help="replace what an earlier pack wrote to OUT"
    )
    inspect = actions.add_parser("inspect", help="count samples, texts and faults of shards")
    inspect.add_argument("shards", nargs="+", metavar="SHARDS")
    inspect.add_argument("--json", action="store_true", help="as a JSON object")
    index = actions.add_parser("index", help="count the samples of shards that will be streamed")
    index.add_argument("shards", nargs="+", metavar="SHARDS", help="paths, globs, ranges, URLs")
    index.add_argument(
        "--cache", default="", metavar="DIR", help="where counts lie (BLIP_CACHE or ~/.cache/blip)"
    )
    index.add_argument("--json", action="store_true", help="as a JSON object")
    scenes = actions.add_parser("scenes", help="draw the built-in data set; --KEY VALUE changes it")
    scenes.add_argument("out", metavar="OUT", type=options.output_folder)
    scenes.add_argument("--keys", action="store_true", help="list all keys and exit")


def run(args: argparse.Namespace) -> int:
    """Do the action."""
    from blip.errors import UsageError

    if args.action == "scenes":
        return _scenes(args)
    if args.overrides:
        raise UsageError(f"unknown arguments {' '.join(args.overrides)}")
    return {"pack": _pack, "inspect": _inspect, "index": _index}[args.action](args)


def _pack(args: argparse.Namespace) -> int:
    from blip.data.pack import Collection, pack_collection
    from blip.log import say

    collection = Collection(
        source=args.source,
        images=args.images,
        split=args.split,
        per_shard=args.per_shard,
        max_pixels=args.max_pixels,
        allow_missing_text=args.allow_missing_text,
    )
    packed = pack_collection(collection, args.out, overwrite=args.overwrite)
    print(f"{packed.samples} samples in {packed.shards} shards in {args.out}")
    if packed.left_out:
        say(f"left out: {packed.tell_left_out()}")
    return 0


def _inspect(args: argparse.Namespace) -> int:
    from blip.data.counts import locate
    from blip.data.remote import is_remote, on_disk
    from blip.errors import BlipError
    from blip.log import progress

    shards = locate(args.shards)
    found: dict[str, int] = {"shards": len(shards), "samples": 0, "texts": 0}
    faults: list[str] = []
    unread = 0
    with progress(len(shards), "inspect", "shards") as bar:
        for shard in shards:
            name = shard if is_remote(shard) else Path(shard).name
            try:
                with on_disk(shard) as path:
                    faults += (f"{name} {fault}" for fault in _look_through(path, found))
            except BlipError as error:
                unread += 1
                faults.append(f"{name} unreadable: {error}")
            bar.advance()
    found["bad"] = len(faults)
    if args.json:
        print(json.dumps({**found, "faults": faults}, ensure_ascii=False))
    else:
        print("\n".join(f"{name:<9}{count:>9}" for name, count in found.items()))
        print("\n".join(faults[:50]))
    return 1 if unread else 0


def _look_through(shard: Path, found: dict[str, int]) -> Iterator[str]:
    """Count samples and texts of a shard; key and reason of each bad one."""
    from blip.data.images import BadImageError, decode_image
    from blip.data.shards import read_shard

    for sample in read_shard(shard):
        found["samples"] += 1
        found["texts"] += len(sample.texts)
        error = sample.error
        try:
            if error is None and sample.image is not None:
                decode_image(sample.image)
        except BadImageError as bad:
            error = str(bad)
        if error is not None:
            yield f"{sample.key or '-'} {error}"


def _index(args: argparse.Namespace) -> int:
    from blip.data.archive import Fault
    from blip.data.cache import cache_folder
    from blip.data.counts import INDEX, index_shards, locate
    from blip.outputs import INDEX as INDEX_KIND
    from blip.outputs import refuse_inputs_as_output

    folder = cache_folder(args.cache)
    located = locate(args.shards)
    refuse_inputs_as_output([*args.shards, *located], folder, INDEX_KIND)
    lost: list[Fault] = []
    shards = index_shards(located, folder, lost)
    noted = [*lost, *(fault for shard in shards for fault in shard.faults)]
    faults = [" ".join(filter(None, fault)) for fault in noted]
    found: dict[str, object] = {
        "shards": len(shards),
        "samples": sum(shard.samples for shard in shards),
        "bytes": sum(shard.facts.size for shard in shards),
        "faults": faults,
    }
    if args.json:
        print(json.dumps({**found, "index": str(folder / INDEX)}, ensure_ascii=False))
    else:
        print(f"{found['samples']} samples in {found['shards']} shards, noted in {folder / INDEX}")
        print("\n".join(faults[:50]))
    return 1 if lost else 0


def _scenes(args: argparse.Namespace) -> int:
    from blip.config.override import describe, override
    from blip.data.scenes.config import ScenesConfig
    from blip.data.scenes.write import write_splits

    config = override(ScenesConfig(), args.overrides)
    if args.keys:
        print(describe(config))
        return 0
    for split, images in write_splits(config, args.out).items():
        print(f"{args.out}/{split}  {images} images")
    return 0
