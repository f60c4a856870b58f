"""Released checkpoints as they are, devices, and how many images fit."""

import json
import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from blip.capfilt.config import NUCLEUS
from blip.capfilt.job import run
from blip.capfilt.models import checkpoints, memory
from blip.capfilt.models.checkpoints import CheckpointModels
from blip.capfilt.models.memory import available_memory, bytes_of_image, unify_out_of_memory
from blip.capfilt.models.protocols import Models, OutOfMemoryError
from blip.errors import BlipError, UsageError
from blip.inference.checkpoint import fingerprint
from blip.model.blip import Blip
from blip.model.config import ModelConfig, VisionConfig
from blip.nn.kernels.int8_weight import int8_multiplies
from blip.nn.kernels.switch import kernels
from tests.support.capfilt import config, web_data
from tests.support.released_models import SIZES, TOKENIZER, WORDS, hugging_face, original


def models(captioner: Path | str, matcher: Path | str, **more) -> CheckpointModels:
    places = {"captioner_device": "cpu", "filter_device": "cpu", **more}
    places = {"decoding": NUCLEUS, "captions": 1, **places}
    return CheckpointModels(captioner=str(captioner), filter=str(matcher), **places)


def load(source: CheckpointModels) -> Models:
    return source.load(0, source.fingerprints())


def test_released_layouts_are_captioner_and_filter_as_they_are(tmp_path):
    web_data(tmp_path / "web", shards=1, samples=4)
    rows = []
    for number, make in enumerate((original, hugging_face)):
        captioner = make(tmp_path / f"c{number}", "causal")
        matcher = make(tmp_path / f"f{number}", "bidirectional")
        job = replace(
            config(tmp_path, f"out{number}", device="cpu"),
            captioner=str(captioner),
            filter=str(matcher),
        )
        summary = run(job)
        assert (summary.settings.captioner, summary.settings.filter) == (
            fingerprint(captioner),
            fingerprint(matcher),
        )
        assert summary.counts.images == 4
        assert summary.counts.records == 8
        rows.append(summary.counts)
    assert rows[0] == rows[1], "the same weights in two layouts"


def test_names_of_the_hub_are_found_where_it_keeps_them(tmp_path, monkeypatch):
    folder = hugging_face(tmp_path / "cached", "causal")
    monkeypatch.setattr(
        "blip.model.checkpoint.locate.fetch_huggingface",
        lambda name: {"Salesforce/blip-image-captioning-base": folder}[name],
    )
    named = models("hf:Salesforce/blip-image-captioning-base", folder)
    assert named.fingerprints() == (fingerprint(folder), fingerprint(folder))


def test_a_model_in_the_wrong_place_is_refused(tmp_path):
    captioner = original(tmp_path / "c", "causal")
    matcher = original(tmp_path / "f", "bidirectional")
    with pytest.raises(UsageError, match="has no text decoder, which a captioner needs; it can be"):
        load(models(matcher, matcher))
    with pytest.raises(UsageError, match="has no text encoder, which a filter needs; it can be"):
        load(models(captioner, captioner))


def test_decoding_that_the_captioner_cannot_do_is_refused_before_it_is_loaded(tmp_path):
    captioner = original(tmp_path / "c", "causal")
    matcher = original(tmp_path / "f", "bidirectional")
    decoding = replace(NUCLEUS, prompt="one two three four five six", max_length=6)
    with pytest.raises(UsageError, match=r"; decoding\.max_length must be greater, got 6"):
        models(captioner, matcher, decoding=decoding).fingerprints()
    decoding = replace(NUCLEUS, max_length=1000)
    with pytest.raises(UsageError, match=r"`decoding\.max_length` is 1000; allowed: at most"):
        models(captioner, matcher, decoding=decoding).fingerprints()


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the device is there")
def test_a_missing_device_is_reported(tmp_path):
    captioner = hugging_face(tmp_path / "c", "causal")
    matcher = hugging_face(tmp_path / "f", "bidirectional")
    there = models(captioner, matcher, filter_device="cuda:1")
    with pytest.raises(UsageError, match=r"device cuda:1 is not there; .* has 0 CUDA devices"):
        there.default_workers(4)
    with pytest.raises(UsageError, match="device cuda:1 is not there"):
        load(there)
    assert there.batch_size() == 64, "the least of what either device is worth"


FREE = {"cuda:0": 1 << 40, "cuda:1": 1 << 20, "cuda:2": 1 << 30, "cuda:3": 1 << 40}
"""Bytes of the four GPUs of a machine that is made up."""


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(FREE))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (FREE[device], 1 << 40))


def test_workers_are_spread_over_the_devices(four_gpus):
    assert models("c", "f", captioner_device="auto", filter_device="cuda:3").default_workers(4) == 4
    places = [checkpoints._device("auto", place) for place in range(5)]
    assert places == ["cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:0"]
    named = models("c", "f", captioner_device="cuda:1", filter_device="cuda:3")
    assert named.default_workers(4) == 1
    with pytest.raises(UsageError, match=r"device cuda:4 is not there; .* has 4 CUDA devices"):
        models("c", "f", captioner_device="cuda:4", filter_device="cpu").default_workers(4)


def test_each_model_is_put_on_its_own_device(four_gpus, monkeypatch):
    put: list[tuple[str, str, str]] = []

    def load_expected(source, expected, device, dtype):
        put.append((source, expected, device))
        if source == "f":
            raise BlipError("both were asked for")
        return SimpleNamespace(config=SIZES, model=Blip(SIZES), tokenizer=TOKENIZER)

    monkeypatch.setattr(checkpoints, "_load_expected", load_expected)
    for captioner, matcher, place in (("cuda:2", "cpu", 0), ("auto", "cuda:1", 3)):
        source = models("c", "f", captioner_device=captioner, filter_device=matcher)
        with pytest.raises(BlipError, match="both were asked for"):
            source.load(place, ("of c", "of f"))
    assert put == [
        ("c", "of c", "cuda:2"),
        ("f", "of f", "cpu"),
        ("c", "of c", "cuda:3"),
        ("f", "of f", "cuda:1"),
    ]


def test_a_batch_fits_into_the_gpu_with_the_least_memory(four_gpus, tmp_path):
    captioner = hugging_face(tmp_path / "c", "causal")
    matcher = hugging_face(tmp_path / "f", "bidirectional")

    def size(one: str, other: str) -> int:
        return models(captioner, matcher, captioner_device=one, filter_device=other).batch_size()

    assert size("cuda:0", "cuda:3") == 128
    assert size("auto", "cuda:3") == 1, "a worker may be on any of them"
    assert size("cuda:1", "cuda:0") == size("cuda:0", "cuda:1") == size("cuda:1", "cuda:1") == 1
    assert size("cuda:0", "cpu") == 64, "what is worth it on a CPU"


def test_each_gpu_holds_its_own_model_alone(four_gpus, tmp_path, monkeypatch):
    captioner = hugging_face(tmp_path / "c", "causal")
    matcher = hugging_face(tmp_path / "f", "bidirectional")

    def size(one: str, other: str) -> int:
        return models(captioner, matcher, captioner_device=one, filter_device=other).batch_size()

    larger = replace(SIZES, vision=replace(SIZES.vision, depth=SIZES.vision.depth + 2))
    sizes = {str(captioner): SIZES, str(matcher): larger}
    monkeypatch.setattr(checkpoints, "read_sizes", lambda name: sizes[str(name)])
    there = models(captioner, matcher, captioner_device="cuda:0", filter_device="cuda:3")
    weights = there._bytes_of_weights((SIZES, larger))
    of_image = there._bytes_of_image((SIZES, larger))
    assert weights[0] < weights[1]
    for place, name in enumerate(("cuda:0", "cuda:3")):
        just_enough = math.ceil(weights[place] + 128 * of_image[place] / checkpoints.SHARE)
        monkeypatch.setitem(FREE, name, just_enough)
    assert size("cuda:0", "cuda:3") == 128
    assert 1 < size("cuda:0", "cuda:0") < 128, "both are on one"
    monkeypatch.setitem(FREE, "cuda:3", FREE["cuda:3"] - 1)
    assert size("cuda:0", "cuda:3") == 64
    monkeypatch.setitem(FREE, "cuda:0", weights[0])
    assert size("cuda:0", "cpu") == 1, "beside the captioner's weights nothing is free"


@pytest.mark.parametrize(
    ("gpus", "has_it", "devices", "chosen"),
    [
        (True, True, ("auto", "auto"), "bfloat16"),
        (True, True, ("cuda:0", "cuda:1"), "bfloat16"),
        (True, True, ("cuda", "cpu"), "float32"),
        (True, True, ("cpu", "cpu"), "float32"),
        (True, False, ("auto", "cuda"), "float32"),
        # GPUs of a cluster, whose first machine has none.
        (False, True, ("cuda", "cuda"), "float32"),
        (False, True, ("auto", "auto"), "float32"),
    ],
)
def test_the_precision_is_that_of_the_gpus_of_both_models(
    monkeypatch, gpus, has_it, devices, chosen
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_it)
    assert checkpoints.choose_precision(devices) == chosen
    if gpus:
        with pytest.raises(UsageError, match="device cuda:2 is not there"):
            checkpoints.choose_precision(("cuda:2", "cpu"))


def test_int8_is_refused_before_workers_start_where_a_device_lacks_it(monkeypatch):
    monkeypatch.setattr("blip.nn.device.int8_multiplies", lambda: True)
    for name in ("cuda:0", "cuda"):
        with pytest.raises(UsageError, match="precision int8 is for CPUs"):
            checkpoints.check_precision("int8", ("cpu", name))
    monkeypatch.setattr("blip.nn.device.int8_multiplies", lambda: False)
    with kernels(True), pytest.raises(UsageError, match="needs an x86 CPU with AVX2 or VNNI"):
        checkpoints.check_precision("int8", ("cpu", "cpu"))
    checkpoints.check_precision("bfloat16", ("cpu", "cpu"))


def test_both_models_are_loaded_in_the_precision(tmp_path):
    captioner = hugging_face(tmp_path / "c", "causal")
    matcher = hugging_face(tmp_path / "f", "bidirectional")
    found = {}
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.float32}
    for precision, dtype in dtypes.items():
        with kernels(precision != "int8" or int8_multiplies()):
            loaded = load(models(captioner, matcher, precision=precision))
        for model in (loaded.captioner.captioner.model, loaded.filter.matcher.model):
            assert model.dtype == dtype
            assert model.is_int8 is (precision == "int8")
        images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)).unbind()
        assert all(text for (text,) in loaded.captioner.caption(images, [[1], [2], [3]]))
        rows = loaded.filter.begin(images, [WORDS] * 3)()
        assert all(type(number) is float for row in rows for score in row for number in score)
        found[precision] = torch.tensor(rows)
    for rough in ("bfloat16", "int8"):
        torch.testing.assert_close(found[rough], found["float32"], atol=0.02, rtol=0)
        assert not torch.equal(found[rough], found["float32"])


def test_both_models_are_compiled_where_asked(tmp_path, monkeypatch):
    captioner = hugging_face(tmp_path / "c", "causal")
    matcher = hugging_face(tmp_path / "f", "bidirectional")
    compiled = []

    def compile(work, **_):
        compiled.append(work.__name__)
        return work

    monkeypatch.setattr(torch, "compile", compile)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)).unbind()
    found = []
    for choice in ("off", "on"):
        loaded = load(models(captioner, matcher, compile=choice))
        texts = loaded.captioner.caption(images, [[1], [2], [3]])
        found.append((texts, torch.tensor(loaded.filter.begin(images, [WORDS] * 3)())))
        assert bool(compiled) == (choice == "on")
    # The captioner's image encoder and its steps, then the passes of the filter.
    assert len(set(compiled)) == 6
    assert compiled.count("_encode") == 2
    # Where memory runs out, all that was made for these shapes goes.
    captioner, matcher = loaded.captioner.captioner, loaded.filter.matcher
    assert captioner._steps
    assert matcher._passes
    loaded.forget()
    assert not captioner._steps
    assert not matcher._passes
    assert loaded.captioner.caption(images, [[1], [2], [3]]) == found[1][0]
    (plain_texts, plain), (texts, scores) = found
    assert texts == plain_texts
    torch.testing.assert_close(scores, plain, atol=1e-5, rtol=0)


@pytest.fixture
def released(tmp_path):
    """A job of released checkpoints over a shard of five pictures, of which three go together."""
    web_data(tmp_path / "web", shards=1, samples=5)
    captioner = hugging_face(tmp_path / "c", "causal")
    matcher = hugging_face(tmp_path / "f", "bidirectional")

    def job(out, **more):
        settings = {"captioner": str(captioner), "filter": str(matcher), "device": "cpu", **more}
        return replace(config(tmp_path, out), **settings)

    return job


@pytest.mark.parametrize("works", [0, 1, 4, 8])
def test_a_job_stops_where_a_worker_cannot_compile(released, monkeypatch, works, capsys):
    # Some passes are compiled; a pass for the second batch, which has two pictures, may not be.
    compiled = []

    def compile(work, **_):
        if len(compiled) == works:
            raise RuntimeError("no compiler\nand more")
        compiled.append(work)
        return work

    monkeypatch.setattr(torch, "compile", compile)
    with pytest.raises(BlipError, match=r"torch cannot compile the model here \(no compiler\); "):
        run(released("on", compile="on"))
    assert not list(Path(released("on").out).glob("done/*"))
    assert "goes on" not in capsys.readouterr().err
    summary = run(released("auto", compile="auto"))
    assert (summary.settings.compile, len(compiled)) == ("off", works)


def test_less_is_compiled_where_memory_runs_out(released, monkeypatch):
    def compile(work, **_):
        def compiled(*tensors):
            if tensors and len(tensors[0]) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return work(*tensors)

        return compiled

    monkeypatch.setattr(torch, "compile", compile)
    summary = run(released("out", compile="on"))
    (marker,) = Path(released("out").out).glob("done/*")
    assert (json.loads(marker.read_text())["batch_size"], summary.settings.compile) == (1, "on")


def test_batches_and_workers_are_as_many_as_memory_holds(tmp_path, monkeypatch, capsys):
    captioner = hugging_face(tmp_path / "c", "causal")
    matcher = hugging_face(tmp_path / "f", "bidirectional")
    there = models(captioner, matcher)
    monkeypatch.setattr(checkpoints, "usable_cpus", lambda: 16)
    found = []
    for free in (1 << 40, 1 << 30, 1 << 24, 1 << 22, 1 << 20):
        monkeypatch.setattr(checkpoints, "available_memory", lambda free=free: free)
        size = there.batch_size()
        assert ("images at a time in place of 64" in capsys.readouterr().err) is (size < 64)
        found.append((size, there.default_workers(size)))
    assert found[0] == (64, 16)
    assert found[-1] == (1, 1)
    assert found == sorted(found, reverse=True)
    assert len(set(found)) > 3
    monkeypatch.setattr(checkpoints, "available_memory", lambda: None)
    assert (there.batch_size(), there.default_workers(8)) == (64, 16)


@pytest.mark.parametrize(
    ("kind", "pixels", "worth"), [("cpu", 384, 8), ("cpu", 224, 16), ("cuda", 384, 128)]
)
def test_large_models_need_few_images_at_a_time_on_a_cpu(kind, pixels, worth):
    base = ModelConfig(vision=VisionConfig(image_size=pixels))
    assert checkpoints._fastest_batch(kind, base) == worth
    assert checkpoints._fastest_batch("cpu", SIZES) == 64


def test_more_pixels_and_more_texts_need_more_memory():
    larger = replace(SIZES, vision=replace(SIZES.vision, image_size=64))
    one = bytes_of_image(SIZES, 1, "float32")
    assert bytes_of_image(larger, 1, "float32") > one
    assert bytes_of_image(SIZES, 4, "float32") > one
    assert bytes_of_image(SIZES, 1, "bfloat16") * 2 == one == bytes_of_image(SIZES, 1, "int8")


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_weights_of_fewer_bits_leave_room_for_more_workers(tmp_path, monkeypatch, precision):
    captioner = hugging_face(tmp_path / "c", "causal")
    matcher = hugging_face(tmp_path / "f", "bidirectional")
    monkeypatch.setattr(checkpoints, "usable_cpus", lambda: 16)
    exact = models(captioner, matcher)
    there = replace(exact, precision=precision)
    monkeypatch.setattr(memory, "has_vnni", lambda: False)
    whole = sum(there._bytes_of_weights(there._sizes()))
    monkeypatch.setattr(memory, "has_vnni", lambda: True)
    weights = sum(there._bytes_of_weights(there._sizes()))
    assert whole == (2 if precision == "int8" else 1) * weights
    assert sum(exact._bytes_of_weights(exact._sizes())) == 2 * weights
    monkeypatch.setattr(checkpoints, "available_memory", lambda: 16 * weights)
    assert there.default_workers(1) > exact.default_workers(1)


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 99 kB\nMemAvailable:   50 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert available_memory() == 50 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert available_memory() == 50 * 1024
    (tmp_path / "memory.max").write_text("3000\n")
    assert available_memory() == 2000
    (tmp_path / "meminfo").unlink()
    (tmp_path / "memory.max").unlink()
    assert available_memory() is None


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried\nto allocate"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_every_way_of_having_no_memory_is_one(error):
    with pytest.raises(OutOfMemoryError), unify_out_of_memory():
        raise error


def test_other_errors_are_left_as_they_are():
    with pytest.raises(RuntimeError, match="shapes"), unify_out_of_memory():
        raise RuntimeError("shapes do not fit")


def test_torch_says_it_in_these_words():
    with pytest.raises(OutOfMemoryError), unify_out_of_memory():
        torch.empty(1 << 60, dtype=torch.uint8)
