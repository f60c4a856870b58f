"""Pictures in tars, a table and a folder from which tests make an index."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from blip import Embedder
from blip.data.writers.shards import ShardWriter
from tests.support.pictures import photo
from tests.support.saved_models import save_picture


def write_tar(path: Path, seeds: range, broken: tuple[int, ...] = ()) -> Path:
    """A shard of noise pictures; those of `broken` are truncated."""
    with ShardWriter(path) as writer:
        for seed in seeds:
            image = photo(seed)[:40] if seed in broken else photo(seed)
            writer.write(f"{seed:04d}", image, "png", f"text {seed}", {})
    return path


def write_collection(folder: Path) -> list[str]:
    """A tar of 7 with a broken one, a table of 3 and a folder of 2: 11 sound pictures."""
    write_tar(folder / "a.tar", range(7), broken=(2,))
    rows = [{"image": photo(seed), "text": f"row {seed}"} for seed in range(10, 13)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "table.parquet")
    for seed in (20, 21):
        save_picture(folder / f"photos/{seed}.png", seed)
    return [str(folder / name) for name in ("a.tar", "table.parquet", "photos")]


SEEDS = [0, 1, 3, 4, 5, 6, 10, 11, 12]
"""Of the sound pictures in the tar and the table, in their order."""


def features(checkpoint: Path, seeds: list[int]) -> np.ndarray:
    """What the model makes of noise pictures, each embedded alone."""
    embedder = Embedder.load(checkpoint)
    pictures = [Image.open(io.BytesIO(photo(seed))) for seed in seeds]
    return np.concatenate([embedder.embed_images([picture]) for picture in pictures])


def index_bytes(out: Path) -> dict[str, bytes]:
    """All files of an index, but its lock."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
