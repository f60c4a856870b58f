"""Packing: what is no picture is left out, and half a pack is never taken for a whole one."""

import errno
import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from blip.cli.main import main
from blip.data import pack as packing
from blip.data.config import Collection
from blip.data.pack import Packed, pack_collection
from blip.data.readers.patterns import PACKED, expand
from blip.data.readers.shards import read_shard
from blip.data.sample import Sample
from blip.data.writers.shards import ShardWriter
from blip.errors import BlipError, UsageError
from tests.support.capfilt import exit_code_of
from tests.support.pictures import photo


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.png").write_bytes(photo(number))
        (folder / f"{number}.txt").write_text(f"text {number}")
    return folder


def pack(folder: Path, out: Path, *, overwrite: bool = False, **options: object) -> Packed:
    return pack_collection(Collection(source=str(folder), **options), out, overwrite=overwrite)


def read(out: Path) -> list[Sample]:
    return [sample for shard in expand([str(out)]) for sample in read_shard(shard)]


def tars(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.tar")}


def test_what_does_not_decode_is_left_out_and_counted(photos: Path, tmp_path: Path) -> None:
    (photos / "secret.jpg").write_bytes(b"root:x:0:0:root:/root:/bin/bash\n")
    (photos / "empty.jpg").write_bytes(b"")
    buffer = io.BytesIO()
    Image.effect_noise((600, 400), 90).save(buffer, "JPEG")
    (photos / "cut.jpg").write_bytes(buffer.getvalue()[:-2000])
    (photos / "whole.jpeg").write_bytes(buffer.getvalue())
    os.mkfifo(photos / "pipe.jpg")
    (photos / "circle.jpg").symlink_to(photos / "circle.jpg")
    for name in ("secret", "empty", "cut", "pipe", "circle", "whole"):
        (photos / f"{name}.txt").write_text("a text")
    packed = pack(photos, tmp_path / "out")
    assert packed == Packed(
        7,
        1,
        {"not_an_image": 1, "empty_file": 1, "truncated_image": 1, "missing_image": 2},
    )
    assert {s.key: s.extension for s in read(tmp_path / "out")}["whole"] == "jpg"
    named = json.loads((tmp_path / "out" / PACKED).read_text())["first_left_out"]
    assert ["photos/secret.jpg", "not_an_image"] in named
    assert len(named) == 5


def test_a_table_that_names_any_file_of_the_disk_packs_pictures_alone(photos: Path) -> None:
    table = photos / "t.csv"
    table.write_text("path,caption\n0.png,one\n/etc/passwd,two\n/dev/zero,three\n0.txt,four\n")
    packed = pack(table, photos / "out")
    assert (packed.samples, packed.left_out) == (1, {"not_an_image": 2, "missing_image": 1})


def test_a_text_that_is_lost_costs_its_sample_no_other(photos: Path, tmp_path: Path) -> None:
    captions = [["", "one", 5, "two"], ["\ud800"], [5, ""], ["three", None]]
    entries = [{"image": f"{n}.png", "caption": texts} for n, texts in enumerate(captions)]
    (photos / "t.json").write_text(json.dumps(entries))
    packed = pack(photos / "t.json", tmp_path / "out")
    assert packed.left_out == {"text_not_a_string": 2, "text_not_utf8": 1}
    assert [sample.texts for sample in read(tmp_path / "out")] == [("one", "two"), ("three",)]


def test_sizes_lie_beside_the_shards(photos: Path, tmp_path: Path) -> None:
    pack(photos, tmp_path / "out", per_shard=4)
    sizes = json.loads((tmp_path / "out/sizes.json").read_text())
    assert sizes == {"00000.tar": 4, "00001.tar": 2}


def test_pictures_without_a_text_are_packed_where_it_is_asked_for(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "1.txt").unlink()
    (photos / "2.txt").write_text(" \n")
    (photos / "3.txt").write_bytes(b"\xff\xfe")
    assert pack(photos, tmp_path / "out").left_out == {"missing_text": 2, "text_not_utf8": 1}
    more = pack(photos, tmp_path / "all", allow_missing_text=True)
    assert (more.samples, more.left_out) == (5, {"text_not_utf8": 1})
    assert [s.texts for s in read(tmp_path / "all")][:3] == [("text 0",), ("",), ("",)]
    # A tar that holds pictures alone obeys the same rule.
    for path in photos.glob("*.txt"):
        path.unlink()
    command = ["data", "pack", str(photos), str(tmp_path / "bare")]
    assert main([*command, "--allow-missing-text"]) == 0
    command[2:] = [str(tmp_path / "bare"), str(tmp_path / "again")]
    assert main(command) == 1
    output = capsys.readouterr().err
    assert "nothing was packed" in output
    assert "missing_text 6, the first: photos/0.png missing_text (--allow-missing" in output
    assert main([*command, "--allow-missing-text"]) == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "image\n0.png\n1.png\n"),
        ("t.csv", "id;image\n7;0.png\n8;1.png\n"),
        ("t.tsv", "image\n0.png\n1.png\n"),
        ("t.jsonl", '{"image": "0.png"}\n{"image": "1.png"}\n'),
        ("t.json", '[{"image": "0.png"}, {"image": "1.png"}]'),
    ],
)
def test_a_table_of_pictures_alone_is_packed_where_it_is_asked_for(
    photos: Path, tmp_path: Path, name: str, content: str
) -> None:
    (photos / name).write_text(content)
    with pytest.raises(UsageError, match=r'no column for the|has no "image" and "caption"'):
        pack(photos / name, tmp_path / "out")
    assert pack(photos / name, tmp_path / "out", allow_missing_text=True).samples == 2
    assert [sample.texts for sample in read(tmp_path / "out")] == [("",), ("",)]


def test_what_packs_nothing_says_why(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in photos.glob("*.png"):
        path.write_bytes(b"no picture")
    assert main(["data", "pack", str(photos), str(tmp_path / "out")]) == 1
    output = capsys.readouterr().err
    assert "left out: not_an_image 6, the first: photos/0.png not_an_image" in output
    assert tars(tmp_path / "out") == {}
    with pytest.raises(UsageError, match="no shards at"):
        expand([str(tmp_path / "out")])
    (photos / "empty.csv").write_text("path,caption\n")
    assert main(["data", "pack", str(photos / "empty.csv"), str(tmp_path / "out")]) == 1
    assert "holds no samples" in capsys.readouterr().err


def pack_and_die(folder: Path, out: Path, samples: int) -> None:
    whole = packing.read_samples

    def die(*arguments: object, **more: object) -> Iterator[Sample]:
        for number, sample in enumerate(whole(*arguments, **more)):
            if number == samples:
                os.kill(os.getpid(), signal.SIGKILL)
            yield sample

    packing.read_samples, packing.TOGETHER = die, 1
    pack(folder, out, per_shard=2)


@pytest.mark.parametrize("samples", [1, 2, 5])
def test_a_killed_pack_is_written_anew(
    photos: Path, tmp_path: Path, samples: int, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(photos, tmp_path / "whole", per_shard=2)
    out = tmp_path / "out"
    assert exit_code_of(pack_and_die, photos, out, samples) == -signal.SIGKILL
    (out / "notes.tar").write_bytes(b"somebody else's")
    for pattern in (str(out), str(out / "*.tar")):
        with pytest.raises(UsageError, match="is not finished"):
            expand([pattern])
    with pytest.raises(UsageError, match=r"a pack that was stopped, with per_shard 2 \(now 3\)"):
        pack(photos, out, per_shard=3)
    pack(photos, out, per_shard=2)
    assert "was not finished; writing it from the beginning" in capsys.readouterr().err
    assert (out / "notes.tar").read_bytes() == b"somebody else's"
    (out / "notes.tar").unlink()
    assert tars(out) == tars(tmp_path / "whole")
    names = {path.name for path in out.iterdir()}
    assert names == {path.name for path in (tmp_path / "whole").iterdir()}


def test_what_is_finished_is_replaced_on_request_alone(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(photos, out, per_shard=2)
    before = tars(out)
    with pytest.raises(UsageError, match=r"packed from .*photos with per_shard 2 \(now 1000\)"):
        pack(photos, out)
    with pytest.raises(UsageError, match=r"shards already, packed from \S*photos; choose another"):
        pack(photos, out, per_shard=2)
    assert tars(out) == before
    pack(photos, out, per_shard=4, overwrite=True)
    assert sorted(tars(out)) == ["00000.tar", "00001.tar"]
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/00000.tar").write_bytes(b"x")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="holds shards already; choose another folder"):
            pack(photos, tmp_path / "theirs", overwrite=overwrite)


def test_a_source_that_cannot_be_read_leaves_nothing_behind(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        pack(photos / "none.csv", tmp_path / "out")
    with pytest.raises(UsageError, match="is remote, and only local files are packed"):
        pack(Path("pipe:cat x.tar"), tmp_path / "out")
    with pytest.raises(UsageError, match="would replace the input"):
        pack(photos, photos)
    (photos / "t.csv").write_text("path,caption\n")
    with pytest.raises(BlipError):
        pack(photos / "t.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (photos / PACKED).exists()


def test_the_largest_picture_is_a_choice(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["data", "pack", str(photos), str(tmp_path / "out"), "--max-pixels"]
    assert main([*command, "10"]) == 1
    assert "too_many_pixels 6" in capsys.readouterr().err
    assert main([*command, "10000"]) == 0


def test_a_full_disk_gives_one_line_and_the_same_command_goes_on(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fill(self: ShardWriter, members: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    command = ["data", "pack", str(photos), str(tmp_path / "out")]
    with monkeypatch.context() as full:
        full.setattr(ShardWriter, "write_members", fill)
        assert main(command) == 1
    assert "out: No space left on device; free some space" in capsys.readouterr().err
    with pytest.raises(UsageError, match="is not finished"):
        expand([str(tmp_path / "out")])
    assert main(command) == 0
    assert len(read(tmp_path / "out")) == 6
