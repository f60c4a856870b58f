"""Case 06: rows of the same picture are one image in evaluation, whatever table they come from."""

from pathlib import Path
from typing import Any

import pytest

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.job import run
from blip.data.readers.sources import read_samples
from blip.data.writers.shards import write_shards
from blip.evaluation.config import EvaluateConfig
from blip.evaluation.evaluate import evaluate
from blip.tasks.table import EVALUATIONS
from tests.support.capfilt import FakeModels
from tests.support.generators import run_generator
from tests.support.saved_models import tiny_checkpoint


def figures(checkpoint: Path, *shards: Path) -> dict[str, Any]:
    return evaluate(
        EvaluateConfig(checkpoint=str(checkpoint), data=tuple(map(str, shards))), EVALUATIONS
    )


@pytest.mark.parametrize("table", ["rows.csv", "keyed.csv"])
def test_a_row_for_every_caption_gives_the_figures_of_the_merged_file(
    tmp_path: Path, table: str
) -> None:
    folder = run_generator("06-row-a-caption", tmp_path)
    checkpoint = tiny_checkpoint(tmp_path / "model", ["picture text 0 1 2 3 4 5"])
    found = []
    for name in ("merged.json", table):
        # So that rows of one image lie in two shards.
        write_shards(read_samples(str(folder / name)), folder / f"{name}-shards", per_shard=4)
        found.append(figures(checkpoint, folder / f"{name}-shards"))
    merged, rows = found
    assert (rows["images"], rows["texts"]) == (6, 18)
    for part in ("images", "texts", "retrieval", "caption"):
        assert rows[part] == merged[part]
    assert list(rows["captions"].values()) == list(merged["captions"].values())


@pytest.mark.parametrize("form", ["rows.csv", "keyed.csv", "merged.json", "pictures"])
def test_every_form_gives_the_figures_of_its_pack(tmp_path: Path, form: str) -> None:
    folder = run_generator("06-row-a-caption", tmp_path / "data")
    checkpoint = tiny_checkpoint(tmp_path / "model", ["picture text 0 1 2 3 4 5"])
    if form == "pictures":
        # A folder of pictures with their texts beside them, made of the merged file.
        (folder / form).mkdir()
        for sample in read_samples(str(folder / "merged.json")):
            path = folder / form / f"{sample.key.replace('/', '-')}.{sample.extension}"
            path.write_bytes(sample.image or b"")
            path.with_suffix(".txt").write_text("\n".join(sample.texts))
    write_shards(read_samples(str(folder / form)), tmp_path / "shards", per_shard=4)
    packed, direct = figures(checkpoint, tmp_path / "shards"), figures(checkpoint, folder / form)
    assert (direct["images"], direct["texts"]) == (6, 18)
    assert direct == packed


def test_what_capfilt_wrote_is_as_many_images_as_it_read(tmp_path: Path) -> None:
    folder = run_generator("06-row-a-caption", tmp_path)
    checkpoint = tiny_checkpoint(tmp_path / "model", ["picture text 0 1 2 3 4 5 a red square"])
    write_shards(read_samples(str(folder / "rows.csv")), folder / "shards", per_shard=4)
    data = folder / "shards"
    for round_ in ("one", "two"):
        config = CapFiltConfig(
            captioner="c",
            filter="f",
            data=(str(data),),
            out=str(folder / round_),
            threshold=0.0,
            workers=1,
            batch_size=4,
        )
        run(config, models=FakeModels())
        data = folder / round_ / "shards"
        assert figures(checkpoint, data)["images"] == 6
