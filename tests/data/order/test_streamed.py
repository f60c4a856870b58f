"""A stream shows every sample once an epoch, wherever it is cut and whoever reads it."""

import json
import shutil
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blip.data import loader as loader_module
from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.examples.pairs import PairBatch
from blip.data.order import choose as choose_module
from blip.data.order import streamed
from blip.data.order.choose import is_streamed
from blip.data.order.streamed import StreamedOrder
from blip.data.readers import kept_archives
from blip.data.readers.archive import Archive
from blip.data.sample import OrderedSample, Sample
from blip.data.tokenizer import Tokenizer
from blip.data.writers.shards import write_shards
from blip.errors import BlipError, UsageError
from tests.support.pairs import pair_loader
from tests.support.pictures import photo

IMAGE = ImageConfig(size=8)
COUNT = 53


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([f"text {i} human web" for i in range(COUNT)] * 3, vocabulary_size=200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(
        [Sample(f"k{i}", photo(i), (f"text {i}",)) for i in range(COUNT)], folder, per_shard=11
    )
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make(*folders: str | Path, weights: tuple[float, ...] = (), **changes: object) -> DataConfig:
    values: dict = {
        "sources": tuple(
            SourceConfig(name=f"s{n}", shards=(str(shards),), weight=weight)
            for n, (shards, weight) in enumerate(
                zip(folders, weights or [1.0] * len(folders), strict=True)
            )
        ),
        "batch_size": 6,
        "image": IMAGE,
        "stream": "always",
        "lanes": 4,
        "shuffle_buffer": 5,
    }
    return DataConfig(**values | changes)


def keys(batches: list[PairBatch]) -> Counter[str]:
    return Counter(key for batch in batches for key in batch.keys)


def test_epochs_are_whole_and_differ(folder: Path, tokenizer: Tokenizer) -> None:
    loader = pair_loader(make(folder, batch_size=1), tokenizer)
    assert loader.num_examples == loader.steps_per_epoch == COUNT
    made = list(islice(loader.batches(0), 2 * COUNT))
    orders = [[batch.keys[0] for batch in made[start : start + COUNT]] for start in (0, COUNT)]
    assert Counter(orders[0]) == Counter(orders[1]) == {f"k{i}": 1 for i in range(COUNT)}
    assert orders[0] != orders[1]
    texts = [tokenizer.decode(batch.texts.ids[0].tolist()) for batch in made]
    assert texts == [f"text {batch.keys[0][1:]}" for batch in made]


@settings(max_examples=8, deadline=None)
@given(
    cuts=st.lists(st.tuples(st.integers(0, 3), st.sampled_from([1, 2, 3, 6])), max_size=10),
    lanes=st.integers(1, 9),
    window=st.integers(1, 30),
    seed=st.integers(0, 3),
)
def test_cut_runs_with_other_ranks_see_what_an_uncut_run_sees(
    folder: Path,
    tokenizer: Tokenizer,
    cuts: list[tuple[int, int]],
    lanes: int,
    window: int,
    seed: int,
) -> None:
    """Each run makes some batches more than it is credited with, as one that is killed does."""
    config = make(folder, lanes=lanes, shuffle_buffer=window, seed=seed)
    steps = -(-COUNT // 6)
    whole = list(islice(pair_loader(config, tokenizer).batches(0), steps))
    step, seen = 0, []
    for length, ranks in [*cuts, (steps, 2)]:
        length = min(length, steps - step)
        loaders = [pair_loader(config, tokenizer, rank, ranks) for rank in range(ranks)]
        parts = [list(islice(loader.batches(step), length + 1))[:length] for loader in loaders]
        for number in range(length):
            rows = [part[number].keys for part in parts]
            seen += [rows[j % ranks][j // ranks] for j in range(6)]
        step += length
    assert seen == [key for batch in whole for key in batch.keys]
    assert Counter(seen[:COUNT]) == {f"k{i}": 1 for i in range(COUNT)}


def test_workers_and_ranks_make_the_same_batches(folder: Path, tokenizer: Tokenizer) -> None:
    torn = folder.parent / "some-bad"
    samples = [Sample(f"k{i}", photo(i)[: 100 if i % 4 == 0 else None], ("t",)) for i in range(20)]
    write_shards(samples, torn, per_shard=7)
    config = make(folder, torn, batch_size=8)
    alone = pair_loader(config, tokenizer)
    one = list(islice(alone.batches(3), 12))
    helped = pair_loader(make(folder, torn, batch_size=8, workers=2), tokenizer)
    two = list(islice(helped.batches(3), 12))
    parts = [list(islice(pair_loader(config, tokenizer, r, 2).batches(3), 12)) for r in range(2)]
    for number, (batch, other) in enumerate(zip(one, two, strict=True)):
        assert batch.keys == other.keys
        assert torch.equal(batch.images, other.images)
        assert torch.equal(batch.image_ids, other.image_ids)
        for rank in range(2):
            assert torch.equal(parts[rank][number].images, batch.images[rank::2])
            assert torch.equal(parts[rank][number].image_ids, batch.image_ids[rank::2])
    assert alone.bad == helped.bad
    assert alone.bad.counts["truncated_image"] > 0
    assert alone.bad.first == helped.bad.first


def test_sources_are_mixed_by_weight(folder: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_shards(
        [Sample(f"h{i}", photo(i), ("human",)) for i in range(10)], tmp_path / "h", per_shard=4
    )
    config = make(folder, tmp_path / "h", weights=(0.5, 2.0), batch_size=1)
    loader = pair_loader(config, tokenizer)
    size = round(COUNT / 2) + 20
    assert loader.steps_per_epoch == size
    epochs = [keys(list(islice(loader.batches(e * size), size))) for e in range(2)]
    for seen in epochs:
        assert [seen[f"h{i}"] for i in range(10)] == [2] * 10
        assert Counter(seen[f"k{i}"] for i in range(COUNT)) == {0: COUNT - 26, 1: 26}
    assert epochs[0] != epochs[1]


def test_one_of_several_texts_is_drawn_anew(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = ("text 1", "...", "text 2", "text 3")
    write_shards([Sample("k", photo(), texts)], tmp_path)
    loader = pair_loader(make(tmp_path, batch_size=30), tokenizer)
    (batch,) = islice(loader.batches(0), 1)
    counts = Counter(tokenizer.decode(row) for row in batch.texts.ids.tolist())
    assert set(counts) == {"text 1", "text 2", "text 3"}
    assert min(counts.values()) >= 3
    assert len(set(batch.image_ids.tolist())) == 1


def test_a_renewed_signature_is_no_other_data() -> None:
    def named(*locations: str) -> list[str]:
        return [streamed._name(location) for location in locations]

    assert named("https://h/web/0.tar?sig=a%2Fb", "https://h/web/0.tar?sig=c") == ["0.tar"] * 2
    assert named("/web/odd?.tar", "pipe:curl h/0.tar?x") == ["odd?.tar", "0.tar?x"]


def test_samples_of_an_image_share_its_number(tmp_path: Path, tokenizer: Tokenizer) -> None:
    samples = [
        Sample(f"w{i}-{kind}", photo(i), ("web",), {"key": f"w{i}"})
        for i in range(4)
        for kind in ("web", "synthetic")
    ]
    write_shards(samples, tmp_path / "a", per_shard=3)
    write_shards(samples[:2], tmp_path / "b")
    (batch,) = islice(
        pair_loader(make(tmp_path / "a", tmp_path / "b", batch_size=10), tokenizer).batches(0), 1
    )
    numbers: dict[str, set[int]] = {}
    for key, number in zip(batch.keys, batch.image_ids.tolist(), strict=True):
        numbers.setdefault(key.partition("-")[0], set()).add(number)
    # A key of another source is another image.
    assert {key: len(found) for key, found in numbers.items()} == {
        "w0": 2,
        "w1": 1,
        "w2": 1,
        "w3": 1,
    }
    assert all(0 <= number < 2**63 for found in numbers.values() for number in found)


def test_bad_samples_are_named_and_others_stand_in(tmp_path: Path, tokenizer: Tokenizer) -> None:
    samples = [Sample(f"k{i}", photo(i), (f"text {i}",)) for i in range(8)]
    samples[2] = Sample("no-picture", b"text", ("text",))
    samples[5] = Sample("no-text", photo(5), ("...",))
    write_shards(samples, tmp_path / "shards")
    log = tmp_path / "run/bad_samples.jsonl"
    loader = pair_loader(make(tmp_path / "shards", batch_size=4), tokenizer, bad_log=log)
    batches = list(islice(loader.batches(0), 2))
    seen = keys(batches)
    assert set(seen) == {"k0", "k1", "k3", "k4", "k6", "k7"}
    assert sum(seen.values()) == 8
    assert loader.bad.counts == {"not_an_image": 1, "empty_caption": 1}
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {(line["key"], line["reason"]) for line in lines} == {
        ("no-picture", "not_an_image"),
        ("no-text", "empty_caption"),
    }
    assert lines[0]["shard"] == str(tmp_path / "shards/00000.tar")
    again = list(islice(pair_loader(loader.config, tokenizer).batches(0), 2))
    assert all(torch.equal(a.images, b.images) for a, b in zip(batches, again, strict=True))


def test_a_shard_broken_off_gives_what_is_whole(
    folder: Path, tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (folder / "00000.tar").read_bytes()
    (tmp_path / "00000.tar").write_bytes(whole[: len(whole) // 2])
    loader = pair_loader(make(tmp_path, batch_size=1), tokenizer)
    assert 3 <= loader.num_examples <= 7
    assert loader.bad.counts == {"torn_tar": 1}
    assert "torn_tar 1" in capsys.readouterr().err
    seen = keys(list(islice(loader.batches(0), loader.num_examples)))
    assert set(seen) <= {f"k{i}" for i in range(7)}


def test_counts_that_promise_too_much_are_met_and_named(
    folder: Path, tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("00000.tar", "00001.tar"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "00000_stats.json").write_text(json.dumps({"successes": 15}))
    loader = pair_loader(make(tmp_path, batch_size=2), tokenizer)
    assert loader.num_examples == 26
    seen = keys(list(islice(loader.batches(0), 13)))
    assert set(seen) == {f"k{i}" for i in range(22)}
    assert loader.bad.counts == {"missing_sample": 4}
    assert "missing_sample: 11 of 15, 11 are there" in {r for _, _, r in loader.bad.first}
    output = capsys.readouterr().err
    assert "00000.tar holds 11 samples, 15 were expected" in output
    assert output.count("00000_stats.json says 15 and is out of date: remove it") == 1


def test_too_many_bad_samples_stop_the_run(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader_module, "ROWS_BEFORE_STOP", 20)
    write_shards(
        [Sample(f"k{i}", photo(i) if i % 2 else b"x", ("t",)) for i in range(40)], tmp_path
    )
    few = pair_loader(make(tmp_path, max_bad=0.6), tokenizer)
    assert len(list(islice(few.batches(0), 20))) == 20
    with pytest.raises(BlipError, match=r"more than max_bad 0.2 allows \(not_an_image"):
        list(islice(pair_loader(make(tmp_path), tokenizer).batches(0), 20))


def test_nothing_sound_is_an_error_and_not_for_ever(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_shards([Sample(f"k{i}", b"x", ("t",)) for i in range(5)], tmp_path / "bad")
    with pytest.raises(BlipError, match=r"64 samples in a row are bad.*not_an_image"):
        next(pair_loader(make(tmp_path / "bad"), tokenizer).batches(0))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/0.tar").write_bytes(b"")
    with pytest.raises(BlipError, match="no sample to train on"):
        pair_loader(make(tmp_path / "empty"), tokenizer)


def test_small_local_sets_stay_in_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_streamed(make(folder, stream="auto"))
    assert is_streamed(make(folder, stream="always"))
    assert is_streamed(make(folder, "pipe:cat x", stream="auto"))
    monkeypatch.setattr(choose_module, "MEMORY_BYTES", 1000)
    assert is_streamed(make(folder, stream="auto"))
    assert not is_streamed(make(folder, stream="never"))
    with pytest.raises(UsageError, match=r"auto or always where shards are remote: s3://b/x\.tar"):
        is_streamed(make("s3://b/x.tar", stream="never"))
    with pytest.raises(UsageError, match="no shards at nowhere"):
        is_streamed(make("nowhere", stream="auto"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lanes": 0}, "`lanes` is 0; allowed"),
        ({"shuffle_buffer": 0}, "`shuffle_buffer` is 0; allowed"),
        ({"max_bad": 1.5}, "`max_bad` is 1.5; allowed"),
        ({"cache_gigabytes": 0.0}, "`cache_gigabytes` is 0.0; allowed"),
    ],
)
def test_impossible_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make("x", **change)


def test_pixels_are_those_of_the_crop(tmp_path: Path, tokenizer: Tokenizer) -> None:
    plain = ImageConfig(size=24, crop_scale=(1.0, 1.0), flip=False, augment_ops=0)
    write_shards([Sample("k", photo(3), ("t",))], tmp_path)
    streamed = next(pair_loader(make(tmp_path, image=plain), tokenizer).batches(0))
    held = next(pair_loader(make(tmp_path, image=plain, stream="never"), tokenizer).batches(0))
    np.testing.assert_array_equal(streamed.images.numpy(), held.images.numpy())


def test_a_shard_that_vanishes_on_the_way_costs_its_own_samples(
    folder: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    """Others stand in its rows, as in those of a shard that was cut off."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    loader = pair_loader(make(copy), tokenizer)
    (copy / "00001.tar").unlink()
    made = keys(list(islice(loader.batches(0), loader.steps_per_epoch)))
    assert sum(made.values()) == 6 * loader.steps_per_epoch
    assert not set(made) & {f"k{n}" for n in range(11, 22)}
    assert loader.bad.counts.keys() == {"unreadable"}
    assert loader.bad.first[0][0] == str(copy / "00001.tar")


MANY, PER_SMALL_SHARD = 120, 3
"""Samples in small shards: windows of 4 lanes and 20 samples lie in about 30 of 40."""


@pytest.fixture
def small_shards(tmp_path: Path) -> Path:
    samples = [Sample(f"k{i}", bytes([i]), (f"text {i}",)) for i in range(MANY)]
    write_shards(samples, tmp_path / "small", per_shard=PER_SMALL_SHARD)
    return tmp_path / "small"


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Archive]:
    """The archives that are parsed from now on."""
    found: list[Archive] = []
    parse = Archive.__init__

    def note(self: Archive, *args: Any, **options: Any) -> None:
        found.append(self)
        parse(self, *args, **options)

    monkeypatch.setattr(Archive, "__init__", note)
    return found


def samples_of(order: StreamedOrder, positions: range) -> list[Sample]:
    found = [order.at(position) for position in positions]
    assert all(isinstance(one, OrderedSample) for one in found)
    return [one.sample for one in found if isinstance(one, OrderedSample)]


def test_small_shards_are_parsed_about_once_a_pass(
    small_shards: Path, parsed: list[Archive]
) -> None:
    """Not once a sample: that takes longer than to decode it."""
    order = StreamedOrder(make(small_shards, shuffle_buffer=20))
    samples = samples_of(order, range(MANY))
    assert Counter(sample.image for sample in samples) == {bytes([i]): 1 for i in range(MANY)}
    assert len(parsed) <= 1.1 * MANY / PER_SMALL_SHARD


def test_few_open_files_are_enough(
    small_shards: Path, parsed: list[Archive], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards are opened more often then, but not parsed, and samples are the same."""
    free = samples_of(StreamedOrder(make(small_shards, shuffle_buffer=20)), range(MANY))
    parsed.clear()
    monkeypatch.setattr(kept_archives, "most_open_files", lambda: 8)
    order = StreamedOrder(make(small_shards, shuffle_buffer=20))
    for position in range(MANY):
        assert samples_of(order, range(position, position + 1)) == free[position : position + 1]
        assert sum(not archive.file.closed for archive in parsed) <= 4
    assert len(parsed) <= 1.1 * MANY / PER_SMALL_SHARD


def test_a_shard_that_is_replaced_while_it_is_closed_is_parsed_anew(
    small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_archives, "most_open_files", lambda: 2)
    order = StreamedOrder(make(small_shards, shuffle_buffer=MANY, lanes=1))
    samples_of(order, range(MANY))
    others = [Sample(f"other-{i}", bytes(1000), ("text",)) for i in range(MANY)]
    write_shards(others, tmp_path / "other", per_shard=PER_SMALL_SHARD)
    for shard in sorted((tmp_path / "other").iterdir()):
        shard.replace(small_shards / shard.name)
    # The one that is open stays as it was.
    read = samples_of(order, range(MANY, 2 * MANY))
    assert sum(sample.image == bytes(1000) for sample in read) >= MANY - PER_SMALL_SHARD


def test_other_shards_of_as_many_samples_are_another_order(
    folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """By it a run tells whether it may resume."""
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    before = pair_loader(make(folder), tokenizer).order
    assert pair_loader(make(moved), tokenizer).order == before
    other = [Sample(f"m{i}", photo(i) + bytes(1000 * i), ("a text",)) for i in range(11)]
    write_shards(other, tmp_path / "other")
    (packed,) = (tmp_path / "other").glob("*.tar")
    shutil.copy(packed, min(moved.glob("*.tar")))
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    assert pair_loader(make(moved), tokenizer).order != before
