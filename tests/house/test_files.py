"""The rules of the house that a machine can check, file by file."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

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


def read(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Each file with its text."""
    for path in paths:
        yield path, path.read_text(encoding="utf-8")


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_ruff_reads_every_file():
    """Its own list of folders to leave out has `dist`, which is a folder of tests here."""
    command = [sys.executable, "-m", "ruff", "check", "--show-files", "."]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(map(str, CODE)) <= set(shown.splitlines())


# A rule looks at all files in one test: a test for each would take longer to begin than to run.


def test_sources_are_short_and_say_their_idea():
    wrong = list[str]()
    for path, text in read(SOURCES):
        tree = ast.parse(text)
        if not ast.get_docstring(tree):
            wrong.append(f"{name(path)}: the first line of a file says its one idea")
        if len(text.splitlines()) > MOST_LINES:
            wrong.append(f"{name(path)} has {len(text.splitlines())} lines")
        for function in functions(tree):
            assert function.end_lineno is not None
            lines = function.end_lineno - function.lineno + 1
            if lines > MOST_LINES_OF_A_FUNCTION:
                wrong.append(f"{name(path)}: {function.name} has {lines} lines")
    assert not wrong, "\n".join(wrong)


def test_sources_are_finished_and_plain():
    wrong = list[str]()
    for path, text in read(SOURCES):
        found = {
            "ASCII in code": not text.isascii(),
            "jaxtyping reads annotations": "from __future__" in text,
            "finish it": re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", text),
            "say why, or handle it": re.search(r"except[^\n]*:\s*\n\s*pass\b", text),
            "say what it holds": path.name in ("utils.py", "helpers.py", "common.py", "misc.py"),
        }
        wrong += [f"{name(path)}: {what}" for what, is_wrong in found.items() if is_wrong]
    assert not wrong, "\n".join(wrong)


def test_a_package_file_holds_its_docstring_alone():
    wrong = [
        name(path)
        for path, text in read(SOURCES)
        if path.name == "__init__.py" and path.parent != ROOT / "src/blip"
        if [type(node) for node in ast.parse(text).body] != [ast.Expr]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_place_of_one_machine_and_no_package_host():
    place = re.compile(
        r"(?<![\w.$}-])/(work|root|home|opt)/"
        r"|pypi\.org|pythonhosted|pytorch\.org|huggingface\.co|--(extra-)?index-url|find-links"
    )
    found = dict[str, str]()
    for path in TEXTS:
        # Of what is no text, nothing is asked.
        with suppress(UnicodeDecodeError):
            if wrong := place.search(path.read_text(encoding="utf-8")):
                found[name(path)] = wrong.group()
    assert not found, found


def test_the_rules_are_able_to_fail():
    """The files that the rules look at are there."""
    assert len(SOURCES) > 50
    assert {"README.md", "Makefile", "pyproject.toml"} <= {path.name for path in TEXTS}
