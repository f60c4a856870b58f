"""The commands of the documentation run, with tiny models and data in place of what they name."""

import io
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from blip.cli.main import main
from tests.support.docs_folder import save_docs_folder
from tests.support.pages import PAGES, Block, Call, all_blocks, blocks, calls_of_blip

NOT_RUN = {
    r"^(demo|bootstrap) ?(?!.*--(list|keys))": "minutes; tests/test_bootstrap.py",
    r"^pretrain ": "a model of the paper's size; tests/tasks trains small ones",
    r"^finetune (?!.*--data\.image\.size 48)": "likewise, and data of its size",
    r"^serve ": "serves until it is stopped; tests/serve",
    r"s3://|https://|--ray-address|hf:google-bert": "asks another machine; tests/data",
    r"--device cuda": "needs a GPU",
    r"--meteor": "needs Java",
    r"downloads/|laion|shards/(coco-train|vg|sbu|cc)|cc12m": "downloads of the paper's data sets",
    r"nlvr2|visdial_1\.0|visdial-val|VisualDialog|visdial_written": "published files; tests/data",
    r"v2_OpenEnded|question_answers\.json|vqa-val|msrvtt|msvd": "published files; tests/data",
    r"clips/|videos\.parquet": "published files, or those of the scenes; tests/data/videos",
    r"--like |scenes/": "the demo's scenes; tests/data/scenes",
    r"data scenes .*--web 10000": "draws ten thousand pictures",
}
"""Commands, by what is in them, that are only parsed, by test_docs.py; and why."""
OTHER_PROGRAMS = {
    "pip": "installs", "make": "a target of the Makefile, which test_docs.py looks up",
    "curl": "asks a service; tests/serve/test_app.py sends the same",
    "torchrun": "several processes; tests/dist", "python": "an experiment, for hours",
    "tar": "the demo's shards",
}  # fmt: skip
"""What begins a line of a block in `bash` beside blip, and why it is not run."""
LISTED = b"photo.jpg\npicture.png\n"
"""What comes through a pipe."""
RELEASED = re.compile(r"(?:hf:Salesforce/|original:)[\w-]+")


def made_by(words: list[str]) -> Path | None:
    """What a command makes, and expects not to be there."""
    if words[:2] == ["data", "pack"]:
        return Path(words[3])
    # Without a checkpoint it adds to an index.
    if "--out" in words and (words[0] != "index" or "--checkpoint" in words):
        return Path(words[words.index("--out") + 1])
    return None


def stand_in(name: str) -> str:
    """The tiny checkpoint that is read in place of a released one."""
    for kind in ("vqa", "nlvr"):
        if kind in name:
            return f"runs/{kind}"
    return "runs/captioner" if "caption" in name else "runs/base"


def commands_of(block: Block) -> list[Call]:
    """The calls of blip in a block, by one process."""
    return [call for call in calls_of_blip(block.text) if not call.together]


def why_not_run(command: Call) -> str | None:
    text = " ".join(command.words)
    return next((why for what, why in NOT_RUN.items() if re.search(what, text)), None)


GUIDES = [block for block in blocks("bash") if "experiments" not in block.page.parts]
RUN = [block for block in GUIDES if any(not why_not_run(c) for c in commands_of(block))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_docs_folder(tmp_path_factory.mktemp("docs") / "all")


@pytest.fixture
def place(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, in which the test works."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.usefixtures("place", "forked_workers")
@pytest.mark.parametrize("block", RUN, ids=str)
def test_commands_of_a_block_run_in_their_order(
    block: Block, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    made = set[Path]()
    for command in commands_of(block):
        if why_not_run(command):
            continue
        out = made_by(command.words)
        if out and out not in made:
            shutil.rmtree(out, ignore_errors=True)
            made.add(out)
        words = [RELEASED.sub(lambda name: stand_in(name[0]), word) for word in command.words]
        names = io.TextIOWrapper(io.BytesIO(LISTED if command.piped else b""))
        monkeypatch.setattr("sys.stdin", names)
        try:
            status = main(words)
        except SystemExit as ended:
            status = ended.code
        assert status in (0, None), f"blip {' '.join(words)}\n{capfd.readouterr().err}"


def test_what_is_not_run_is_in_the_pages_and_is_little_of_them() -> None:
    commands = [command for block in GUIDES for command in commands_of(block)]
    for what in NOT_RUN:
        assert any(re.search(what, " ".join(command.words)) for command in commands), what
    assert sum(not why_not_run(command) for command in commands) > 75


def test_every_line_of_a_block_is_run_or_has_a_reason() -> None:
    for block in blocks("bash"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.rpartition(" | ")[2], comments=True)
            words = [word for word in words if not re.match(r"[A-Z_]+=", word)]
            assert not words or words[0] in ("blip", *OTHER_PROGRAMS), f"{block}: {line}"


def test_blocks_in_other_languages_are_few_and_known() -> None:
    """`sh` needs a cluster, servers or large downloads; `text` and `json` show what is in files."""
    languages = {block.language for block in all_blocks()}
    assert languages == {"bash", "sh", "python", "console", "text", "json"}
    for block in blocks("json"):
        json.loads(block.text)
    for page in PAGES:
        fences = re.findall(r"^[ \t]*(?:```|~~~)", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * sum(block.page == page for block in all_blocks()), page.name
