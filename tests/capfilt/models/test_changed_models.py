"""A job belongs to the models that it began with; models that give no numbers end it."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from blip.capfilt.engine.local import InlineEngine
from blip.capfilt.job import run
from blip.capfilt.models.protocols import Models, Score
from blip.capfilt.stages import filter as filter_stage
from blip.errors import BlipError, NotFiniteError, UsageError
from blip.inference.checkpoint import fingerprint
from tests.support.capfilt import (
    FakeCaptioner,
    FakeFilter,
    FakeModels,
    config,
    output_bytes,
    web_data,
)
from tests.support.replaced_models import check_what_workers_load, job_of_released, other_weights

pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture
def job(tmp_path: Path):
    return job_of_released(tmp_path)


class Meddling:
    """Changes a checkpoint after some shards; the worker then goes on, or a new one comes."""

    def __init__(self, meddle, *, new_worker: bool) -> None:
        self.meddle, self.new_worker = meddle, new_worker

    def run(self, items, make_worker):
        if self.new_worker:
            yield from InlineEngine().run(items[:1], make_worker)
            self.meddle()
            yield from InlineEngine().run(items[1:], make_worker)
            return
        for number, outcome in enumerate(InlineEngine().run(items, make_worker)):
            if number == 0:
                self.meddle()
            yield outcome


def other_tokenizer(folder: str) -> None:
    """As many tokens; two have changed places."""
    path = Path(folder) / "tokenizer.json"
    tokens = json.loads(path.read_text())
    words = tokens["model"]["vocab"]
    words["red"], words["green"] = words["green"], words["red"]
    path.write_text(json.dumps(tokens))


def other_sizes(folder: str) -> None:
    path = Path(folder) / "config.json"
    sizes = json.loads(path.read_text())
    sizes["vision_config"]["layer_norm_eps"] = 1e-3
    path.write_text(json.dumps(sizes))


CHANGES = {"weights": other_weights, "tokenizer": other_tokenizer, "sizes": other_sizes}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("model", ["captioner", "filter"])
def test_a_worker_that_comes_to_a_changed_checkpoint_is_refused(job, model, change):
    before = fingerprint(job.captioner), fingerprint(job.filter)
    engine = Meddling(lambda: CHANGES[change](getattr(job, model)), new_worker=True)
    with pytest.raises(BlipError, match=f"{model} changed since the job began: .*another --out"):
        run(job, engine=engine)
    markers = [json.loads(path.read_text()) for path in Path(job.out, "done").iterdir()]
    assert len(markers) == 1, "what was done before stays"
    settings = markers[0]["settings"]
    assert (settings["captioner"], settings["filter"]) == before


def test_workers_in_processes_of_their_own_check_what_they_load(job):
    check_what_workers_load(job, engine="local", workers=2)


@pytest.mark.parametrize("change", CHANGES)
def test_a_job_that_goes_on_with_a_changed_model_is_refused(job, change):
    run(job)
    before = output_bytes(Path(job.out))
    CHANGES[change](job.captioner)
    with pytest.raises(
        UsageError, match=r"captioner \w{20} \(now \w{20}\) \(the weights, .* differ"
    ):
        run(job)
    assert output_bytes(Path(job.out)) == before


def test_a_worker_keeps_the_models_that_it_loaded(job, tmp_path):
    run(replace(job, out=str(tmp_path / "whole")))

    def meddle() -> None:
        for change in CHANGES.values():
            change(job.captioner)
            change(job.filter)

    run(job, engine=Meddling(meddle, new_worker=False))
    assert output_bytes(Path(job.out)) == output_bytes(tmp_path / "whole")


def test_a_copy_of_a_model_goes_on_with_its_job(job, tmp_path):
    run(job)
    for name in ("captioner", "filter"):
        shutil.copytree(getattr(job, name), tmp_path / "moved" / name)
    moved = replace(
        job,
        captioner=str(tmp_path / "moved/captioner"),
        filter=str(tmp_path / "moved/filter"),
    )
    before = output_bytes(Path(job.out))
    run(moved)
    assert output_bytes(Path(job.out)) == before


def test_a_job_of_an_earlier_version_is_refused_in_words(tmp_path):
    web_data(tmp_path / "web", shards=1)
    run(config(tmp_path), models=FakeModels(captioner="a" * 16, filter="b" * 16))
    with pytest.raises(UsageError, match=r"earlier version.*their weights alone; finish it.*recut"):
        run(config(tmp_path), models=FakeModels(captioner="c" * 20, filter="d" * 20))


# Models that give no numbers.


@dataclass(frozen=True)
class NanFilter(FakeFilter):
    """No finite score, but for texts about a colour that is named here."""

    sound: str = "none"
    sound_of_grey: bool = False
    image_size: int = 16

    def score(self, images: Sequence[Tensor], texts: Sequence[Sequence[str]]) -> list[list[Score]]:
        grey = self.sound_of_grey and not any(image.any() for image in images)
        return [
            [
                Score(0.9, 0.5) if grey or self.sound in text else Score(float("nan"), 0.0)
                for text in row
            ]
            for row in texts
        ]


@dataclass(frozen=True)
class NanCaptioner:
    image_size: int = 8
    sound_of_grey: bool = False

    def caption(self, images: Sequence[Tensor], seeds: Sequence[Sequence[int]]) -> list[list[str]]:
        if self.sound_of_grey and not any(image.any() for image in images):
            return [["grey"] for _ in images]
        raise NotFiniteError("the model gave logits that are not numbers")


@dataclass(frozen=True)
class Given(FakeModels):
    """These models."""

    models: Models = Models(FakeCaptioner(), FakeFilter())

    def load(self, place: int, expected: tuple[str, str]) -> Models:
        return self.models


@pytest.mark.parametrize("workers", [1, 2])
def test_a_filter_without_a_finite_score_stops_the_job(tmp_path, workers):
    web_data(tmp_path / "web")
    broken = Given(models=Models(FakeCaptioner(), NanFilter()))
    with pytest.raises(BlipError, match="filter's scores are NaN or infinite for all") as raised:
        run(config(tmp_path, workers=workers), models=broken)
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "out/done").glob("*.json")), "nothing was dropped"


def test_a_filter_with_some_finite_scores_goes_on_and_the_others_are_counted(tmp_path):
    web_data(tmp_path / "web")
    odd = Given(models=Models(FakeCaptioner(), NanFilter(sound="red")))
    counts = run(config(tmp_path), models=odd).counts
    assert counts.images == 21
    assert 0 < counts.reasons["score_not_finite"] < counts.records


def test_odd_pictures_are_not_taken_for_a_broken_filter(tmp_path, monkeypatch):
    web_data(tmp_path / "web", shards=1, samples=2)
    odd = Given(models=Models(FakeCaptioner(), NanFilter(sound_of_grey=True)))
    counts = run(config(tmp_path), models=odd).counts
    assert counts.reasons["score_not_finite"] == 3
    monkeypatch.setattr(filter_stage, "MANY", 3)
    with pytest.raises(BlipError, match="for all 3 texts of the shard"):
        run(config(tmp_path, "many"), models=odd)


def test_a_captioner_without_numbers_stops_the_job(tmp_path):
    web_data(tmp_path / "web", shards=9, samples=1)
    broken = Given(models=Models(NanCaptioner(), FakeFilter()))
    with pytest.raises(BlipError, match=r"shard 00000 .*the captioner gives NaN for every picture"):
        run(config(tmp_path), models=broken)
    odd = Given(models=Models(NanCaptioner(sound_of_grey=True), FakeFilter()))
    with pytest.raises(BlipError, match=r"shard 00000 .* and 7 more .*the captioner cannot read"):
        run(config(tmp_path), models=odd)


def test_weights_that_overflow_are_reported(job, tmp_path):
    path = Path(job.filter) / "model.safetensors"
    tensors = load_file(path)
    # Finite each, and too large to be multiplied.
    tensors["vision_model.post_layernorm.weight"] = torch.full_like(
        tensors["vision_model.post_layernorm.weight"], 3e38
    )
    save_file(tensors, path)
    with pytest.raises(BlipError, match="filter's scores are NaN or infinite for all"):
        run(job)
