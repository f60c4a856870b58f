"""Which image a text belongs to: one rule, from tables to batches, through rounds of CapFilt."""

import csv
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blip.capfilt.config import CapFiltConfig, RecutConfig
from blip.capfilt.job import run
from blip.capfilt.recut import recut
from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.examples.pairs import PairExamples
from blip.data.loader import make_rows
from blip.data.order.streamed import StreamedOrder
from blip.data.readers.patterns import expand
from blip.data.readers.shards import read_shard
from blip.data.readers.sources import read_samples
from blip.data.sample import Sample
from blip.data.tokenizer import Tokenizer
from blip.data.writers.shards import ShardWriter, write_shards
from tests.support.capfilt import FakeModels, output_bytes, picture
from tests.support.pairs import index_pairs, list_pairs
from tests.support.pictures import photo

ROWS = [(f"p{n}.png", f"p{n}", f"picture {n} text {k}") for n in range(6) for k in range(3)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(6):
        (tmp_path / f"p{number}.png").write_bytes(photo(number))
    return tmp_path


def table(folder: Path, name: str, header: str, rows: Iterable[Iterable[str]]) -> Path:
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows([header.split(), *rows])
    return folder / name


def pack_to(source: Path, out: Path, per_shard: int = 4) -> Path:
    write_shards(read_samples(str(source)), out, per_shard)
    return out


def images(folders: list[Path], texts: int = 18) -> list[int]:
    """Numbers of the images of all texts, by an index in memory; a stream must agree."""
    pairs = list_pairs(index_pairs(map(str, folders)))
    ids = [image_id for image_id, _ in pairs]
    assert len(ids) == texts
    by_text = {text: image_id for image_id, text in pairs}
    streamed = stream_ids(folders)
    assert streamed.keys() == by_text.keys()
    both = {(by_text[text], streamed[text]) for text in by_text}
    assert len(both) == len(set(ids)) == len(set(streamed.values()))
    return ids


def stream_ids(folders: list[Path]) -> dict[str, int]:
    config = DataConfig(
        sources=(SourceConfig(name="all", shards=tuple(map(str, folders))),),
        batch_size=2,
        image=ImageConfig(size=8),
        stream="always",
        cache=str(folders[0] / "cache"),
    )
    order = StreamedOrder(config)
    examples = PairExamples(config, Tokenizer.train(["a text"], vocabulary_size=100))
    # Samples with several texts draw one each time.
    rows = make_rows(order, examples, range(40 * order.size), config.seed)
    return {row.example.text: row.example.image_id for row in rows}


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("image caption", lambda path, key, text: (path, text)),
        ("key image caption", lambda path, key, text: (key, path, text)),
        ("id image caption", lambda path, key, text: (text[-8:], path, text)),
        ("image caption image_key", lambda path, key, text: ("p0.png", text, key)),
    ],
)
def test_rows_of_one_image_are_one_in_any_shard(photos: Path, header: str, cells) -> None:
    rows = table(photos, "rows.csv", header, [cells(*row) for row in ROWS])
    assert images([pack_to(rows, photos / "out")]) == [n for n in range(6) for _ in range(3)]


def test_rows_with_the_same_bytes_are_one_image(tmp_path: Path) -> None:
    bytes_of = [photo(int(key[1:])) for _, key, _ in ROWS]
    columns = {"image": bytes_of, "caption": [text for *_, text in ROWS]}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    found = images([pack_to(tmp_path / "rows.parquet", tmp_path / "out")])
    assert found == [n for n in range(6) for _ in range(3)]


def test_two_packs_with_the_same_numbers_are_different_images(photos: Path) -> None:
    """Their tables may even have the same name."""
    packs = []
    for part, folder in enumerate(("a", "b")):
        rows = [(f"../p{3 * part + n}.png", f"{folder} number {n}") for n in range(3)]
        (photos / folder).mkdir()
        path = table(photos / folder, "train.csv", "image caption", rows)
        packs.append(pack_to(path, photos / f"packed-{folder}"))
    assert images(packs, 6) == [0, 1, 2, 3, 4, 5]


def test_two_downloads_that_count_from_zero_are_different_images(tmp_path: Path) -> None:
    """As img2dataset writes them: KEY.json has a `key` that says nothing new."""
    for folder in ("a", "b"):
        samples = [
            Sample(f"{n:09d}", photo(n), (f"{folder} {n}",), {"key": f"{n:09d}"}) for n in range(3)
        ]
        write_shards(samples, tmp_path / folder)
    assert images([tmp_path / "a", tmp_path / "b"], 6) == [0, 1, 2, 3, 4, 5]


def test_older_outputs_name_the_image_by_its_key(tmp_path: Path) -> None:
    samples = [
        Sample(f"w{n}-{kind}", photo(n), (f"{kind} {n}",), {"key": f"w{n}"})
        for n in range(3)
        for kind in ("web", "synthetic-0")
    ]
    write_shards(samples, tmp_path / "clean", per_shard=5)
    assert images([tmp_path / "clean"], 6) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("meta", [{}, {"image_key": ""}, {"image_key": None}, {"key": None}])
def test_a_name_that_says_nothing_is_ignored(meta: dict) -> None:
    assert Sample("a", None, meta=meta).image_key is None


def capfilt(data: list[Path], out: Path) -> Path:
    config = CapFiltConfig(
        captioner="c",
        filter="f",
        data=tuple(map(str, data)),
        out=str(out),
        threshold=0.0,
        workers=1,
        batch_size=4,
    )
    run(config, models=FakeModels())
    return out / "shards"


def image_keys(folder: Path) -> dict[str, set[bytes]]:
    found: dict[str, set[bytes]] = {}
    for shard in expand([str(folder)]):
        for sample in read_shard(shard):
            found.setdefault(sample.meta["image_key"], set()).add(sample.image or b"")
    return found


def test_identity_survives_rounds_of_capfilt_recut_and_packing(tmp_path: Path) -> None:
    colours = ("red", "green", "blue")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for number, colour in enumerate(colours):
            # Of another size in the other folder: so that bytes tell the six images apart.
            size = 24 if folder == "a" else 32
            (tmp_path / folder / f"p{number}.png").write_bytes(picture(colour, size=size))
        rows = [(f"p{n}.png", f"a {colours[n]} {k}") for n in range(3) for k in range(2)]
        path = table(tmp_path / folder, "rows.csv", "image caption", rows)
        pack_to(path, tmp_path / f"s{folder}", per_shard=3)
    first = capfilt([tmp_path / "sa", tmp_path / "sb"], tmp_path / "first")
    named = image_keys(first)
    assert sorted(named) == [f"s{f}/rows/p{n}.png" for f in "ab" for n in range(3)]
    assert all(len(contents) == 1 for contents in named.values())
    second = capfilt([first], tmp_path / "second")
    assert image_keys(second) == named
    recut(RecutConfig(ledger=str(tmp_path / "second"), out=str(tmp_path / "cut"), threshold=0.0))
    whole, cut = (output_bytes(tmp_path / out / "shards") for out in ("second", "cut"))
    assert whole == cut
    assert image_keys(pack_to(second, tmp_path / "again")) == named
    assert len({*index_pairs([str(second)])._ids}) == 6


def test_shards_without_a_name_of_their_images_get_one(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "web/00000.tar") as writer:
        writer.write("x", picture("red"), "png", "a red one", {})
    clean = capfilt([tmp_path / "web"], tmp_path / "clean")
    metas = [sample.meta for shard in expand([str(clean)]) for sample in read_shard(shard)]
    assert [meta["image_key"] for meta in metas] == ["00000/x", "00000/x"]
    packed = pack_to(tmp_path / "web", tmp_path / "packed")
    assert list(image_keys(packed)) == ["00000/x"]


def test_folders_and_annotations_name_their_images(photos: Path) -> None:
    entries = [{"image": "p1.png", "caption": "one"}, {"image": "p1.png", "caption": "two"}]
    (photos / "merged.json").write_text(json.dumps(entries))
    (annotated,) = read_samples(str(photos / "merged.json"))
    assert annotated.image_key == "merged/p1.png"
    named = [sample.image_key for sample in read_samples(str(photos))]
    assert named == [f"{photos.name}/p{n}.png" for n in range(6)]


def test_a_name_of_lone_surrogates_keeps_images_apart_in_a_stream(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for number, name in enumerate(("\ud800", "\ud801", "\ud800")):
            parts = {
                "png": photo(number),
                "json": json.dumps({"captions": [f"text {number}"], "image_key": name}).encode(),
            }
            for suffix, content in parts.items():
                member = tarfile.TarInfo(f"{number}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    assert images([tmp_path], 3) == [0, 1, 0]
