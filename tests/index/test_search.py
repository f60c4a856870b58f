"""What a search finds equals brute force over features; another model is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from blip import Index, Matcher
from blip.errors import ArgumentError, UsageError
from blip.index import build, neighbours
from tests.support.picture_index import SEEDS, features, write_collection, write_tar
from tests.support.pictures import photo
from tests.support.saved_models import save_picture, save_tiny

pytest.importorskip("faiss")
TEXT = "a red circle"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_collection(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def index(checkpoint: Path, places: list[str], tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.build(places, tmp_path_factory.mktemp("index") / "i", checkpoint)


def test_a_picture_finds_itself_first_and_the_rest_as_brute_force_does(
    index: Index, checkpoint: Path
) -> None:
    known = features(checkpoint, SEEDS)
    hits = index.search_image(photo(SEEDS[4]), k=len(index))
    assert hits[0].row.key == f"{SEEDS[4]:04d}"
    assert hits[0].cosine == pytest.approx(1, abs=1e-5)
    of_noise = [hit for hit in hits if hit.row.place.endswith((".tar", ".parquet"))]
    expected = sorted((known @ known[4]).tolist(), reverse=True)
    np.testing.assert_allclose([hit.cosine for hit in of_noise], expected, atol=1e-5)
    assert len(hits) == len(index) == 11
    assert {hit.row.place.rpartition("/")[2] for hit in hits} == {
        "a.tar",
        "table.parquet",
        "photos",
    }


def test_a_text_is_found_by_cosine_and_ordered_by_itm(index: Index, checkpoint: Path) -> None:
    by_cosine = index.search(TEXT, k=11, rerank=0)
    assert [hit.cosine for hit in by_cosine] == sorted(
        (hit.cosine for hit in by_cosine), reverse=True
    )
    assert all(hit.probability is None for hit in by_cosine)
    hits = index.search(TEXT, k=11, rerank=4)
    pictures = [
        picture for picture in index.pictures([hit.row for hit in by_cosine[:4]]) if picture
    ]
    scores = Matcher.load(checkpoint).probability(pictures, [[TEXT]] * 4)
    expected = sorted((row[0] for row in scores), reverse=True)
    assert [hit.probability for hit in hits[:4]] == pytest.approx(expected, abs=1e-5)
    assert {hit.row for hit in hits[:4]} == {hit.row for hit in by_cosine[:4]}
    assert [hit.row for hit in hits[4:]] == [hit.row for hit in by_cosine[4:]]
    # Fewer results than are re-ranked: the best of these.
    assert index.search(TEXT, k=2, rerank=4) == hits[:2]
    with pytest.raises(ArgumentError, match="k must be positive"):
        index.search(TEXT, k=0)


def test_few_pictures_are_held_at_a_time(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    hits = index.search(TEXT, k=11, rerank=11)
    counted: list[int] = []
    probability = Matcher.probability

    def count(self: Matcher, images: list[Any], *given: Any, **named: Any) -> list[list[float]]:
        counted.append(len(images))
        return probability(self, images, *given, **named)

    monkeypatch.setattr(Matcher, "probability", count)
    monkeypatch.setattr(index, "computing", replace(index.computing, batch_size=4))
    again = index.search(TEXT, k=11, rerank=11)
    assert counted == [4, 4, 3]
    assert [hit.row for hit in again] == [hit.row for hit in hits]
    np.testing.assert_allclose(
        [hit.probability for hit in again], [hit.probability for hit in hits], atol=1e-5
    )


def test_pictures_are_read_again_from_every_kind_of_place(index: Index) -> None:
    hits = index.search_image(photo(0), k=11)
    pictures = index.pictures([hit.row for hit in hits])
    small = index.pictures([hit.row for hit in hits], side=8)
    assert {max(picture.size) for picture in small if picture} == {8}
    for hit, picture in zip(hits, pictures, strict=True):
        assert picture is not None
        again = index.search_image(picture, k=1)[0]
        assert again.row == hit.row


def test_samples_of_one_key_are_read_again(checkpoint: Path, tmp_path: Path) -> None:
    save_picture(tmp_path / "photos/a.png", 1)
    save_picture(tmp_path / "photos/a.jpg", 2)
    rows = [{"key": "a", "image": photo(seed), "text": "x"} for seed in (3, 4)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    places = [str(tmp_path / "photos"), str(tmp_path / "t.parquet")]
    index = Index.build(places, tmp_path / "i", checkpoint)
    found = [index.store.row(number) for number in range(4)]
    assert [row.key for row in found] == ["a", "a-picture-000000001", "a", "a-row-000000001"]
    assert None not in index.pictures(found)


def test_another_checkpoint_is_refused(index: Index, tmp_path: Path) -> None:
    from blip.inference.checkpoint import load_model, save_model

    loaded = load_model(index.settings.checkpoint)
    loaded.model.vision.class_token.data += 1
    (tmp_path / "other").mkdir()
    save_model(loaded.model, loaded.tokenizer, tmp_path / "other")
    other = Index.open(index.store.folder, tmp_path / "other")
    with pytest.raises(UsageError, match=r"was made with the model .*; build an index of its own"):
        other.search(TEXT)
    with pytest.raises(UsageError, match="was made with the model"):
        other.add([index.store.places[0].location])


def test_no_index(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no index; `blip index PLACE --out"):
        Index.open(tmp_path)


def test_near_duplicates_hang_together(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"photos/{name}").mkdir(parents=True)
        (tmp_path / f"photos/{name}/same.png").write_bytes(photo(1))
        (tmp_path / f"photos/{name}/own.png").write_bytes(photo(ord(name)))
    index = Index.build([str(tmp_path / "photos")], tmp_path / "i", checkpoint)
    groups = index.duplicates(0.999999)
    assert [member.row.key for member in groups[0]] == ["a/same", "b/same", "c/same"]
    assert all(member.cosine == pytest.approx(1, abs=1e-5) for member in groups[0])


def test_one_image_of_several_samples_is_found_once(checkpoint: Path, tmp_path: Path) -> None:
    from blip.data.writers.shards import ShardWriter

    with ShardWriter(tmp_path / "x.tar") as writer:
        for text in range(3):
            writer.write(f"0-{text}", photo(0), "png", f"text {text}", {"image_key": "photo/0"})
        writer.write("1", photo(1), "png", "another", {})
    index = Index.build([str(tmp_path / "x.tar")], tmp_path / "i", checkpoint)
    assert [hit.row.key for hit in index.search_image(photo(0), k=5)] == ["0-0", "1"]
    assert all(len(group) > 1 for group in index.duplicates(0.9999))


def test_an_open_index_follows_what_another_process_changes(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar = write_tar(tmp_path / "a.tar", range(3))
    opened = Index.build([str(tar)], tmp_path / "i", checkpoint)
    assert {hit.row.key for hit in opened.search_image(photo(0))} == {"0000", "0001", "0002"}
    write_tar(tar, range(2, 6))
    changing = Index.open(tmp_path / "i")
    finish = build.finish

    def search_meanwhile(*arguments: Any) -> Any:
        # Until the change is finished it finds what it found before.
        assert len(opened.search_image(photo(0))) == 3
        return finish(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(build, "finish", search_meanwhile)
        changing.add([str(tar)])
    assert opened.duplicates(0.999) == []
    keys = sorted(hit.row.key for hit in opened.search_image(photo(0)))
    assert keys == ["0002", "0003", "0004", "0005"]
    changing.remove(keys=["0003"])
    assert {hit.row.key for hit in opened.search(TEXT)} == {"0002", "0004", "0005"}


def test_few_tables_of_rows_are_held(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tars = [str(write_tar(tmp_path / f"{n}.tar", range(n, n + 1))) for n in range(5)]
    index = Index.build(tars, tmp_path / "i", checkpoint)
    monkeypatch.setattr("blip.index.store.TABLES", 2)
    for _ in range(2):
        assert [index.store.row(n).key for n in range(5)] == [f"000{n}" for n in range(5)]
        assert len(index.store._tables) == 2


def test_a_picture_that_has_gone_comes_behind(checkpoint: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        (tmp_path / f"{seed}.png").write_bytes(photo(seed))
    index = Index.build([str(tmp_path)], tmp_path.parent / "gone-index", checkpoint)
    first = index.search(TEXT)[0]
    (tmp_path / f"{first.row.key}.png").write_bytes(b"")
    hits = index.search(TEXT)
    assert [hit.probability is None for hit in hits] == [False, True]
    assert hits[1].row == first.row
    assert isinstance(index.pictures([hits[0].row])[0], Image.Image)


def test_a_large_index_is_searched_in_cells_and_an_unfinished_one_exactly(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(neighbours, "EXACT_ROWS", 50)
    monkeypatch.setattr(neighbours, "TRAIN_PER_CELL", 40)
    write_tar(tmp_path / "a.tar", range(90), broken=(7,))
    index = Index.build([str(tmp_path / "a.tar")], tmp_path / "i", checkpoint)
    # All of two cells are looked into, so that nothing is missed.
    assert isinstance(index.neighbours, neighbours.CellNeighbours)
    found = index.search_image(photo(3), k=20)
    index.remove(keys=["0003"])
    assert index.search_image(photo(3), k=19) == found[1:]
    (tmp_path / "i/status.json").write_text('{"state": "building"}')
    capsys.readouterr()
    exact = Index.open(tmp_path / "i").search_image(photo(3), k=19)
    assert "i is unfinished: run its `blip index` again" in capsys.readouterr().err
    assert [hit.row for hit in exact] == [hit.row for hit in found[1:]]
    index.remove([str(tmp_path / "a.tar")])
    assert index.search_image(photo(3)) == []
