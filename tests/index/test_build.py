"""An index is resumed to the same bytes, grows, shrinks, and names what is broken."""

import json
import os
import shutil
import signal
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blip.errors import StoppedError, UsageError
from blip.index import build, fill
from blip.index.build import add_places, remove_from
from blip.index.pictures import read_pictures
from blip.index.store import Part, Store
from tests.support.capfilt import die_at_file, exit_code_of
from tests.support.flaky_server import Server
from tests.support.picture_index import SEEDS, features, index_bytes, write_collection, write_tar
from tests.support.pictures import photo
from tests.support.saved_models import save_picture, save_tiny

pytest.importorskip("faiss")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "PART_ROWS", 3)


def test_vectors_rows_and_faults(checkpoint: Path, tmp_path: Path) -> None:
    places = write_collection(tmp_path)
    summary = add_places(tmp_path / "i", places, checkpoint)
    assert (summary.places, summary.indexed, summary.broken) == (3, 11, 1)
    store = Store.open(tmp_path / "i")
    numbers = np.concatenate([block for block, _ in store.blocks()])
    vectors = np.concatenate([block for _, block in store.blocks()])
    np.testing.assert_allclose(vectors[:9], features(checkpoint, SEEDS), atol=1e-5)
    np.testing.assert_array_equal(store.vectors_of(numbers[::-1]), vectors[::-1])
    rows = [store.row(int(number)) for number in numbers]
    assert [row.texts for row in rows[:9]] == [
        *((f"text {seed}",) for seed in SEEDS[:6]),
        *((f"row {seed}",) for seed in SEEDS[6:]),
    ]
    faults = [json.loads(line) for line in (tmp_path / "i/faults.jsonl").open()]
    assert faults == [
        {"place": places[0], "key": "0002", "fault": store.row(2).fault},
    ]
    assert store.row(2).state == "broken"
    status = json.loads((tmp_path / "i/status.json").read_text())
    assert (status["state"], status["rows"], status["indexed"]) == ("ready", 12, 11)


@pytest.mark.parametrize("step", range(0, 18, 2))
def test_a_killed_run_is_resumed_to_the_same_bytes(
    step: int, checkpoint: Path, tmp_path: Path
) -> None:
    places = write_collection(tmp_path)
    add_places(tmp_path / "whole", places, checkpoint)

    def killed() -> None:
        die_at_file(step)
        add_places(tmp_path / "i", places, checkpoint)

    status = exit_code_of(killed)
    assert status == -9 or step > 14
    add_places(tmp_path / "i", places, checkpoint)
    assert index_bytes(tmp_path / "i") == index_bytes(tmp_path / "whole")


def test_a_resumed_run_writes_no_key_twice(checkpoint: Path, tmp_path: Path) -> None:
    rows = [{"key": "same", "image": photo(seed), "text": "a text"} for seed in range(5)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "table.parquet")
    for name in ("a.jpg", "a.png", "b.jpg", "b.png", "c.png"):
        save_picture(tmp_path / "photos" / name, 1)
    places = [str(tmp_path / name) for name in ("table.parquet", "photos")]
    out = tmp_path / "i"
    add_places(out, places, checkpoint)
    whole = index_bytes(out)
    keys = [row.key for row in _rows(out)]
    assert len(set(keys)) == len(keys) == 10
    # As a run leaves them that is killed within each place: first parts, and no place done.
    (out / "places.json").unlink()
    for rest in ("npy", "parquet"):
        for path in out.glob(f"parts/*-00001.{rest}"):
            path.unlink()
    add_places(out, places, checkpoint)
    assert index_bytes(out) == whole


def test_unchanged_places_are_skipped_and_changed_ones_read_anew(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar = write_tar(tmp_path / "a.tar", range(4))
    add_places(tmp_path / "i", [str(tar)], checkpoint)
    before = index_bytes(tmp_path / "i")
    with monkeypatch.context() as patch:
        patch.setattr(fill, "read_place", None)
        add_places(tmp_path / "i", [str(tar)])
    assert index_bytes(tmp_path / "i") == before
    write_tar(tar, range(6))
    assert add_places(tmp_path / "i", [str(tar)]).indexed == 6
    add_places(tmp_path / "new", [str(tar)], checkpoint)
    assert index_bytes(tmp_path / "i") == index_bytes(tmp_path / "new")


def test_places_and_keys_are_removed(checkpoint: Path, tmp_path: Path) -> None:
    places = write_collection(tmp_path)
    out = tmp_path / "i"
    add_places(out, places[:1], checkpoint)
    before = index_bytes(out)
    add_places(out, places[1:])
    assert remove_from(out, places[1:]).indexed == 6
    assert index_bytes(out) == before
    summary = remove_from(out, keys=["0000", "0006"])
    assert (summary.indexed, summary.broken, summary.removed) == (4, 1, 2)
    # It stays removed when its place is named again.
    assert add_places(out, places[:1]).indexed == 4
    found = [store_row.key for store_row in _rows(out)]
    assert found == ["0001", "0003", "0004", "0005"]
    held = index_bytes(out)
    with pytest.raises(UsageError, match=r"no picture of .* has the key 'nothing'"):
        remove_from(out, keys=["0001", "nothing"])
    with pytest.raises(UsageError, match=r"absent is not in .*; it holds .*a\.tar"):
        remove_from(out, places=["absent"])
    assert index_bytes(out) == held


def test_a_place_is_removed_by_its_name_before_it_is_a_glob(
    checkpoint: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(("photos[1]", "photos1", "photos2")):
        save_picture(tmp_path / name / "a.png", number)
    out = tmp_path / "i"
    add_places(out, [str(path) for path in tmp_path.iterdir()], checkpoint)
    assert remove_from(out, [str(tmp_path / "photos[1]")]).indexed == 2
    shutil.rmtree(tmp_path / "photos[1]")
    assert remove_from(out, [str(tmp_path / "photos[1]")]).indexed == 1
    assert [Path(place.location).name for place in Store.open(out).places] == ["photos2"]


def test_a_glob_removes_no_folder_below_and_none_beside_one_that_exists(
    checkpoint: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(("a", "a/old", "photos1")):
        save_picture(tmp_path / name / "one" / "a.png", number)
    out = tmp_path / "i"
    places = [tmp_path / "a/one", tmp_path / "a/old/one", tmp_path / "photos1"]
    add_places(out, [str(path) for path in places], checkpoint)
    (tmp_path / "photos[1]").mkdir()
    with pytest.raises(UsageError, match=r"photos\[1\] is not in"):
        remove_from(out, [str(tmp_path / "photos[1]")])
    assert remove_from(out, [str(tmp_path / "a/*ne")]).indexed == 2
    assert remove_from(out, [str(tmp_path / "a/**")]).indexed == 1


def test_a_removal_that_is_killed_is_resumed(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = write_collection(tmp_path)
    out, whole = tmp_path / "i", tmp_path / "whole"
    for folder in (out, whole):
        add_places(folder, places, checkpoint)
    remove_from(whole, places[:1])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_from(out, places[:1])
    remove_from(out, places[:1])
    assert index_bytes(out) == index_bytes(whole)
    # What another run has computed so far stays where the name is mistyped.
    begun = out / "parts/begun-00000.npy"
    begun.touch()
    with pytest.raises(UsageError, match=r"a\.tar is not in"):
        remove_from(out, places[:1])
    assert begun.exists()


def _rows(out: Path):
    store = Store.open(out)
    return [store.row(int(number)) for numbers, _ in store.blocks() for number in numbers]


def test_a_place_that_cannot_be_read_costs_no_other(checkpoint: Path, tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", range(2))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    summary = add_places(tmp_path / "i", [str(tmp_path / "broken.parquet"), str(tar)], checkpoint)
    assert summary.indexed == 2
    assert [fault.shard for fault in summary.lost] == [str(tmp_path / "broken.parquet")]


def test_half_precision_takes_half_the_space(checkpoint: Path, tmp_path: Path) -> None:
    tar = str(write_tar(tmp_path / "a.tar", range(3)))
    add_places(tmp_path / "i", [tar], checkpoint, vectors="float16")
    [(_, vectors)] = Store.open(tmp_path / "i").blocks()
    np.testing.assert_allclose(vectors, features(checkpoint, [0, 1, 2]), atol=1e-3)
    with pytest.raises(UsageError, match="stores vectors as float16, not as float32"):
        add_places(tmp_path / "i", [tar], vectors="float32")


def test_a_new_index_needs_a_checkpoint(tmp_path: Path) -> None:
    tar = str(write_tar(tmp_path / "a.tar", range(1)))
    with pytest.raises(UsageError, match="--checkpoint CKPT must say"):
        add_places(tmp_path / "i", [tar])
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("kind", ["http", "pipe"])
def test_remote_tars_are_indexed_and_their_pictures_fetched_again(
    kind: str, checkpoint: Path, tmp_path: Path
) -> None:
    write_tar(tmp_path / "web/a.tar", range(5), broken=(2,))
    add_places(tmp_path / "local", [str(tmp_path / "web/a.tar")], checkpoint)
    with Server(tmp_path / "web") as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        http = f"{server.url}/a.tar"
        place = http if kind == "http" else f"pipe:cat {tmp_path / 'web/a.tar'}"
        assert add_places(tmp_path / "i", [place], checkpoint).indexed == 4
        store = Store.open(tmp_path / "i")
        rows = [store.row(number) for number in (4, 0)]
        assert all(picture is not None for picture in read_pictures(rows))
        if kind == "http":
            fetched = server.whole_gets("/a.tar")
            # It has not changed.
            assert add_places(tmp_path / "i", [place]).indexed == 4
            assert server.whole_gets("/a.tar") == fetched
        server.shutdown()
    assert [row.place for row in rows] == [place, place]
    for (_, remote), (_, local) in zip(
        store.blocks(), Store.open(tmp_path / "local").blocks(), strict=True
    ):
        np.testing.assert_array_equal(remote, local)
    assert remove_from(tmp_path / "i", [place]).indexed == 0


def test_sigterm_ends_in_an_orderly_way(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar = str(write_tar(tmp_path / "a.tar", range(5)))
    write_part = Part.write

    def write_then_stop(*arguments: object) -> None:
        write_part(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Part, "write", write_then_stop)
        with pytest.raises(StoppedError, match="run the same command again to resume") as stopped:
            add_places(tmp_path / "i", [tar], checkpoint)
    assert stopped.value.status == 0
    assert add_places(tmp_path / "i", [tar], checkpoint).indexed == 5
