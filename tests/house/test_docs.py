"""What the documentation says is so: commands parse, programs run, links lead somewhere."""

import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path

import pytest

import blip
from blip import outputs
from blip.cli.main import VERBS, actions_of, main, make_parser, parse
from blip.config.override import override
from blip.errors import UsageError
from blip.model.checkpoint.released import RELEASES
from blip.recipes import bootstrap
from blip.tasks.table import TASKS
from tests.support.demo_folder import save_demo
from tests.support.pages import PAGES, ROOT, blocks, calls_of_blip, without_blocks


def commands(text: str) -> list[list[str]]:
    """What `blip` is called with in a shell script."""
    return [call.words for call in calls_of_blip(text)]


def check_command(arguments: list[str]) -> None:
    """As far as the real command goes without its files: arguments, recipe, overrides."""
    if not arguments or arguments == ["--help"] or arguments[-1] == "--help":
        return
    if arguments[-1] == "--list":
        with pytest.raises(SystemExit, match=r"^0$"):
            parse(arguments)
        return
    args = parse(arguments)
    named = arguments[0]
    if named == "finetune":
        named = next(task.name for task in TASKS if args.kind in task.names)
    has_recipes = named in ("bootstrap", *(task.name for task in TASKS))
    recipes = import_module(f"blip.recipes.{named}") if has_recipes else None
    if named == "demo":
        override(bootstrap.scenes_demo(), args.overrides)
    elif recipes and args.recipe and args.recipe != "RECIPE" and not args.recipe.endswith(".json"):
        override(getattr(recipes, args.recipe)(), args.overrides)


@pytest.mark.parametrize("block", blocks("bash", "sh"), ids=str)
def test_commands_are_accepted(block):
    for arguments in commands(block.text):
        check_command(arguments)
    targets = re.findall(r"^make ([\w.]+)", block.text, re.MULTILINE)
    for target in targets:
        assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_within_text_are_accepted(page):
    for line in re.findall(r"`(blip [^`\n]+)`", without_blocks(page)):
        if "VERB" not in line and "--version" not in line and "--traceback" not in line:
            check_command(shlex.split(line)[1:])


@pytest.mark.parametrize(
    "verb", [*VERBS, *(f"{verb} {action}" for verb in VERBS for action in actions_of(verb))]
)
def test_examples_of_the_verbs_are_accepted(verb):
    result = (make_parser(verb).epilog or "").partition("\n\nafterwards:")[0]
    examples = commands(result)
    examples += commands("\n".join(line[2:] for line in result.split("\n")))
    assert examples
    for arguments in examples:
        check_command(arguments)


def test_a_wrong_command_is_found():
    for line in ("blip caption", "blip demo --sead 1", "blip bootstrap scenes_demo --data.nose 1"):
        with pytest.raises(UsageError):
            check_command(shlex.split(line)[1:])


@pytest.mark.parametrize("block", blocks("console"), ids=str)
def test_sessions_end_as_they_are_shown(block, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for part in block.text.split("$ ")[1:]:
        line, _, result = part.partition("\n")
        main(shlex.split(line)[1:])
        shown = capsys.readouterr()
        assert shown.out + shown.err == result, line


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    return save_demo(tmp_path_factory.mktemp("demo"))


RELEASED = re.compile(r"\b(?:hf|original):[\w./-]+(?=\")")


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_programs_run(block, demo, monkeypatch, capsys):
    """Also those that download a released checkpoint: here they read the demo's in its place."""
    monkeypatch.chdir(demo)
    text = RELEASED.sub("runs/demo/round-1/captioner", block.text)
    code = compile(text, str(block), "exec")
    exec(code, {"__name__": "__main__"})
    shown = capsys.readouterr().out
    assert bool(shown.strip()) == ("print(" in text)
    assert "nan" not in shown


def places(page: Path) -> set[str]:
    """The names by which the headings of a page are linked."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page), re.MULTILINE)
    return {
        re.sub(r"[^\w\s-]", "", heading).lower().strip().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_their_headings(page):
    """Those between pages of the site are also looked up in the site, by test_site.py."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page)):
        if "://" in target:
            assert re.fullmatch(r"https?://[\w.-]+\.\w+(/[\w./#?=&%~:@+-]*)?", target), target
            continue
        path, _, place = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not place or file.suffix != ".md" or place in places(file), target


def test_the_reference_of_the_command_line_is_fresh():
    script = ROOT / "docs/write_cli_reference.py"
    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}


def test_the_index_links_every_page():
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(re.findall(r"\]\((\S+\.md)\)", index)) == sorted(set(listed) - {"index.md"})


def test_the_architecture_draws_the_layers_that_are_checked():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    (drawn,) = re.findall(r"^```text\n(cli .*?)^```$", page, re.MULTILINE | re.DOTALL)
    lines = [re.split(r" {2,}", line)[0] for line in drawn.splitlines()]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    layers = contracts["importlinter"]["contracts"][0]["layers"]
    # A layer in parentheses need not exist yet.
    existing = [re.sub(r" \| \(\w+\)|\(\w+\) \| ", "", layer) for layer in layers]
    assert lines == [layer for layer in existing if not layer.startswith("(")]


def test_the_architecture_names_files_that_exist():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:\w+/)+(?:\w+\.py)?|\w+\.py)`", page)
    named += re.findall(r"^((?:\w+/)+\w+(?:\.py)?) ", page, re.MULTILINE)
    assert len(named) > 40
    for name in named:
        assert (ROOT / "src/blip" / name).exists() or (ROOT / name).exists(), name


def test_messages_of_the_troubleshooting_page_are_those_of_the_code():
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    table = page.partition("\n## ")[0]
    messages = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    sources = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "src/blip").rglob("*.py"))
    # A message may be cut where its line ends.
    joined = re.sub(r'"\s*\n\s*f?"', "", sources)
    assert len(messages) > 10
    assert [text for text in messages if text not in joined] == []


def test_every_file_that_a_run_writes_is_described():
    page = (ROOT / "docs/files.md").read_text(encoding="utf-8")
    named = {Path(span).name for span in re.findall(r"`([^`\s]+)`", page)}
    kinds = [kind for kind in vars(outputs).values() if isinstance(kind, outputs.Kind)]
    patterns = {pattern for kind in kinds for pattern in kind.files} | set(outputs.TRAINING)
    assert len(kinds) > 8
    missing = {
        pattern
        for pattern in patterns
        # Of a file that is not finished, and of folders that belong to others.
        if not pattern.endswith((".part", "/*", "events.*"))
        and not any(fnmatch(name, Path(pattern).name) or name == pattern for name in named)
    }
    assert missing == set()


def test_the_pages_name_released_checkpoints():
    names = {release.name for release in RELEASES}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"`((?:hf:Salesforce/|original:model)[\w./-]+)`", text):
            assert name in names, f"{page.name}: {name}"


def test_what_checkpoints_can_do_is_what_the_page_says(demo):
    page = (ROOT / "docs/tasks.md").read_text(encoding="utf-8")
    table = page.partition("## What each can do")[2]
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|")
    ]
    runs = ("captioner", "filter", "demo/round-1/filter", "vqa", "nlvr", "visdial")
    assert len(head) == 1 + len(runs)
    for column, run in enumerate(runs, start=1):
        named = {re.findall(r"`(\w+)`", row[0])[0] for row in rows if row[column] == "yes"}
        able = set(blip.load(demo / "runs" / run).can)
        assert named == able - {"image_features", "text_features"}
