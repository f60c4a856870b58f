"""`blip completion`: real shells complete verbs, options, values and files by its script."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from blip.cli.completion import FILES, FOLDERS
from blip.cli.main import VERBS, main, make_parser

CASES = [
    ("blip capt", {"caption"}),
    ("blip caption --deco", {"--decode"}),
    ("blip caption CKPT --decode ", {"greedy", "beam", "nucleus"}),
    ("blip capfilt re", {"recut", "report"}),
    ("blip capfilt recut --thr", {"--threshold"}),
    ("blip data in", {"inspect", "index"}),
    ("blip finetune vq", {"vqa"}),
    ("blip pretrain base --model.vision.im", {"--model.vision.image_size"}),
    ("blip caption CKPT pictures/a", {"pictures/a.jpg", "pictures/ab.jpg"}),
]
BASH = """\
source ./script
COMP_WORDS=($1)
[[ $1 == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
COMP_LINE=$1 COMP_POINT=${#1}
_shtab_blip
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    (folder / "pictures").mkdir()
    for name in ("a.jpg", "ab.jpg", "c.jpg"):
        (folder / "pictures" / name).touch()
    return folder


def script(folder: Path, shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert main(["completion", shell]) == 0
    (folder / "script").write_text(capsys.readouterr().out, encoding="utf-8")


def ask(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    assert not done.stderr
    return done.stdout


def test_bash_completes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script(folder, "bash", capsys)
    for line, expected in CASES:
        found = ask(folder, "bash", "--norc", "-c", BASH, "bash", line)
        assert set(found.split()) == expected, line


def test_fish_completes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script(folder, "fish", capsys)
    for line, expected in CASES:
        found = ask(folder, "fish", "--no-config", "-c", f"source script; complete -C '{line}'")
        assert {word.partition("\t")[0] for word in found.splitlines()} == expected, line


def test_zsh_reads_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script(folder, "zsh", capsys)
    assert ask(folder, "zsh", "-f", "-n", "script") == ""
    assert (folder / "script").read_text(encoding="utf-8").startswith("#compdef blip\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_verb_is_there(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)
    assert main(["completion", "tcsh"]) == 2
    assert "bash, zsh, fish" in capsys.readouterr().err.replace("'", "")


def test_what_names_a_file_is_known() -> None:
    arguments = [
        ("caption", "IMAGE|FOLDER|URL"),
        ("capfilt", "DIR"),
        ("convert", "SRC"),
        ("ask", "FILE"),
    ]
    for verb, noun in arguments:
        assert noun in (*FILES, *FOLDERS)
        assert noun in [action.metavar for action in make_parser(verb)._actions]


def test_it_loads_no_torch() -> None:
    code = (
        "import sys; from blip.cli.main import main; main(['completion', 'bash']); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0
