"""Writes the data of the experiment on real photos, once."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from blip.data.readers.sources import find_sources, read_sources
from blip.errors import UsageError
from blip.files import write_json
from experiments.flickr8k import prepare as flickr8k

JUDGED = 500
UNLABELLED = 300
NEEDED = (
    "flickr8k/train.parquet",
    "flickr8k/dev.parquet",
    "coco/images.parquet",
    "coco/unlabelled.parquet",
    "webalt/train.parquet",
)


def prepare(shared: Path, out: Path, seed: int) -> None:
    """Write Flickr8k's four splits (experiments.flickr8k), and the tables of this experiment.

    `judged.parquet`: dev photos with captions, none of which are in `val`. `unlabelled.parquet`:
    photos of COCO without text. Raises UsageError if a table is absent.
    """
    if absent := [name for name in NEEDED if not (shared / name).is_file()]:
        raise UsageError(f"{shared / absent[0]} is absent; BLIP_SHARED must name its folder")
    if not (out / "counts.json").is_file():
        flickr8k.prepare(shared / "flickr8k", out, seed)
    test = [sample.key for _, sample in read_sources(find_sources([str(out / "test")]))]
    dev = parquet.read_table(shared / "flickr8k/dev.parquet")
    chosen = set(test[:JUDGED])
    parquet.write_table(
        dev.filter(pa.array([key in chosen for key in dev["key"].to_pylist()])),
        out / "judged.parquet",
    )
    photos = parquet.read_table(shared / "coco/unlabelled.parquet")
    order = np.random.Generator(np.random.PCG64([seed, 19])).permutation(len(photos))
    parquet.write_table(photos.take(order[:UNLABELLED]), out / "unlabelled.parquet")
    write_json(out / "prepared.json", {"seed": seed})
