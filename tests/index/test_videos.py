"""Videos of an index: embedded as for retrieval, resumed, re-ranked, named when broken."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blip import Embedder, Index, Matcher, read_video
from blip.data.readers.video_places import find_any
from blip.errors import ArgumentError, UsageError
from blip.index import build
from blip.index.build import add_places, remove_from
from blip.index.store import Settings, Store
from tests.support.capfilt import die_at_file, exit_code_of
from tests.support.picture_index import index_bytes, write_tar
from tests.support.pictures import photo
from tests.support.saved_models import save_picture, save_tiny
from tests.support.tars import write_tar as write_members
from tests.support.videos import make_video, only_sound, plain_frames

pytest.importorskip("faiss")
FRAMES = 3
TEXT = "a red circle"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A folder of two pictures, two videos, a broken one and sound alone, and a table of three."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "mixed/below").mkdir(parents=True)
    for name, seed in (("a.png", 1), ("z.png", 2)):
        save_picture(folder / "mixed" / name, seed)
    (folder / "mixed/a.mp4").write_bytes(noise(1))
    (folder / "mixed/a.txt").write_text("first\nsecond\n")
    (folder / "mixed/below/b.webm").write_bytes(noise(2, form="webm", codec="libvpx-vp9"))
    (folder / "mixed/broken.mp4").write_bytes(b"no video" * 99)
    (folder / "mixed/sound.mp4").write_bytes(only_sound())
    rows = [{"key": f"v{n}", "video": noise(n), "caption": f"row {n}"} for n in (3, 4)]
    pq.write_table(pa.Table.from_pylist([*rows, {"key": "empty"}]), folder / "videos.parquet")
    return [str(folder / "mixed"), str(folder / "videos.parquet")]


@pytest.fixture(scope="module")
def index(checkpoint: Path, places: list[str], tmp_path_factory: pytest.TempPathFactory) -> Index:
    out = tmp_path_factory.mktemp("index") / "i"
    return Index.build(places, out, checkpoint, frames=FRAMES)


def noise(seed: int, **options: str) -> bytes:
    """A video of 6 frames in colours of its own."""
    colours = np.random.default_rng(seed).integers(0, 255, (6, 1, 1, 3), np.uint8)
    frames = zip(plain_frames(6), colours, strict=True)
    return make_video([frame + colour for frame, colour in frames], **options)


def test_rows_and_faults(index: Index, places: list[str]) -> None:
    rows = [row for part in index.store.parts for row in part.rows()]
    assert [(row.key, row.state) for row in rows] == [
        *(("a_mp4", "indexed"), ("a", "indexed"), ("below/b_webm", "indexed")),
        *(("broken_mp4", "broken"), ("sound_mp4", "broken"), ("z", "indexed")),
        *(("v3", "indexed"), ("v4", "indexed"), ("empty", "broken")),
    ]
    assert (rows[0].texts, rows[6].texts) == (("first", "second"), ("row 3",))
    faults = [json.loads(line) for line in (index.store.folder / "faults.jsonl").open()]
    assert [row["fault"].partition(":")[0] for row in faults] == [
        *("broken_video", "audio_only", "missing_video")
    ]
    assert (len(index), index.settings.frames) == (6, FRAMES)
    assert index.store.with_videos == set(places)


def test_vectors_are_those_of_zero_shot_retrieval(
    index: Index, checkpoint: Path, places: list[str]
) -> None:
    """The mean of the frames' features, normalised anew."""
    embedder = Embedder.load(checkpoint)
    video = read_video(f"{places[0]}/a.mp4", FRAMES)
    [first] = embedder.embed_images([video])
    found = index.store.vectors_of(np.array([0, 6]))
    np.testing.assert_allclose(found[0], first, atol=1e-6)
    np.testing.assert_allclose(
        found[1], embedder.embed_images([read_video(noise(3), FRAMES)])[0], atol=1e-6
    )
    [eight] = embedder.embed_images([read_video(f"{places[0]}/a.mp4", 2)])
    assert np.abs(found[0] - eight).max() > 1e-4
    assert index.search_image(f"{places[0]}/a.mp4", 1)[0].row.key == "a_mp4"


def test_a_text_finds_videos_that_itm_orders_by_all_their_frames(
    index: Index, checkpoint: Path, places: list[str]
) -> None:
    hits = index.search(TEXT, k=6)
    by_key = {hit.row.key: hit for hit in hits}
    inputs = {
        "a_mp4": read_video(f"{places[0]}/a.mp4", FRAMES),
        "a": f"{places[0]}/a.png",
        "v4": read_video(noise(4), FRAMES),
    }
    matcher = Matcher.load(checkpoint)
    for key, picture in inputs.items():
        [[expected]] = matcher.probability([picture], [[TEXT]])
        assert by_key[key].probability == pytest.approx(expected, abs=1e-5)
    probabilities = [hit.probability or 0 for hit in hits]
    assert probabilities == sorted(probabilities, reverse=True)


def test_a_table_with_a_row_a_caption_has_each_video_once(checkpoint: Path, tmp_path: Path) -> None:
    rows = [{"key": f"v{n // 2}", "video": noise(n // 2), "caption": f"{n}"} for n in range(12)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "v.parquet", row_group_size=5)
    index = Index.build([str(tmp_path / "v.parquet")], tmp_path / "i", checkpoint, frames=1)
    hits = index.search(TEXT, k=12)
    assert sorted(hit.row.image[1] for hit in hits) == sorted({hit.row.image[1] for hit in hits})
    assert len(hits) == 6
    assert all(hit.probability is not None for hit in hits)
    assert None not in index.pictures([index.store.row(number) for number in (11, 3, 7)])


def test_the_middle_frame_stands_for_a_video(index: Index, places: list[str]) -> None:
    rows = [index.store.row(number) for number in (0, 1, 6)]
    shown, picture, of_table = index.pictures(rows)
    assert shown is not None
    assert picture is not None
    assert of_table is not None
    middle = read_video(f"{places[0]}/a.mp4", times=[0.3]).images()[0]
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(middle))
    assert of_table.size == middle.size


@pytest.fixture(scope="module")
def tar(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four videos, a broken one and one of sound alone among them, and a picture."""
    members = [
        *(("a.mp4", noise(1)), ("a.txt", b"first"), ("bad.mp4", b"no video" * 99)),
        *(("deep/b.webm", noise(2, form="webm", codec="libvpx-vp9")), ("p.png", photo(1))),
        *(("sound.mp4", only_sound()), ("text.txt", b"no video"), ("c.mp4", noise(3))),
    ]
    return str(write_members(tmp_path_factory.mktemp("tar") / "clips.tar", members))


def test_videos_of_a_tar_are_found(checkpoint: Path, tar: str, tmp_path: Path) -> None:
    index = Index.build([tar], tmp_path / "i", checkpoint, frames=FRAMES)
    rows = [row for part in index.store.parts for row in part.rows()]
    assert [(row.key, row.fault and row.fault.partition(":")[0]) for row in rows] == [
        *(("a", None), ("bad", "broken_video"), ("deep/b", None), ("p", None)),
        *(("sound", "audio_only"), ("text", "missing_image"), ("c", None)),
    ]
    assert rows[0].texts == ("first",)
    vectors = index.store.vectors_of(np.array([0, 6]))
    alone = Embedder.load(checkpoint).embed_images([read_video(noise(n), FRAMES) for n in (1, 3)])
    np.testing.assert_allclose(vectors, alone, atol=1e-5)
    hits = index.search(TEXT, k=4)
    assert {hit.row.key for hit in hits} == {"a", "deep/b", "p", "c"}
    [[expected]] = Matcher.load(checkpoint).probability([read_video(noise(3), FRAMES)], [[TEXT]])
    of_c = next(hit for hit in hits if hit.row.key == "c")
    assert of_c.probability == pytest.approx(expected, abs=1e-5)
    assert None not in index.pictures([hit.row for hit in hits])


def test_a_tar_of_videos_is_resumed_and_skipped_and_read_again_with_its_videos(
    checkpoint: Path, tar: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "PART_ROWS", 4)
    add_places(tmp_path / "whole", [tar], checkpoint, frames=2)

    def killed() -> None:
        die_at_file(5)
        add_places(tmp_path / "i", [tar], checkpoint, frames=2)

    assert exit_code_of(killed) == -9
    assert not (tmp_path / "i/places.json").exists()
    add_places(tmp_path / "i", [tar], checkpoint, frames=2)
    whole = index_bytes(tmp_path / "whole")
    assert index_bytes(tmp_path / "i") == whole
    with monkeypatch.context() as patch:
        patch.setattr(Embedder, "stream_images", None)
        add_places(tmp_path / "i", [tar])
    assert index_bytes(tmp_path / "i") == whole
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "av", None)
        assert add_places(tmp_path / "later", [tar], checkpoint).indexed == 1
    assert add_places(tmp_path / "later", [tar]).indexed == 4


def test_duplicates_among_videos(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "v" / name).mkdir(parents=True)
        (tmp_path / "v" / name / "same.mp4").write_bytes(noise(1))
    index = Index.build([str(tmp_path / "v")], tmp_path / "i", checkpoint)
    [group] = index.duplicates(0.9999)
    assert [member.row.key for member in group] == ["a/same_mp4", "b/same_mp4"]
    assert index.settings.frames == 8


@pytest.mark.parametrize("step", range(0, 11, 2))
def test_a_killed_run_is_resumed_to_the_same_bytes(
    step: int,
    checkpoint: Path,
    places: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "PART_ROWS", 6)
    add_places(tmp_path / "whole", places, checkpoint, frames=2)
    assert Store.open(tmp_path / "whole").settings.part_rows == 3

    def killed() -> None:
        die_at_file(step)
        add_places(tmp_path / "i", places, checkpoint, frames=2)

    assert exit_code_of(killed) == -9
    add_places(tmp_path / "i", places, checkpoint, frames=2)
    assert index_bytes(tmp_path / "i") == index_bytes(tmp_path / "whole")


def test_places_of_videos_are_skipped_changed_and_removed(
    checkpoint: Path, places: list[str], tmp_path: Path
) -> None:
    folder, out = tmp_path / "mixed", tmp_path / "i"
    shutil.copytree(places[0], folder)
    add_places(out, [str(folder)], checkpoint, frames=2)
    before = index_bytes(out)
    add_places(out, [str(folder)])
    assert index_bytes(out) == before
    assert remove_from(out, keys=["a_mp4"]).removed == 1
    # The place changes: what was removed comes back.
    (folder / "broken.mp4").write_bytes(noise(5))
    assert add_places(out, [str(folder)]).indexed == 5
    with pytest.raises(UsageError, match="reads 2 frames of each video, not 4"):
        add_places(out, [str(folder)], frames=4)
    assert remove_from(out, [str(folder)]).indexed == 0


def test_an_index_of_pictures_alone_is_as_it_was(checkpoint: Path, tmp_path: Path) -> None:
    save_picture(tmp_path / "photos/a.png", 1)
    (tmp_path / "photos/note.pdf").write_bytes(b"")
    write_tar(tmp_path / "a.tar", range(2))
    add_places(tmp_path / "i", [str(tmp_path / "photos"), str(tmp_path / "a.tar")], checkpoint)
    config = json.loads((tmp_path / "i/config.json").read_text())
    assert sorted(config) == [
        *("checkpoint", "fingerprint", "format", "part_rows", "projection", "vectors")
    ]
    known = json.loads((tmp_path / "i/places.json").read_text())["places"]
    assert {*known[0]} == {"location", "mark", "rows", "indexed", "broken", "removed"}
    assert Store.open(tmp_path / "i").settings == Settings(**config)


def test_videos_join_an_index_of_pictures(
    checkpoint: Path, places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that was read without its videos is read again by its pictures alone."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "av", None)
        index = Index.build(places[:1], tmp_path / "i", checkpoint)
    assert (len(index), index.settings.frames) == (2, None)
    assert index.add(places[1:]).frames == 8
    rows = [index.store.row(number) for number in range(len(index))]
    assert [row.key for row in rows] == ["a", "z", "v3", "v4"]
    assert None not in index.pictures(rows)
    assert index.add(places[:1]).indexed == 6
    assert index.store.with_videos == set(places)


def test_a_folder_stands_for_its_tables_of_videos_or_for_the_videos_beside_others(
    places: list[str], tmp_path: Path
) -> None:
    asked = pa.Table.from_pylist([{"key": "a", "question": "what?", "answer": "this"}])
    for name in ("tables", "files"):
        (tmp_path / name).mkdir()
        pq.write_table(asked, tmp_path / name / "qa.parquet")
    shutil.copy(places[1], tmp_path / "tables/videos.parquet")
    (tmp_path / "files/a.mp4").write_bytes(noise(1))
    found = [str(tmp_path / "tables/videos.parquet"), str(tmp_path / "files")]
    assert find_any([str(tmp_path / "tables"), str(tmp_path / "files"), *found[:1]]) == found
    # Pictures come as before, and so does what names nothing.
    write_tar(tmp_path / "tables/a.tar", range(1))
    assert find_any([str(tmp_path / "tables")]) == [str(tmp_path / "tables/a.tar")]
    assert find_any(places) == places
    with pytest.raises(UsageError, match="no shards at"):
        find_any([str(tmp_path / "absent")])


def test_progress_counts_samples_where_some_are_videos(
    index: Index, checkpoint: Path, places: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    add_places(index.store.folder, places, checkpoint)
    assert "index: 9/9 samples" in capsys.readouterr().err


def test_without_the_extra_videos_are_left_out_and_that_is_said(
    checkpoint: Path,
    places: list[str],
    index: Index,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    summary = add_places(tmp_path / "i", places, checkpoint)
    assert summary.indexed == 2
    assert [fault.shard for fault in summary.lost] == places[1:]
    assert "videos are left out, as PyAV is not installed" in capsys.readouterr().err
    for words in ({"frames": 2}, {"folder": index.store.folder}):
        with pytest.raises(UsageError, match=r"pip install 'blip-capfilt\[video\]'"):
            add_places(
                **{"folder": tmp_path / "j", "places": places, "checkpoint": checkpoint, **words}
            )


@pytest.mark.parametrize("frames", [0, 2000])
def test_a_number_of_frames_that_cannot_be(frames: int, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"frames must lie in 1\.\.1024"):
        add_places(tmp_path / "i", [str(tmp_path)], checkpoint, frames=frames)


def test_a_video_that_has_gone_comes_behind(
    checkpoint: Path, places: list[str], tmp_path: Path
) -> None:
    for seed in (1, 2):
        (tmp_path / f"{seed}.mp4").write_bytes(noise(seed))
    (tmp_path / "3.png").write_bytes(photo(3))
    index = Index.build([str(tmp_path)], tmp_path.parent / "gone-videos", checkpoint, frames=2)
    (tmp_path / "1.mp4").write_bytes(b"")
    hits = index.search(TEXT)
    assert [hit.probability is None for hit in hits] == [False, False, True]
    assert hits[2].row.key == "1_mp4"
