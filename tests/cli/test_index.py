"""`blip index` and `blip search`: a table, JSON lines or a page, and errors in one line."""

import json
import re
import sys
from pathlib import Path

import pytest

from blip.cli.main import main
from blip.data.writers.shards import ShardWriter
from blip.index import build, pictures
from tests.support.picture_index import write_collection, write_tar
from tests.support.pictures import photo
from tests.support.saved_models import save_picture, save_tiny
from tests.support.videos import numbered

pytest.importorskip("faiss")
HOSTILE = '<script>alert(1)</script>" onload="x'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    save_tiny(folder / "model")
    places = write_collection(folder)
    assert index(folder, *places, "--checkpoint", folder / "model") == 0
    return folder


def index(folder: Path, *words: str | Path) -> int:
    return main(["index", *map(str, words), "--out", str(folder / "i"), "--device", "cpu"])


def search(folder: Path, *words: str | Path) -> int:
    return main(["search", str(folder / "i"), *map(str, words), "--device", "cpu"])


def test_what_was_indexed_is_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tar = write_tar(tmp_path / "a.tar", range(3), broken=(1,))
    assert index(tmp_path, tar, "--checkpoint", folder / "model") == 0
    out, err = capsys.readouterr()
    assert out == f"2 pictures of 1 places in {tmp_path / 'i'}\n"
    assert f"broken pictures: 1; {tmp_path / 'i/faults.jsonl'} names them" in err
    assert index(tmp_path, "--remove-keys", "0000") == 0
    assert capsys.readouterr().out == f"1 pictures of 1 places in {tmp_path / 'i'}\n"
    assert index(tmp_path, "--remove", tar) == 0
    assert capsys.readouterr().out == f"0 pictures of 0 places in {tmp_path / 'i'}\n"
    assert search(tmp_path, "a red circle") == 1
    assert "no picture found" in capsys.readouterr().err


def test_a_text_gives_a_table_and_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(folder, "a red circle", "--results", "3", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert all(0 <= row["probability"] <= 1 for row in rows)
    assert search(folder, "a red circle", "--results", "3") == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["rank", "match", "cosine", "key", "place", "texts"]
    for row, line in zip(rows, lines, strict=True):
        shown = [str(row["rank"]), f"{row['probability']:.3f}", f"{row['cosine']:+.3f}"]
        assert line.split()[:5] == [*shown, row["key"], row["place"]]
    assert search(folder, "a red circle", "--rerank", "0", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["probability"] for row in rows} == {None}


def test_a_picture_finds_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = folder / "photos/20.png"
    assert search(folder, "--image", picture, "--results", "1", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["key"] == "20"
    assert row["cosine"] == pytest.approx(1, abs=1e-5)


def test_a_video_finds_pictures(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip.mp4").write_bytes(numbered(9))
    assert search(folder, "--image", tmp_path / "clip.mp4", "--results", "2", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["rank"] for row in rows] == [1, 2]
    assert all(-1 <= row["cosine"] <= 1 for row in rows)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert search(folder, "--image", tmp_path / "broken.mp4") == 1
    assert "broken video" in capsys.readouterr().err


def test_videos_are_indexed_found_and_shown(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_picture(tmp_path / "both/a.png", 1)
    (tmp_path / "both/clip.mp4").write_bytes(numbered(9))
    (tmp_path / "both/broken.mp4").write_bytes(b"no video")
    words = (tmp_path / "both", "--frames", "3")
    assert index(tmp_path, *words, "--checkpoint", folder / "model") == 0
    out, err = capsys.readouterr()
    assert out == f"2 pictures and videos of 1 places in {tmp_path / 'i'}\n"
    assert "broken pictures and videos: 1; " in err
    assert search(tmp_path, "--image", tmp_path / "both/clip.mp4", "--json") == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["key"], second["key"]) == ("clip_mp4", "a")
    # The question is read by as many frames as the index reads.
    assert first["cosine"] == pytest.approx(1, abs=1e-6)
    assert search(tmp_path, "a red circle", "--html", tmp_path / "x.html") == 0
    assert (tmp_path / "x.html").read_text().count('src="data:image/jpeg;base64,') == 2
    capsys.readouterr()
    assert index(tmp_path, tmp_path / "both", "--frames", "4") == 2
    assert "reads 3 frames of each video, not 4" in capsys.readouterr().err
    assert index(tmp_path, "--remove-keys", "clip_mp4") == 0
    assert capsys.readouterr().out.startswith("1 pictures and videos of 1 places")


def test_a_page_escapes_what_data_holds(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ShardWriter(tmp_path / "a.tar") as writer:
        writer.write("a", photo(0), "png", HOSTILE, {})
        # Names of files may hold nearly anything.
        writer.write_members([("<b>&'.png", photo(1)), ("<b>&'.txt", b"[red]markup[/red]")])
    assert index(tmp_path, tmp_path / "a.tar", "--checkpoint", folder / "model") == 0
    page = tmp_path / "found.html"
    assert search(tmp_path, HOSTILE, "--html", page) == 0
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<b>&" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;&#34; onload=&#34;x") == 3
    assert text.count('src="data:image/jpeg;base64,') == 2
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    capsys.readouterr()
    # A page that another search wrote is kept, unless it is to be replaced.
    assert search(tmp_path, "a red circle", "--html", page) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == text
    assert search(tmp_path, "a red circle", "--html", page, "--overwrite") == 0
    capsys.readouterr()
    # Nor is it markup of the table.
    assert search(tmp_path, "a red circle") == 0
    assert "[red]markup[/red]" in capsys.readouterr().out


def test_duplicates(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / "photos" / name, 1)
    assert index(tmp_path, tmp_path / "photos", "--checkpoint", folder / "model") == 0
    capsys.readouterr()
    assert search(tmp_path, "--duplicates", "--json") == 0
    [group] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [picture["key"] for picture in group["pictures"]] == ["a", "b"]
    assert search(tmp_path, "--duplicates", "--html", tmp_path / "x.html") == 0
    assert (tmp_path / "x.html").read_text().count("<img ") == 2
    capsys.readouterr()
    assert search(tmp_path, "--duplicates") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "i"], "give a text, --image or --duplicates, and one of them only"),
        (["search", "i", "a", "--duplicates"], "give a text, --image or --duplicates"),
        (["search", "photos", "a"], "photos holds no index; `blip index PLACE --out photos`"),
        (["search", "i", "a", "--results", "0"], "--results is 0; allowed: a whole number"),
        (["search", "i", "a", "--checkpoint", "other"], "i was made with the model"),
        (["search", "i", "--duplicates", "--threshold", "2"], "--threshold is 2"),
        (["search", "i", "a", "--html", "photos"], "photos is a folder, where a file is to be"),
        (["search", "i", "--duplicates", "--html", ".", "--overwrite"], "choose another --html"),
        (["search", "i", "x", "--threshold", "0.5"], "--threshold would not be used without --dup"),
        (["search", "i", "--image", "https://x/a.mp4"], "is the address of a video; download it"),
        (["search", "i", "--image", "http://[x"], "cannot read http://[x: Invalid IPv6 URL"),
        (["search", "i", "--image", "photos"], "photos is a folder; --image takes one picture"),
        (["search", "i", "--image", "x"], "no picture at x: no such file or folder"),
        (["search", "i", "--image", "x", "--rerank", "5"], "--rerank would not be used without a"),
        (["search", "i", "--duplicates", "--rerank", "5"], "--rerank would not be used without a"),
        (["index", "--out", "i"], "name places to add, or --remove or --remove-keys"),
        (
            ["index", "absent", "--out", "i"],
            "no shards at absent: no such file or folder; allowed: tars,",
        ),
        (["index", "photos", "--out", "new"], "--checkpoint CKPT must say"),
        (["index", "photos", "--out", "photos", "--checkpoint", "model"], "replace the input"),
        (["index", "photos", "--out", "model", "--checkpoint", "model"], "replace the input"),
        (["index", "photos", "--out", "i", "--checkpoint", "other"], "i was made with the model"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_errors_are_one_line(
    words: list[str],
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tests.support.saved_models import tiny_checkpoint

    monkeypatch.chdir(folder)
    if "other" in words and not (folder / "other").exists():
        tiny_checkpoint(folder / "other", ["a red circle"])
    assert main([*words, "--device", "cpu"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("blip: error: ")
    assert message in err
    assert err.count("\n") == 1


def test_ctrl_c_keeps_finished_parts(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tar = write_tar(tmp_path / "a.tar", range(5))
    words = (tar, "--checkpoint", folder / "model")
    monkeypatch.setattr(build, "PART_ROWS", 2)
    decode, left = pictures.decode_image, [3]

    def interrupted(*arguments: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return decode(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(pictures, "decode_image", interrupted)
        assert index(tmp_path, *words) == 130
    assert "run the same command again to resume" in capsys.readouterr().err
    assert len(list((tmp_path / "i/parts").glob("*.parquet"))) == 1
    # Two pictures are there already.
    calls: list[object] = []
    monkeypatch.setattr(pictures, "decode_image", lambda *a: calls.append(a) or decode(*a))
    assert index(tmp_path, *words) == 0
    assert len(calls) == 3


@pytest.mark.parametrize("verb", ["index", "search"])
def test_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"usage: blip {verb}" in out
    assert "examples:" in out


def test_without_faiss_nothing_is_begun(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert index(tmp_path, folder / "photos", "--checkpoint", folder / "model") == 2
    assert "pip install 'blip-capfilt[index]'" in capsys.readouterr().err
    assert not (tmp_path / "i").exists()
    assert search(folder, "a red circle") == 2
    assert "pip install 'blip-capfilt[index]'" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--remove", "--remove-keys"])
def test_an_index_may_become_empty(
    option: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tar = write_tar(tmp_path / "a.tar", range(2))
    made = ["index", str(tar), "--out", str(tmp_path / "i"), "--checkpoint", str(folder / "model")]
    assert main([*made, "--device", "cpu"]) == 0
    named = [str(tar)] if option == "--remove" else ["0000", "0001"]
    assert main(["index", "--out", str(tmp_path / "i"), option, *named]) == 0
    assert "0 pictures of" in capsys.readouterr().out
