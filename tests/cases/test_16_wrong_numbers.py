"""Numbers and prompts that cannot work end in one line, before anything is written."""

from pathlib import Path

import pytest

from blip.cli.main import main
from blip.inference.matcher import Matcher
from tests.support.generators import run_generator
from tests.support.saved_models import tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = run_generator("16-wrong-numbers", tmp_path_factory.mktemp("case"))
    tiny_checkpoint(folder / "model", ["a red circle and a blue square"])
    return folder


@pytest.mark.parametrize(
    "more",
    [
        ["--batch-size", "0"],
        ["--batch-size", "-1"],
        ["--max-length", "1000", "--min-length", "600"],
        ["--prompt", "a red circle and a blue square " * 5],
    ],
)
def test_each_is_one_line_and_status_2(
    folder: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["caption", str(folder / "model"), str(folder / "p.png"), "--write", "txt", *more]
    assert main([*command, "--device", "cpu"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("blip: error: ")
    assert len(err.splitlines()) == 1
    assert not (folder / "p.txt").exists()


def test_the_prompt_is_left_out_as_the_help_says_or_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["caption", "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "start of every caption; it is not printed or written" in words
    command = ["caption", str(folder / "model"), str(folder / "p.png"), "--prompt", "a red"]
    for more, kept in ([], False), (["--keep-prompt"], True):
        assert main([*command, "--device", "cpu", *more]) == 0
        assert capsys.readouterr().out.split("\t")[1].startswith("a red") is kept


def test_a_flat_list_of_texts_is_a_value_error(folder: Path) -> None:
    matcher = Matcher.load(folder / "model")
    with pytest.raises(ValueError, match=r"write \[\['a red circle'\]\]"):
        matcher.scores([folder / "p.png"], ["a red circle"])
