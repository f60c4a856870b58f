"""`blip data`: pack any collection into shards, count and look into shards, draw the scenes."""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

from blip.cli.from_dataclass import Options
from blip.cli.parser import Parser
from blip.data.config import Collection
from blip.data.scenes.config import ScenesConfig

EXAMPLES = """\
examples:
  blip data pack photos/ shards/photos
  blip data pack flickr8k/train.parquet shards/train --per-shard 500
  blip data pack dataset_coco.json shards/coco-val --images coco/ --split val
  blip data pack msrvtt/videodatainfo.json shards/msrvtt --images msrvtt/videos --per-shard 200
  blip data inspect 'shards/train/*.tar'
  blip data inspect holiday/ msrvtt/videodatainfo.json 'clips/*.tar'
  blip data index 'laion/{00000..12899}.tar' coco/ 's3://bucket/cc12m/*.tar'
  blip data scenes shards/scenes --web 10000 --noise 0.6 --seed 1
  blip data scenes scenes --like runs/demo/data --questions 6
  blip data scenes scenes --questions 6 --statements 4 --dialogues 5
  blip data scenes scenes --like runs/demo/data --clips 100

`pack` takes WebDataset shards (.tar, and compressed ones), .parquet (image bytes or paths), .csv,
.tsv and .jsonl (paths), .json (annotations of BLIP, COCO or Karpathy) and folders of pictures with
text files beside them. It copies what decodes as a picture and has a text, and exits with 1 where
nothing does. Of a folder, table, tar or list that holds videos alone it packs these, as KEY.mp4
with their texts and questions, for `index` and `evaluate`. If it is stopped, run the same command
again to write it from the beginning.
`inspect` and `index` take what `pack` takes. Of videos `inspect` says how long and large they are,
and names HDR, rotated and variable-rate ones, and those that cannot be used. `index` counts the
samples of shards, local or remote, before a training that streams them does.
`scenes` draws images with captions, and as much as you ask for of --questions (VQA), --statements
(NLVR2), --dialogues (VisDial) for each image, and --clips (videos); --keys lists these and all
other keys with their values."""

SHOWN = 50
"""Faults that are printed without --json."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackOptions:
    """Options of `blip data pack`."""

    collection: Collection
    out: Path
    """Folder for the shards."""
    overwrite: bool = False
    """Replace what an earlier pack wrote to OUT."""
    json: bool = False
    """Print a JSON object."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectOptions:
    """Options of `blip data inspect`."""

    shards: tuple[str, ...]
    """Whatever `pack` takes, videos, and URLs."""
    json: bool = False
    """Print a JSON object."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexOptions:
    """Options of `blip data index`."""

    shards: tuple[str, ...]
    """Paths, globs, brace ranges, URLs."""
    cache: str = ""
    """Folder for the counts; without it, BLIP_CACHE or ~/.cache/blip."""
    json: bool = False
    """Print a JSON object."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScenesOptions:
    """Options of `blip data scenes`, beside the keys of its configuration."""

    out: Path | None = None
    """Folder for the splits human, web, val and test, and for clips where some are drawn."""
    like: Path | None = None
    """Start from the settings of scenes drawn earlier: their folder, or its config.json."""
    overwrite: bool = False
    """Replace scenes of other settings in OUT."""
    json: bool = False
    """Print a JSON object."""
    keys: bool = False
    """List all keys that --KEY VALUE may change, such as --questions, --statements, --dialogues
    and --clips, and exit."""


PACK_OPTIONS = Options(of=PackOptions, arguments=("collection.source", "out"), names={"out": "OUT"})
INSPECT_OPTIONS = Options(of=InspectOptions, arguments=("shards",))
INDEX_OPTIONS = Options(of=IndexOptions, arguments=("shards",))
SCENES_OPTIONS = Options(of=ScenesOptions, arguments=("out",), names={"out": "OUT"})


def add_arguments(parser: Parser) -> None:
    """Declare the four actions."""
    actions = parser.add_subparsers(
        dest="action", metavar="pack|inspect|index|scenes", required=True
    )
    PACK_OPTIONS.declare(actions.add_parser("pack", help="write shards from another form"))
    INSPECT_OPTIONS.declare(
        actions.add_parser(
            "inspect", help="count samples, texts and faults of shards, tables and folders"
        )
    )
    INDEX_OPTIONS.declare(
        actions.add_parser("index", help="count the samples of shards that will be streamed")
    )
    scenes = actions.add_parser("scenes", help="draw the built-in data set; --KEY VALUE changes it")
    SCENES_OPTIONS.declare(scenes)
    scenes.classes = (ScenesConfig,)


def run(args: argparse.Namespace) -> int:
    """Do the action."""
    actions = {"pack": _pack, "inspect": _inspect, "index": _index, "scenes": _scenes}
    return actions[args.action](args)


def _pack(args: argparse.Namespace) -> int:
    from blip.cli.rows import print_result
    from blip.data.pack import pack_collection
    from blip.data.readers.patterns import PACKED
    from blip.log import say

    options = PACK_OPTIONS.read(args)
    packed = pack_collection(options.collection, options.out, overwrite=options.overwrite)
    print_result(
        {"out": str(options.out), **asdict(packed)},
        f"{packed.samples} samples in {packed.shards} shards in {options.out}",
        json=options.json,
    )
    if packed.left_out:
        say(f"left out: {packed.describe_left_out()}; {options.out / PACKED} names the first")
    return 0


def _inspect(args: argparse.Namespace) -> int:
    from blip.cli.rows import print_json
    from blip.data.readers.inspection import inspect_places
    from blip.data.readers.video_places import find_any
    from blip.log import printable

    options = INSPECT_OPTIONS.read(args)
    contents = inspect_places(find_any(options.shards))
    videos = contents.videos
    if options.json:
        of_videos = {"of_videos": videos.to_json()} if videos.count else {}
        print_json({**contents.counts(), **of_videos, "faults": contents.faults})
    else:
        counts = contents.counts()
        width = max(9, *(len(name) + 1 for name in counts))
        print("\n".join(f"{name:<{width}}{count:>9}" for name, count in counts.items()))
        about = [videos.describe()] if videos.count else []
        for line in [*about, *contents.faults[:SHOWN], *videos.named[:SHOWN]]:
            print(printable(line))
    return 1 if contents.unread else 0


def _index(args: argparse.Namespace) -> int:
    from blip.cli.rows import print_json
    from blip.data.readers.cache import cache_folder
    from blip.data.readers.counts import INDEX
    from blip.data.readers.inspection import count_places
    from blip.data.readers.sources import find_places
    from blip.log import printable, say
    from blip.outputs import INDEX as INDEX_KIND
    from blip.outputs import refuse_inputs_as_output

    options = INDEX_OPTIONS.read(args)
    folder = cache_folder(options.cache)
    places = find_places(options.shards)
    refuse_inputs_as_output([*options.shards, *places], folder, INDEX_KIND)
    counted = count_places(places, folder)
    shards = counted.shards
    noted = [*counted.lost, *(fault for shard in shards for fault in shard.faults)]
    faults = [" ".join(filter(None, fault)) for fault in noted]
    counts: dict[str, object] = {
        "shards": len(shards),
        "samples": sum(shard.samples for shard in shards),
        "bytes": sum(shard.facts.size for shard in shards),
        "faults": faults,
    }
    if counted.others:
        counts |= {"others": counted.others, "samples_of_others": counted.samples_of_others}
        say(
            f"{counted.samples_of_others} samples in {counted.others} tables, folders or "
            "compressed tars, which need no index: only plain tars are streamed, and `blip data "
            "pack` writes them"
        )
    if options.json:
        print_json({**counts, "index": str(folder / INDEX)})
    else:
        if shards:
            noted_in = printable(folder / INDEX)
            print(f"{counts['samples']} samples in {counts['shards']} shards, noted in {noted_in}")
        for fault in faults[:SHOWN]:
            print(printable(fault))
    return 1 if counted.lost else 0


def _scenes(args: argparse.Namespace) -> int:
    from blip.cli.rows import print_keys, print_result
    from blip.config.override import override
    from blip.data.scenes.write import write_splits
    from blip.errors import UsageError

    options = SCENES_OPTIONS.read(args)
    config = override(_start_scenes(options.like), args.overrides)
    if options.keys:
        print_keys(config, json=options.json)
        return 0
    if options.out is None:
        raise UsageError("name the folder OUT; see `blip data scenes --help`")
    images = write_splits(config, options.out, overwrite=options.overwrite)
    lines = [f"{options.out}/{split}  {count} images" for split, count in images.items()]
    if config.clips:
        lines.append(f"{options.out}/clips  {config.clips} videos")
    result = {"out": str(options.out), "images": images, "videos": config.clips}
    print_result(result, "\n".join(lines), json=options.json)
    return 0


def _start_scenes(like: Path | None) -> ScenesConfig:
    """The defaults, or the settings of scenes drawn earlier; UsageError where there are none."""
    from blip.config.history import load_config
    from blip.errors import UsageError

    if like is None:
        return ScenesConfig()
    path = like / "config.json" if like.is_dir() else like
    if not path.is_file():
        raise UsageError(
            f"--like {like}: no settings of scenes; allowed: a folder that `blip data scenes` or "
            "`blip demo` wrote, or its config.json"
        )
    return load_config(ScenesConfig, path)
