"""Names on stdin, addresses in the place of paths, readers that leave, colours and exit status."""

import fcntl
import io
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from blip.cli.main import main
from tests.support.flaky_server import Server
from tests.support.saved_models import save_picture, save_tiny

SHORT = ("--device", "cpu", "--max-length", "8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipes")
    save_tiny(folder / "model")
    save_tiny(folder / "vqa", "vqa")
    save_tiny(folder / "nlvr", "nlvr")
    for number, name in enumerate(("a.png", "b.jpg", "sub/c.png")):
        save_picture(folder / "photos" / name, number)
    return folder


@pytest.fixture
def served(folder: Path) -> Iterator[str]:
    with Server(folder / "photos") as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.url
        server.shutdown()


def give(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("end", [b"\0", b"\n", b"\r\n"])
def test_names_on_stdin_are_captioned_and_matched(
    folder: Path, end: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [os.fsencode(folder / "photos" / name) for name in ("b.jpg", "a.png", "b.jpg")]
    give(monkeypatch, end.join([*names, b""]))
    assert main(["caption", str(folder / "model"), "-", "--json", *SHORT]) == 0
    assert [Path(str(row["path"])).name for row in rows(capsys)] == ["b.jpg", "a.png"]
    give(monkeypatch, end.join(names))
    assert main(["match", str(folder / "model"), "-", "a circle", "--device", "cpu"]) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == [
        os.fsdecode(name) for name in names[:2]
    ]


def test_a_name_with_a_line_break_works_behind_nul(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    odd = tmp_path / os.fsdecode(b"a\n\xe9.png")
    shutil.copy(folder / "photos/a.png", odd)
    give(monkeypatch, os.fsencode(odd) + b"\0")
    assert main(["caption", str(folder / "model"), "-", "--json", *SHORT]) == 0
    (row,) = rows(capsys)
    assert os.fsencode(str(row["path"])) == os.fsencode(odd)


def test_what_a_program_lists_may_be_gone_or_an_empty_folder(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    give(monkeypatch, os.fsencode(f"{tmp_path}\n{folder}/gone.png\n{folder}/photos/a.png\n"))
    assert main(["caption", str(folder / "model"), "-", *SHORT]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert f"cannot read {folder}/gone.png: No such file" in err
    assert "1 of 2 pictures could not be read" in err
    wrong = ("http://[x", "ftp://x/a.png", "https://x/a.mp4", "http://x:y/a.png", "http:///a.png")
    give(monkeypatch, os.fsencode("\n".join([*wrong, "RIFFraff.jpg", f"{folder}/photos/a.png"])))
    assert main(["caption", str(folder / "model"), "-", *SHORT]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert all(f"cannot read {name}: " in err for name in (*wrong, "RIFFraff.jpg"))
    assert "6 of 7 pictures could not be read" in err
    give(monkeypatch, b"RIFF1234WEBP\n")
    assert main(["caption", str(folder / "model"), "-", *SHORT]) == 2
    assert "stdin holds a picture" in capsys.readouterr().err
    give(monkeypatch, b"\n")
    assert main(["caption", str(folder / "model"), "-", *SHORT]) == 2
    assert "stdin names no picture" in capsys.readouterr().err
    give(monkeypatch, (folder / "photos/b.jpg").read_bytes())
    assert main(["caption", str(folder / "model"), "-", *SHORT]) == 2
    assert "stdin holds a picture; it takes the names" in capsys.readouterr().err


def test_addresses_stand_for_pictures_in_every_verb(
    folder: Path, served: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ["caption", "model", "{}/a.png", "{}/b.jpg", *SHORT],
        ["match", "model", "{}/a.png", "a circle", "--device", "cpu"],
        ["ask", "vqa", "{}/a.png", "what is it?", "--device", "cpu"],
        ["compare", "nlvr", "{}/a.png", "{}/b.jpg", "both are red", "--device", "cpu"],
    ):
        shown = []
        for place in (str(folder / "photos"), served):
            given = [word.format(place) for word in words]
            given[1] = str(folder / given[1])
            assert main([*given, "--json"]) == 0
            shown.append(capsys.readouterr().out.replace(place, ""))
        assert shown[0] == shown[1]


def test_an_address_that_gives_nothing_is_named_and_counted(
    folder: Path, served: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"{served}/none.png", f"{served}/a.png"]
    assert main(["caption", str(folder / "model"), *given, *SHORT]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"{served}/a.png\t")
    assert f"cannot fetch {served}/none.png: 404" in err
    assert "1 of 2 pictures could not be read" in err
    assert main(["caption", str(folder / "model"), f"{served}/clip.mp4", *SHORT]) == 2
    assert "is the address of a video; download it" in capsys.readouterr().err
    # Before the checkpoint is looked for.
    for wrong in ("http://[x", "ftp://x/a.png"):
        assert main(["caption", "none", wrong, *SHORT]) == 2
        assert f"blip: error: cannot read {wrong}: " in capsys.readouterr().err
    assert main(["caption", str(folder / "model"), given[1], "--write", "txt", *SHORT]) == 2
    assert "is an address" in capsys.readouterr().err


def program(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "blip", *map(str, words)]


def test_a_reader_that_leaves_ends_the_command_quietly(folder: Path) -> None:
    command = program("caption", folder / "model", folder / "photos", "--batch-size", "1", *SHORT)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read().decode()
    assert process.returncode == 1
    assert "error" not in err.lower()
    assert "Traceback" not in err


def test_a_search_is_colourless_in_a_file_and_with_no_color(
    folder: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    pytest.importorskip("faiss")
    made = ["index", str(folder / "photos"), "--out", str(folder / "i"), "--device", "cpu"]
    assert main([*made, "--checkpoint", str(folder / "model")]) == 0
    search = ("search", str(folder / "i"), "a circle", "--device", "cpu")
    capfdbinary.readouterr()
    assert main([*search]) == 0
    plain = capfdbinary.readouterr().out
    assert plain
    assert b"\x1b" not in plain
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm-256color"}
    near, far = pty.openpty()
    with subprocess.Popen(program(*search), stdout=far, stderr=far, env=environment):
        os.close(far)
        shown = b""
        while True:
            try:
                shown += os.read(near, 1024)
            except OSError:
                break
    os.close(near)
    assert b"cosine" in shown
    assert not any(colour in shown for colour in (b"\x1b[3", b"\x1b[9", b"\x1b[38"))


def test_a_page_goes_to_stdout(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faiss")
    out = str(folder / "page-index")
    made = ["index", str(folder / "photos"), "--out", out, "--checkpoint", str(folder / "model")]
    assert main([*made, "--device", "cpu"]) == 0
    capsys.readouterr()
    assert main(["search", out, "a circle", "--html", "-", "--device", "cpu"]) == 0
    page = capsys.readouterr().out
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert not Path("-").exists()


def test_each_exit_status_means_what_the_documentation_says(folder: Path) -> None:
    broken = folder / "broken.png"
    broken.write_bytes(b"junk")
    for status, words in {
        0: ["caption", folder / "model", folder / "photos/a.png", *SHORT],
        1: ["caption", folder / "model", broken, *SHORT],
        2: ["caption", folder / "model", folder / "gone.png", *SHORT],
    }.items():
        assert main([str(word) for word in words]) == status


@contextmanager
def interruptible(command: list[str], **more: int) -> "Iterator[subprocess.Popen[bytes]]":
    # Whoever runs the tests in the background ignores Ctrl-C, and children inherit that.
    answer = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=answer, **more) as process:
        yield process


def test_ctrl_c_ends_with_130_and_one_line(folder: Path) -> None:
    command = program("caption", folder / "model", "-", *SHORT)
    with interruptible(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"a.png")
        process.stdin.flush()
        # Until it has read that, and waits for more.
        while fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4)) != bytes(4):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        err = process.stderr.read().decode()
    assert process.returncode == 130
    assert len(err.splitlines()) == 1
    assert "stopped" in err


def test_ctrl_c_ends_a_command_that_waits_for_addresses(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = program("caption", folder / "model", f"{url}/a.png", f"{url}/b.png", *SHORT)
        with interruptible(command) as process:
            # Once both have asked, they wait for answers that never come.
            asked = [silent.accept()[0] for _ in range(2)]
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=40)
            for connection in asked:
                connection.close()
    assert process.returncode == 130
    assert err.decode().splitlines()[-1].startswith("blip: error: stopped")
