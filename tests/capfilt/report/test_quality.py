"""CapFilt against planted labels, by a ledger that is counted by hand."""

import gc
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from blip.capfilt.ledger.records import TextRecord
from blip.capfilt.report import quality
from blip.capfilt.report.quality import measure_capfilt
from blip.capfilt.shards.source import ShardTask, read_samples
from blip.data.sample import Sample
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.write import draw_sample
from blip.data.writers.shards import write_shards
from tests.support.records import encode_ledger


def record(key: str, source: str, text: str, *, kept: bool) -> TextRecord:
    return TextRecord(
        shard="00000",
        key=key,
        source=source,
        number=0,
        text=text,
        itm_score=0.9 if kept else 0.1,
        itc_cosine=0.0,
        kept=kept,
        reason="match" if kept else "no_match",
        captioner="c",
        filter="f",
        seed=0,
        width=None,
        height=None,
        image_hash=None,
        language=None,
        repeats=None,
        error=None,
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    (tmp_path / "ledger").mkdir()
    return tmp_path / "ledger"


def test_precision_recall_and_true_captions(tmp_path: Path, ledger: Path) -> None:
    """Of four matching texts three are kept, of two others one."""
    labels = {"a": None, "b": None, "c": None, "d": None, "e": "price", "f": "other_text"}
    samples, records = [], []
    for number, (key, noise) in enumerate(labels.items()):
        scene, sample = draw_sample(ScenesConfig(), "human", number)
        meta = {"scene": scene.to_json(), "truth": {"matches": noise is None, "noise": noise}}
        samples.append(Sample(key, sample.image, ("text",), meta, extension="png"))
        records.append(record(key, "web", "text", kept=key in "abce"))
        true = sample.texts[0]
        wrong = "a photo with no sense" if key in "ab" else true
        records.append(record(key, "synthetic", wrong, kept=key in "bcd"))
    write_shards(samples, tmp_path / "web")
    (ledger / "00000.parquet").write_bytes(encode_ledger(records))
    found = measure_capfilt(ledger, [str(tmp_path / "web")])
    assert (found["images"], found["bad"]) == (6, 0)
    assert (found["web_kept"], found["web_dropped"]) == (4, 2)
    assert (found["synthetic_kept"], found["synthetic_dropped"]) == (3, 3)
    assert found["filter_precision"] == pytest.approx(3 / 4)
    assert found["filter_recall"] == pytest.approx(3 / 4)
    assert found["prevalence"] == pytest.approx(4 / 6)
    assert found["kept_of_noise"] == {
        "price": {"texts": 1, "kept": 1},
        "other_text": {"texts": 1, "kept": 0},
    }
    assert found["synthetic_correct_before"] == pytest.approx(4 / 6)
    assert found["synthetic_correct_after"] == pytest.approx(2 / 3)


def test_the_quality_of_foreign_texts_is_none(tmp_path: Path, ledger: Path) -> None:
    sample = draw_sample(ScenesConfig(), "human", 0)[1]
    write_shards([Sample("a", sample.image, ("text",), {}, extension="png")], tmp_path / "web")
    records = [record("a", "web", "text", kept=True), record("a", "synthetic", "x", kept=True)]
    (ledger / "00000.parquet").write_bytes(encode_ledger(records))
    found = measure_capfilt(ledger, [str(tmp_path / "web")])
    for name in ("filter_precision", "filter_recall", "prevalence"):
        assert found[name] is None
    assert found["synthetic_correct_before"] is None
    assert found["synthetic_correct_after"] is None


def test_bad_samples_are_counted_and_none_kept_is_no_division_by_zero(
    tmp_path: Path, ledger: Path
) -> None:
    scene, sample = draw_sample(ScenesConfig(), "web", 0)
    meta = {"scene": scene.to_json(), "truth": {"matches": True, "noise": None}}
    write_shards([Sample("a", sample.image, ("text",), meta, extension="png")], tmp_path / "web")
    records = [
        record("a", "web", "text", kept=False),
        record("a", "synthetic", "x", kept=False),
        record("z", "bad", "", kept=False),
    ]
    (ledger / "00000.parquet").write_bytes(encode_ledger(records))
    found = measure_capfilt(ledger, [str(tmp_path / "web")])
    assert (found["images"], found["bad"]) == (1, 1)
    assert found["filter_recall"] == 0.0
    assert found["synthetic_correct_after"] is None


def test_images_of_two_shards_with_the_same_keys_are_kept_apart(
    tmp_path: Path, ledger: Path
) -> None:
    """The text of image `a` matches in one shard, and not in the other."""
    for shard, matches in (("one", True), ("two", False)):
        scene, sample = draw_sample(ScenesConfig(), "human", 0)
        meta = {"scene": scene.to_json(), "truth": {"matches": matches, "noise": "price"}}
        write_shards(
            [Sample("a", sample.image, ("text",), meta, extension="png")], tmp_path / shard
        )
        rows = [replace(record("a", "web", "text", kept=matches), shard=f"{shard}-00000")]
        (ledger / f"{shard}-00000.parquet").write_bytes(encode_ledger(rows))
    found = measure_capfilt(ledger, [str(tmp_path / "one"), str(tmp_path / "two")])
    assert (found["filter_precision"], found["filter_recall"]) == (1.0, 1.0)
    assert (found["images"], found["prevalence"]) == (2, 0.5)


@pytest.mark.parametrize(
    "meta",
    [
        {"truth": "it is", "scene": "a beach"},
        {"truth": {}, "scene": {"things": []}},
        {"truth": None, "scene": {"background": 3, "things": [{"shape": "star"}]}},
    ],
)
def test_foreign_labels_end_nothing(tmp_path: Path, ledger: Path, meta: dict) -> None:
    """After the hours of a main job, its figures are still to be written."""
    sample = draw_sample(ScenesConfig(), "human", 0)[1]
    write_shards([Sample("a", sample.image, ("text",), meta, extension="png")], tmp_path / "web")
    records = [record("a", "web", "text", kept=True), record("a", "synthetic", "x", kept=True)]
    (ledger / "00000.parquet").write_bytes(encode_ledger(records))
    found = measure_capfilt(ledger, [str(tmp_path / "web")])
    assert found["filter_precision"] is None
    assert found["synthetic_correct_before"] is None


def write_shard(folder: Path, ledger: Path, number: int, samples: int, meta: dict) -> None:
    """A shard of pictures with this KEY.json, and a ledger with two texts for each of them."""
    shard = f"{number:05d}"
    image = draw_sample(ScenesConfig(), "human", 0)[1].image
    found = [Sample(f"k{n}", image, ("text",), meta, extension="png") for n in range(samples)]
    write_shards(found, folder / shard)
    (folder / shard / "00000.tar").replace(folder / f"{shard}.tar")
    (folder / shard).rmdir()
    rows = [
        replace(record(sample.key, source, "a red circle", kept=True), shard=shard)
        for sample in found
        for source in ("web", "synthetic")
    ]
    (ledger / f"{shard}.parquet").write_bytes(encode_ledger(rows))


def most_memory(ledger: Path, web: Path) -> int:
    """Bytes that Python's objects take at most while a job is measured."""
    # The more objects other tests have left, the later Python looks for cycles among the new ones.
    gc.collect()
    gc.freeze()
    tracemalloc.start()
    try:
        measure_capfilt(ledger, [str(web)])
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.unfreeze()


@pytest.mark.parametrize("labelled", [False, True])
def test_memory_does_not_grow_with_the_job(tmp_path: Path, ledger: Path, *, labelled: bool) -> None:
    scene = draw_sample(ScenesConfig(), "human", 0)[0]
    truth = {"matches": True, "noise": None}
    meta = {"truth": truth, "scene": scene.to_json()} if labelled else {}
    web = tmp_path / "web"
    write_shard(web, ledger, 0, 150, meta)
    # What the first call imports stays.
    most_memory(ledger, web)
    of_one = most_memory(ledger, web)
    for number in range(1, 8):
        write_shard(web, ledger, number, 150, meta)
    assert most_memory(ledger, web) < 1.5 * of_one
    found = measure_capfilt(ledger, [str(web)])
    assert (found["images"], found["web_kept"], found["synthetic_kept"]) == (1200, 1200, 1200)
    assert found["prevalence"] == (1.0 if labelled else None)


def test_pictures_are_not_read_where_nothing_was_planted(
    tmp_path: Path, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder without labels the first samples are, and of one with labels all."""
    web, scenes = tmp_path / "web", tmp_path / "scenes"
    for number in range(3):
        write_shard(web, ledger, number, 60, {})
    write_shard(scenes, ledger, 3, 5, {"truth": {"matches": True}})
    read: list[str] = []

    def note(task: ShardTask) -> Iterator[Sample]:
        for sample in read_samples(task):
            read.append(task.name)
            yield sample

    monkeypatch.setattr(quality, "read_samples", note)
    found = measure_capfilt(ledger, [str(web), str(scenes)])
    assert (found["images"], found["prevalence"]) == (185, 1.0)
    assert (read.count("00000"), read.count("00001"), read.count("00002")) == (60, 40, 0)
    assert read.count("00003") >= 5
