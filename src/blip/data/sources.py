"""Any kind of collection, told apart by its name, as samples."""

from collections.abc import Iterator
from pathlib import Path

from blip.data.annotations.captions import read_annotations
from blip.data.identity import keep_identity, tell_apart
from blip.data.sample import Sample
from blip.data.shards import expand, read_shard
from blip.data.tables import read_csv, read_folder, read_parquet
from blip.errors import UsageError


def read_samples(
    source: str, images: Path | None = None, split: str | None = None
) -> Iterator[Sample]:
    """Samples of shards, a .parquet, .csv, .tsv or .json file, or a folder of pictures.

    `images` is the folder that a JSON file's paths start from (its own by default), `split` one of
    Karpathy's. Raises UsageError for what is none of these.
    """
    path = Path(source)
    match path.suffix.lower():
        case ".parquet":
            yield from read_parquet(_existing(path))
        case ".csv" | ".tsv":
            yield from read_csv(_existing(path))
        case ".json":
            yield from read_annotations(_existing(path), images or path.parent, split)
        case _ if path.is_dir() and not any(path.glob("*.tar")):
            yield from read_folder(path)
        case _:
            shards = expand([source])
            names = tell_apart(shards) or [shard.as_posix() for shard in shards]
            for shard, name in zip(shards, names, strict=True):
                yield from keep_identity(read_shard(shard), name, shard)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f"no file at {path}")
    return path
