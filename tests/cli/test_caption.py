"""`blip caption`: a line a caption; no text is lost or replaced, no bad picture ends the rest."""

import csv
import io
import json
import os
import re
from pathlib import Path

import pytest

from blip.cli.inputs import batches_of
from blip.cli.main import main
from blip.cli.sidecars import SidecarOptions, Sidecars
from tests.support.saved_models import save_picture, save_tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("captioner")))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, name in enumerate(("a.png", "b.jpg", "sub/c.png")):
        save_picture(tmp_path / "photos" / name, number)
    return tmp_path / "photos"


def caption(checkpoint: str, *more: str | Path) -> int:
    return main(["caption", checkpoint, *map(str, more), "--device", "cpu", "--max-length", "12"])


def test_a_line_for_each_picture(
    checkpoint: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert caption(checkpoint, photos, photos / "a.png") == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [Path(path).name for path, _ in lines] == ["a.png", "b.jpg", "c.png"]
    assert caption(checkpoint, photos, "--json", "--batch-size", "2") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [[row["path"], row["caption"]] for row in rows] == lines
    for row in rows:
        assert row["log_likelihood"] < 0
        assert row["log_likelihood_per_token"] == row["log_likelihood"] / row["tokens"]


@pytest.mark.parametrize("decoding", ["beam", "nucleus"])
def test_several_captions_as_text_json_and_csv(
    checkpoint: str, photos: Path, decoding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--captions", "4", "--decode", decoding]
    asked += ["--seed", "3"] if decoding == "nucleus" else []
    assert caption(checkpoint, photos, *asked) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 12
    assert len({text for _, text in lines[:4]}) > 1
    assert caption(checkpoint, photos, *asked, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [[row["path"], row["caption"]] for row in rows] == lines
    assert [row["number"] for row in rows] == [1, 2, 3, 4] * 3
    assert caption(checkpoint, photos, *asked, "--csv") == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [{name: str(value) for name, value in row.items()} for row in rows] == table
    # The first of several is the one that is written alone.
    if decoding == "nucleus":
        assert caption(checkpoint, photos, *asked[2:]) == 0
        assert capsys.readouterr().out.splitlines() == ["\t".join(line) for line in lines[::4]]


def test_text_files_beside_pictures(
    checkpoint: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "a.txt").write_text("mine\n")
    (photos / "b.txt").symlink_to("nowhere")
    assert caption(checkpoint, photos, "--write", "txt") == 0
    out, err = capsys.readouterr()
    assert (photos / "a.txt").read_text() == "mine\n"
    assert (photos / "b.txt").is_symlink()
    assert "2 pictures have a file .txt already, which is kept" in err
    assert caption(checkpoint, photos / "a.png", "--write", "txt") == 0
    assert "1 picture has a file .txt already, which is kept" in capsys.readouterr().err
    assert (photos / "sub/c.txt").read_text() == out.partition("\t")[2]
    assert caption(checkpoint, photos, "--write", "caption", "--captions", "2") == 0
    lines = [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]
    assert (photos / "a.caption").read_text().splitlines() == lines[:2]
    assert caption(checkpoint, photos / "a.png", "--write", "txt", "--overwrite") == 0
    assert (photos / "a.txt").read_text() != "mine\n"


@pytest.mark.parametrize("names", [("a.jpg", "a.png"), ("b.png", "B.jpg"), ("c.PNG", "c.png")])
def test_pictures_that_would_share_a_text_file_are_both_named(
    checkpoint: str, tmp_path: Path, names: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(names):
        save_picture(tmp_path / name, number)
    assert caption(checkpoint, tmp_path, "--write", "txt", "--overwrite") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert all(name in err for name in (*names, "--write-name full"))
    assert not list(tmp_path.glob("*.txt"))
    assert caption(checkpoint, tmp_path, "--write", "txt", "--write-name", "full") == 0
    lines = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    for name in names:
        assert (tmp_path / f"{name}.txt").read_text() == lines[str(tmp_path / name)] + "\n"
    # Without files they are captioned as ever.
    assert caption(checkpoint, tmp_path) == 0


def test_a_picture_is_not_replaced_by_its_own_caption(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = save_picture(tmp_path / "p.png").rename(tmp_path / "p.txt")
    content = odd.read_bytes()
    assert caption(checkpoint, odd, "--write", "txt", "--overwrite") == 2
    assert "would replace the picture" in capsys.readouterr().err
    assert odd.read_bytes() == content
    assert caption(checkpoint, odd, "--write", "txt", "--write-name", "full") == 0
    assert (odd.read_bytes(), (tmp_path / "p.txt.txt").exists()) == (content, True)


def test_one_picture_under_two_names_of_its_folder_shares_no_file(
    checkpoint: str, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(photos)
    assert caption(checkpoint, photos / "a.png", tmp_path / "link/b.jpg", "--write", "txt") == 0
    save_picture(photos / "a.jpg")
    assert caption(checkpoint, photos / "a.png", tmp_path / "link/a.jpg", "--write", "txt") == 2


def test_bad_pictures_are_counted_and_the_rest_goes_on(
    checkpoint: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.png").write_bytes(b"\x89PNG")
    (photos / "empty.jpg").touch()
    (photos / "gone.jpg").symlink_to("nowhere.jpg")
    (photos / "photo.heic").write_text("no picture")
    (photos / "sound.wav").touch()
    (photos / "film.mp4").touch()
    os.mkfifo(photos / "pipe.jpg")
    assert caption(checkpoint, photos) == 1
    out, err = capsys.readouterr()
    assert out.count("\n") == 3
    assert "6 of 9 pictures could not be read" in err
    assert "skipped 1 file that is not a picture (.wav 1)" in err
    for name, reason in (
        ("broken.png", "not an image"),
        ("empty.jpg", "empty file"),
        ("gone.jpg", "No such file"),
        ("photo.heic", "not an image"),
        ("film.mp4", "empty file"),
        ("pipe.jpg", "not a regular file"),
    ):
        assert re.search(f"cannot read .*{name}: {reason}", err)
    assert caption(checkpoint, photos / "a.png", "--max-pixels", "10") == 1
    assert "a.png: too many pixels" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_ends_nothing(
    checkpoint: str, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from blip import files

    real = files.write_atomically

    def write(path: Path, data: str) -> None:
        if path.name == "a.txt":
            raise PermissionError(13, "Permission denied", str(path))
        real(path, data)

    monkeypatch.setattr(files, "write_atomically", write)
    assert caption(checkpoint, photos, "--write", "txt") == 1
    assert "cannot write" in capsys.readouterr().err
    assert (photos / "sub/c.txt").exists()


def test_names_that_no_terminal_can_print(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    latin = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    for number, path in enumerate((latin, tmp_path / "d\te\nf.png", tmp_path / "été.png")):
        save_picture(tmp_path / "p.png", number).rename(path)
    assert caption(checkpoint, tmp_path, "--write", "txt") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [Path(line.split("\t")[0]).name for line in lines] == [
        r"caf\xe9.png",
        r"d\te\nf.png",
        "été.png",
    ]
    assert latin.with_suffix(".txt").exists()
    latin.write_bytes(b"broken")
    assert caption(checkpoint, tmp_path, "--json") == 1
    captured = capsys.readouterr()
    assert r"cannot read " in captured.err
    assert r"caf\xe9.png" in captured.err
    paths = [json.loads(line)["path"] for line in captured.out.splitlines()]
    assert paths == [str(tmp_path / "d\te\nf.png"), str(tmp_path / "été.png")]
    # A terminal of ASCII alone.
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    save_picture(tmp_path / "p.png").rename(latin)
    assert caption(checkpoint, tmp_path, "--json") == 0
    assert caption(checkpoint, tmp_path, "--csv") == 0
    assert caption(checkpoint, tmp_path) == 0
    stream.flush()
    written = stream.buffer.getvalue().decode("ascii").splitlines()
    assert os.fsencode(json.loads(written[0])["path"]) == os.fsencode(latin)
    assert json.loads(written[2])["path"] == str(tmp_path / "été.png")
    assert written[-1].startswith(str(tmp_path / r"\xe9t\xe9.png"))


def test_the_prompt_is_part_of_the_output_on_request(
    checkpoint: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [photos / "a.png", "--prompt", "a red ", "--min-length", "5"]
    assert caption(checkpoint, *asked) == 0
    plain = capsys.readouterr().out.split("\t")[1]
    assert not plain.startswith("a red")
    assert caption(checkpoint, *asked, "--keep-prompt", "--write", "txt") == 0
    kept = capsys.readouterr().out.split("\t")[1]
    assert kept.startswith("a red")
    assert kept.endswith(plain.removeprefix("##"))
    assert (photos / "a.txt").read_text() == kept


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--prompt", "a red circle and blue square near one big green star on grey"], "prompt"),
        (["--batch-size", "0"], "--batch-size is 0; allowed: a whole number"),
        (["--batch-size", "-1"], "--batch-size is -1; "),
        (["--captions", "0"], "--captions is 0; allowed: "),
        (["--captions", "2", "--decode", "greedy"], "--captions 2 needs --decode beam or nucleus"),
        (["--captions", "4", "--beams", "3"], "--beams must be at least --captions (4), got 3"),
        (["--captions", "5000", "--decode", "nucleus"], "captions"),
        (["--max-pixels", "0"], "--max-pixels is 0; allowed: "),
        (["--prompt", "\udce9"], "--prompt is '\\udce9'; allowed: text in UTF-8"),
        (["--json", "--csv"], "argument --csv: not allowed with argument --json"),
        (["--write", "png"], "--write is 'png'; allowed: txt, caption, json or another"),
        (["--write", "a/b"], "--write is 'a/b'; allowed: "),
        (["--append", "--overwrite"], "give one of --append and --overwrite"),
        (["--prefix", "a\nb"], "--prefix is 'a\\nb'; allowed: text in UTF-8 without a line break"),
        (["--max-length", "1000"], "--max-length is 1000; allowed: at most"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    checkpoint: str,
    photos: Path,
    more: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["caption", checkpoint, str(photos), "--write", "txt", "--max-length", "12"]
    assert main([*command, "--device", "cpu", *more]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err.splitlines()[-1]
    assert not list(photos.rglob("*.txt"))


def test_a_folder_without_pictures_says_what_it_holds(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sound.wav").touch()
    assert caption(checkpoint, tmp_path) == 2
    assert "holds no pictures (jpg, " in capsys.readouterr().err
    assert caption(checkpoint, tmp_path / "none") == 2
    assert "no such file or folder" in capsys.readouterr().err


def test_captions_are_appended_once(
    checkpoint: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "a.txt").write_text("mine, no end")
    (photos / "b.txt").write_bytes(b"\xff\xfe")
    assert caption(checkpoint, photos, "--write", "txt", "--append") == 1
    out, err = capsys.readouterr()
    lines = dict(line.split("\t") for line in out.splitlines())
    assert (photos / "a.txt").read_text() == f"mine, no end\n{lines[str(photos / 'a.png')]}\n"
    assert (photos / "b.txt").read_bytes() == b"\xff\xfe"
    assert f"cannot append to {photos / 'b.txt'}: " in err
    before = (photos / "a.txt").read_bytes()
    assert caption(checkpoint, photos / "a.png", "--write", "txt", "--append") == 0
    assert (photos / "a.txt").read_bytes() == before


def test_prefix_and_suffix_stand_around_every_caption(
    checkpoint: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert caption(checkpoint, photos / "a.png") == 0
    plain = capsys.readouterr().out.rstrip("\n").split("\t")[1]
    around = ["--prefix", "photo of sks, ", "--suffix", ", 4k"]
    assert caption(checkpoint, photos / "a.png", *around, "--write", "tags", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["caption"] == f"photo of sks, {plain}, 4k"
    assert (photos / "a.tags").read_text() == f"photo of sks, {plain}, 4k\n"


def test_a_json_file_keeps_what_is_not_ours(
    checkpoint: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, beside = photos / "a.png", photos / "a.json"
    assert caption(checkpoint, picture, "--write", "json", "--captions", "2") == 0
    lines = [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]
    made = json.loads(beside.read_text())
    assert made["caption"] == lines[0]
    assert [row["caption"] for row in made["captions"]] == lines
    assert all(row["log_likelihood"] < 0 for row in made["captions"])
    beside.write_text(json.dumps({"url": "https://x", "caption": "mine", "captions": ["mine"]}))
    kept = beside.read_bytes()
    assert caption(checkpoint, picture, "--write", "json", "--skip-existing") == 0
    assert beside.read_bytes() == kept
    for _ in range(2):
        assert caption(checkpoint, picture, "--write", "json", "--append") == 0
        merged = json.loads(beside.read_text())
        assert (merged["url"], merged["caption"]) == ("https://x", "mine")
        assert merged["captions"][0] == "mine"
        assert [row["caption"] for row in merged["captions"][1:]] == lines[:1]
    beside.write_text("[1]")
    assert caption(checkpoint, picture, "--write", "json", "--append") == 1
    assert beside.read_text() == "[1]"
    assert "no JSON object with a list of captions" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        b'{"captions": [["x"]]}',
        b'{"captions": [{"caption": {"en": 1}}]}',
        b'{"caption": ["x"]}',
        b'{"captions": {"en": 1}}',
        b'{"captions": ["x"], "a": %s1%s}' % (b"[" * 100_000, b"]" * 100_000),
        b'{"captions": ["x"], "a": %s1%s}' % (b"[" * 900, b"]" * 900),
        b'\xff{"captions": []}',
    ],
)
def test_a_json_file_of_another_kind_ends_nothing(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    sidecars = Sidecars(SidecarOptions(write="json", append=True), paths)
    (tmp_path / "a.json").write_bytes(content)
    for path in paths:
        sidecars.write(path, ["new"])
    assert json.loads((tmp_path / "b.json").read_text())["caption"] == "new"
    if sidecars.failed:
        assert (tmp_path / "a.json").read_bytes() == content
        err = capsys.readouterr().err
        assert err.startswith(f"cannot append to {tmp_path / 'a.json'}: ")
        assert err.count("\n") == 1
    else:
        # Python reads and writes this deep, and no deeper in another release.
        assert content.count(b"[") == 901
        assert json.loads((tmp_path / "a.json").read_text())["captions"][1] == {"caption": "new"}


def test_a_caption_is_appended_once_however_often_it_is_written(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    for extension in ("txt", "json", "JSON", "meta.json"):
        sidecars = Sidecars(SidecarOptions(write=extension, append=True), [picture])
        for captions in (["one", "two", "one"], ["three", "two", "three "]):
            sidecars.write(picture, captions)
    assert (tmp_path / "a.txt").read_text() == "one\ntwo\nthree\n"
    for name in ("a.json", "a.JSON", "a.meta.json"):
        found = json.loads((tmp_path / name).read_text())
        assert found["caption"] == "one"
        assert [row["caption"] for row in found["captions"]] == ["one", "two", "three"]
    (tmp_path / "a.json").write_text('{"url": "x", "caption": "mine"}')
    sidecars = Sidecars(SidecarOptions(write="json", append=True), [picture])
    sidecars.write(picture, ["mine", "new"])
    found = json.loads((tmp_path / "a.json").read_text())
    assert (found["url"], found["caption"]) == ("x", "mine")
    assert found["captions"] == [{"caption": "mine"}, {"caption": "new"}]


def test_captions_are_appended_to_what_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text("mine\n")
    (tmp_path / "a.txt").symlink_to("texts/a.txt")
    Sidecars(SidecarOptions(write="txt", append=True), [tmp_path / "a.png"]).write(
        tmp_path / "a.png", ["new"]
    )
    assert (tmp_path / "a.txt").is_symlink()
    assert (tmp_path / "texts/a.txt").read_text() == "mine\nnew\n"


def test_options_of_files_need_files(
    checkpoint: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--append", "--overwrite", "--skip-existing"):
        assert caption(checkpoint, photos, option) == 2
        assert f"{option} would not be used without --write" in capsys.readouterr().err


def test_a_file_that_appears_meanwhile_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "a.png"
    picture.touch()
    sidecars = Sidecars(SidecarOptions(write="txt"), [picture])
    assert sidecars.missing() == [picture]
    (tmp_path / "a.txt").write_text("my own words")
    sidecars.write(picture, ["a caption"])
    assert (tmp_path / "a.txt").read_text() == "my own words"
    assert "was created meanwhile, and is kept" in capsys.readouterr().err


def test_as_many_frames_go_together_as_pictures() -> None:
    pictures = [Path(f"{number}.jpg") for number in range(5)]
    videos = [Path(f"{number}.mp4") for number in range(3)]
    assert [len(batch) for batch in batches_of(pictures, 4, 8)] == [4, 1]
    assert [len(batch) for batch in batches_of(videos, 16, 8)] == [2, 1]
    assert [len(batch) for batch in batches_of(videos, 4, 8)] == [1, 1, 1]
    mixed = list(batches_of([*pictures, *videos], 4, 2))
    assert [path for batch in mixed for path in batch] == [*pictures, *videos]
    assert [len(batch) for batch in mixed] == [4, 2, 2]
