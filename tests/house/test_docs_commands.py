"""The shell blocks of the documentation run, with tiny models and data in place of what they name.

Bash runs each block as it is printed. `tests/support/docs_programs.py` says what the programs that
it calls do here: `blip` is the real one with tiny sizes, on one process and without a GPU.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.docs_folder import save_documented_world
from tests.support.docs_programs import PROGRAMS, stop_service
from tests.support.pages import PAGES, Block, all_blocks, blocks

CALLER = """\
#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as call:
    call.connect(os.environ["BLOCK_PROGRAMS"])
    said = dict(program=os.path.basename(sys.argv[0]), words=sys.argv[1:], folder=os.getcwd())
    said["environ"] = dict(os.environ)
    socket.send_fds(call, [json.dumps(said).encode()], [0, 1, 2])
    sys.exit((call.recv(1) or b"\\xff")[0])
"""
"""A program that lets the server of programs do its work."""
FIRST = """\
blip demo
blip pretrain base_14m --out runs/base_14m
blip index photos --out photos.index --checkpoint runs/demo/round-1/filter
blip index holiday --out holiday.index --checkpoint runs/demo/round-1/filter --frames 16
"""
"""What the blocks find done already."""
GUIDES = [block for block in blocks("bash", "sh") if "experiments" not in block.page.parts]
"""Those of the experiments take hours; tests/experiments runs their commands in small."""


class World(NamedTuple):
    """Where the blocks run."""

    folder: Path
    """With all that they name; each gets a copy."""
    programs: Path
    """The socket of the server of programs, and beside it a folder of their names."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    place = tmp_path_factory.mktemp("docs")
    names = place / "bin"
    names.mkdir()
    for name in PROGRAMS:
        (names / name).write_text(CALLER.format(python=sys.executable))
        (names / name).chmod(0o755)
    command = [sys.executable, "-m", "tests.support.docs_programs", str(place / "programs")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            folder = save_documented_world(place / "all")
            assert server.stdout.readline() == b"ready\n"
            here = World(folder, place / "programs")
            run(FIRST, folder, here)
            yield here
        finally:
            server.terminate()


def run(script: str, folder: Path, world: World) -> str:
    """Run a block in a folder; what it prints, if it does not fail."""
    names = world.programs.parent / "bin"
    binaries = folder / ".venv/bin"
    if not binaries.exists():
        binaries.parent.mkdir()
        binaries.symlink_to(names)
    service = folder.parent / f"{folder.name}.service"
    environ = os.environ | {
        "PATH": f"{names}:{os.environ['PATH']}",
        "BLIP_CACHE": str(folder / "cache"),
        "BLOCK_PROGRAMS": str(world.programs),
        "BLOCK_MADE": str(folder.parent / f"{folder.name}.made"),
        "BLOCK_SERVICE": str(service),
        "BLOCK_CURL": shutil.which("curl") or "",
        "FIRST": "first",
        # Compiling takes half a minute; tests/train does it.
        "TORCHDYNAMO_DISABLE": "1",
    }
    try:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder, env=environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        stop_service(service)
    said = done.stdout + done.stderr
    if done.returncode and (log := service.with_suffix(".log")).exists():
        said += log.read_text(encoding="utf-8")
    assert done.returncode == 0, f"{script}\n{said[-4000:]}"
    return done.stdout


@pytest.mark.parametrize("block", GUIDES, ids=str)
def test_blocks_run(block: Block, world: World, tmp_path: Path) -> None:
    script = block.text
    if "curl " in script:
        if shutil.which("curl") is None:
            pytest.skip("no curl on this machine")
        page = block.page.read_text(encoding="utf-8")
        # Of the services of the page, the one that answers questions, too.
        service = re.search(r"^blip serve .*runs/vqa.*", page, re.MULTILINE)
        assert service
        script = f"{service[0]}\n{script}"
    folder = tmp_path / "here"
    shutil.copytree(world.folder, folder, symlinks=True)
    run(script, folder, world)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("blip caption runs/captioner nowhere.jpg", "nowhere.jpg: no such file"),
        ("false | cat", ""),
        ("blipp demo", "blipp: command not found"),
    ],
)
def test_a_block_that_fails_is_reported(
    script: str, reason: str, world: World, tmp_path: Path
) -> None:
    shutil.copytree(world.folder, tmp_path / "here", symlinks=True)
    with pytest.raises(AssertionError) as failed:
        run(script, tmp_path / "here", world)
    assert reason in str(failed.value).partition("\n")[2]


def test_commands_do_what_they_say(world: World, tmp_path: Path) -> None:
    """The stand-ins neither hide what is printed nor what is written."""
    shutil.copytree(world.folder, tmp_path / "here", symlinks=True)
    printed = run("blip caption runs/captioner photo.jpg --json", tmp_path / "here", world)
    assert json.loads(printed)["path"] == "photo.jpg"
    summary = json.loads((world.folder / "runs/demo/summary.json").read_text(encoding="utf-8"))
    assert summary["capfilt"]["images"] == 8


def test_blocks_in_other_languages_are_few_and_known() -> None:
    """`sh` needs a cluster or large downloads; `text` and `json` show what is in files."""
    languages = {block.language for block in all_blocks()}
    assert languages == {"bash", "sh", "python", "console", "text", "json"}
    for block in blocks("json"):
        json.loads(block.text)
    for page in PAGES:
        fences = re.findall(r"^[ \t]*(?:```|~~~)", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * sum(block.page == page for block in all_blocks()), page.name
