"""A disk that fills up: a clear end, nothing half-written taken for whole, and the job resumes."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blip.capfilt.job import run
from blip.data.writers.shards import ShardWriter
from blip.errors import BlipError
from tests.support.capfilt import FakeModels, config, output_bytes
from tests.support.small_disk import make_room, small_disk

pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as place:
        yield place


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """Four shards, each of which makes a quarter of a megabyte or so."""
    generator = np.random.default_rng(0)
    for shard in range(4):
        with ShardWriter(tmp_path / f"web/{shard}.tar") as writer:
            for number in range(4):
                pixels = generator.integers(0, 255, (128, 128, 3), np.uint8)
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "PNG")
                writer.write(f"{shard}{number}", buffer.getvalue(), "png", "a red thing", {})
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_reported_in_a_line_and_the_job_resumes_with_more_room(disk, web, workers):
    job = config(web, "disk/out", workers=workers, threshold=0.0)
    with pytest.raises(BlipError, match=r"No space left on device; free some space") as raised:
        run(job, models=FakeModels())
    assert "\n" not in str(raised.value)
    out = disk / "out"
    done = {path.stem for path in out.glob("done/*.json")}
    assert len(done) < 4
    assert not (out / "summary.json").exists()
    left = [
        path.name for path in out.rglob("*") if path.name.endswith(".part") or "part" in path.name
    ]
    assert left == [], "what was half-written is cleared away"
    make_room(disk)
    summary = run(job, models=FakeModels())
    assert summary.counts.images == 16
    run(config(web, "whole", threshold=0.0), models=FakeModels())
    assert output_bytes(out) == output_bytes(web / "whole")
