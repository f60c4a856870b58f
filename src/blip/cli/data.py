"""`blip data`: pack any collection into shards, count and look into shards, draw the scenes."""

import argparse

from blip.cli import options
from blip.data.config import MAX_PIXELS

TAKES_OVERRIDES = ("scenes",)
EXAMPLES = """\
examples:
  blip data pack photos/ shards/photos
  blip data pack flickr8k/train.parquet shards/train --per-shard 500
  blip data pack dataset_coco.json shards/coco-val --images coco/ --split val
  blip data inspect 'shards/train/*.tar'
  blip data index 'laion/{00000..12899}.tar' coco/ 's3://bucket/cc12m/*.tar'
  blip data scenes shards/scenes --web 10000 --noise 0.6 --seed 1

`pack` takes WebDataset shards (.tar, and compressed ones), .parquet (image bytes or paths), .csv,
.tsv and .jsonl (paths), .json (annotations of BLIP, COCO or Karpathy) and folders of pictures with
text files beside them. It copies what decodes as a picture and has a text, and exits with 1 where
nothing does. One that was stopped is written anew by the same command. `inspect` and `index` take
what `pack` takes. `index` counts the samples of shards, local or remote, before a training that
streams them does."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the four actions."""
    actions = parser.add_subparsers(
        dest="action", metavar="pack|inspect|index|scenes", required=True
    )
    pack = actions.add_parser("pack", help="write shards from another form")
    pack.add_argument(
        "source", metavar="SRC", help="shards, a table, annotations or a folder of pictures"
    )
    pack.add_argument(
        "out", metavar="OUT", type=options.output_folder, help="folder for the shards"
    )
    pack.add_argument(
        "--per-shard",
        type=options.positive_int,
        default=1000,
        metavar="N",
        help="samples of a shard (1000)",
    )
    options.add_max_pixels(pack, MAX_PIXELS)
    pack.add_argument(
        "--images",
        type=options.input_path,
        metavar="DIR",
        help="where paths in tables and annotation files start",
    )
    pack.add_argument(
        "--split", metavar="NAME", help="of a Karpathy file, or of a table with a column `split`"
    )
    pack.add_argument(
        "--allow-missing-text",
        action="store_true",
        help="pack pictures without a text, too, with an empty one: CapFilt captions them",
    )
    pack.add_argument(
        "--overwrite", action="store_true", help="replace what an earlier pack wrote to OUT"
    )
    inspect = actions.add_parser(
        "inspect", help="count samples, texts and faults of shards, tables and folders"
    )
    inspect.add_argument("shards", nargs="+", metavar="DATA", help="whatever pack takes, and URLs")
    inspect.add_argument("--json", action="store_true", help="as a JSON object")
    index = actions.add_parser("index", help="count the samples of shards that will be streamed")
    index.add_argument("shards", nargs="+", metavar="DATA", help="paths, globs, ranges, URLs")
    index.add_argument(
        "--cache", default="", metavar="DIR", help="where counts lie (BLIP_CACHE or ~/.cache/blip)"
    )
    index.add_argument("--json", action="store_true", help="as a JSON object")
    scenes = actions.add_parser("scenes", help="draw the built-in data set; --KEY VALUE changes it")
    scenes.add_argument("out", metavar="OUT", type=options.output_folder)
    scenes.add_argument(
        "--overwrite", action="store_true", help="replace scenes of other settings in OUT"
    )
    scenes.add_argument("--keys", action="store_true", help="list all keys and exit")


def run(args: argparse.Namespace) -> int:
    """Do the action."""
    actions = {"pack": _pack, "inspect": _inspect, "index": _index, "scenes": _scenes}
    return actions[args.action](args)


def _pack(args: argparse.Namespace) -> int:
    from blip.data.pack import Collection, pack_collection
    from blip.data.readers.patterns import PACKED
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
        say(f"left out: {packed.describe_left_out()}; {args.out / PACKED} names the first")
    return 0


def _inspect(args: argparse.Namespace) -> int:
    from blip.cli.rows import print_json
    from blip.data.readers.inspection import find_places, inspect_places

    contents = inspect_places(find_places(args.shards))
    if args.json:
        print_json({**contents.counts(), "faults": contents.faults})
    else:
        print("\n".join(f"{name:<9}{count:>9}" for name, count in contents.counts().items()))
        for fault in contents.faults[:50]:
            print(fault)
    return 1 if contents.unread else 0


def _index(args: argparse.Namespace) -> int:
    from blip.cli.rows import print_json
    from blip.data.readers.cache import cache_folder
    from blip.data.readers.counts import INDEX
    from blip.data.readers.inspection import count_places, find_places
    from blip.log import say
    from blip.outputs import INDEX as INDEX_KIND
    from blip.outputs import refuse_inputs_as_output

    folder = cache_folder(args.cache)
    places = find_places(args.shards)
    refuse_inputs_as_output([*args.shards, *places], folder, INDEX_KIND)
    counted = count_places(places, folder)
    shards = counted.shards
    noted = [*counted.lost, *(fault for shard in shards for fault in shard.faults)]
    faults = [" ".join(filter(None, fault)) for fault in noted]
    found: dict[str, object] = {
        "shards": len(shards),
        "samples": sum(shard.samples for shard in shards),
        "bytes": sum(shard.facts.size for shard in shards),
        "faults": faults,
    }
    if counted.others:
        found |= {"others": counted.others, "samples_of_others": counted.samples_of_others}
        say(
            f"{counted.samples_of_others} samples in {counted.others} tables, folders or "
            "compressed tars, which need no index: only plain tars are streamed, and `blip data "
            "pack` writes them"
        )
    if args.json:
        print_json({**found, "index": str(folder / INDEX)})
    else:
        if shards:
            noted_in = folder / INDEX
            print(f"{found['samples']} samples in {found['shards']} shards, noted in {noted_in}")
        for fault in faults[:50]:
            print(fault)
    return 1 if counted.lost else 0


def _scenes(args: argparse.Namespace) -> int:
    from blip.config.override import describe, override
    from blip.data.scenes.config import ScenesConfig
    from blip.data.scenes.write import write_splits

    config = override(ScenesConfig(), args.overrides)
    if args.keys:
        print(describe(config))
        return 0
    for split, images in write_splits(config, args.out, overwrite=args.overwrite).items():
        print(f"{args.out}/{split}  {images} images")
    return 0
