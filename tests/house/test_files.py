"""The rules of the house that a machine can check, file by file."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src/blip").rglob("*.py"))
CODE = sorted(
    path
    for folder in ("src/blip", "tests", "experiments", "benchmarks", "docs")
    for path in (ROOT / folder).rglob("*.py")
)
TEXTS = sorted(
    [
        *(path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"),
        *(ROOT / ".ci").iterdir(),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "experiments").rglob("*.md"),
        *(path for path in CODE if path != Path(__file__)),
    ]
)
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 60


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_ruff_reads_every_file():
    """Its own list of folders to leave out has `dist`, which is a folder of tests here."""
    command = [sys.executable, "-m", "ruff", "check", "--show-files", "."]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(map(str, CODE)) <= set(shown.splitlines())


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_sources_are_short_and_say_their_idea(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    result = ast.get_docstring(tree)
    assert result, "the first line of a file says its one idea"
    assert len(text.splitlines()) <= MOST_LINES
    for function in functions(tree):
        assert function.end_lineno is not None
        lines = function.end_lineno - function.lineno + 1
        assert lines <= MOST_LINES_OF_A_FUNCTION, f"{function.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_sources_are_finished_and_plain(path):
    text = path.read_text(encoding="utf-8")
    assert text.isascii(), "ASCII in code"
    assert "from __future__" not in text, "jaxtyping reads annotations"
    assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", text)
    assert not re.search(r"except[^\n]*:\s*\n\s*pass\b", text), "say why, or handle it"
    assert path.name not in ("utils.py", "helpers.py", "common.py", "misc.py")


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_package_file_holds_its_docstring_alone(path):
    if path.name != "__init__.py" or path.parent == ROOT / "src/blip":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [type(node) for node in tree.body] == [ast.Expr]


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_no_place_of_one_machine_and_no_package_host(path):
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    wrong = re.search(
        r"(?<![\w.$}-])/(work|root|home|opt)/"
        r"|pypi\.org|pythonhosted|pytorch\.org|huggingface\.co|--(extra-)?index-url|find-links",
        text,
    )
    assert wrong is None, f"{wrong and wrong.group()} in {name(path)}"


def test_the_rules_are_able_to_fail():
    """The files that the rules look at are there."""
    assert len(SOURCES) > 50
    assert {"README.md", "Makefile", "pyproject.toml"} <= {path.name for path in TEXTS}
