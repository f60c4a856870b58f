"""A job of the smallest released models, and one that is replaced before workers load it."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.job import run
from blip.capfilt.models.checkpoints import CheckpointModels
from blip.capfilt.models.choose import checkpoint_models
from blip.capfilt.models.protocols import Models
from blip.errors import BlipError
from tests.support.capfilt import config, web_data
from tests.support.released_models import hugging_face


def job_of_released(folder: Path) -> CapFiltConfig:
    """A job of three shards with real models of the smallest size."""
    web_data(folder / "web", shards=3, samples=2)
    captioner = hugging_face(folder / "captioner", "causal")
    matcher = hugging_face(folder / "filter", "bidirectional")
    return replace(
        config(folder, device="cpu"), captioner=str(captioner), filter=str(matcher), workers=1
    )


def other_weights(folder: str) -> None:
    """Overwrite the weights where they lie, as `cp` does."""
    path = Path(folder) / "model.safetensors"
    other = path.with_name("other")
    save_file({n: t.flip(0).contiguous() for n, t in load_file(path).items()}, other)
    path.write_bytes(other.read_bytes())
    other.unlink()


@dataclass(frozen=True)
class ReplacedAfterLook:
    """Models whose captioner is replaced when the driver has looked at it, before workers load."""

    inner: CheckpointModels

    def fingerprints(self) -> tuple[str, str]:
        found = self.inner.fingerprints()
        other_weights(self.inner.captioner)
        return found

    def batch_size(self) -> int:
        return self.inner.batch_size()

    def default_workers(self, batch_size: int) -> int:
        return 2

    def load(self, place: int, expected: tuple[str, str]) -> Models:
        return self.inner.load(place, expected)


def check_what_workers_load(job: CapFiltConfig, **engine: object) -> None:
    """Workers refuse models that are not those that the job looked at."""
    job = replace(job, precision="float32", **engine)
    with pytest.raises(BlipError, match="captioner changed since the job began") as raised:
        run(job, models=ReplacedAfterLook(checkpoint_models(job)))
    assert "\n" not in str(raised.value)
    assert not list(Path(job.out, "done").glob("*.json"))
