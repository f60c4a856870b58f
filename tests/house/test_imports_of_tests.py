"""Tests stand alone: what several of them need lies in tests/support."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
OTHER_TEST = re.compile(r"\btests\.(?!support\b)\w+(\.\w+)*")


def modules_named(source: str) -> set[str]:
    """What a file imports, and the modules in its programs for other processes."""
    named: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                named |= {name.name for name in names}
            case ast.ImportFrom(module=module, names=names, level=0):
                named |= {f"{module}.{name.name}" for name in names}
            case ast.ImportFrom(level=level, module=module):
                named.add(f"tests.{'.' * level}{module or ''}")
            case ast.Constant(value=str(text)):
                named |= {found.group() for found in OTHER_TEST.finditer(text)}
    return named


def other_tests(source: str) -> list[str]:
    relative = [name for name in modules_named(source) if name.startswith("tests..")]
    return sorted(relative + [n for n in modules_named(source) if OTHER_TEST.fullmatch(n)])


@pytest.mark.parametrize(
    "source",
    [
        "from tests.cli.test_main import run",
        "from tests.cli import test_main",
        "import tests.cli.test_main",
        "from .test_main import run",
        "from . import test_main",
        "from ..cli.test_main import run",
        "PROGRAM = 'from tests.cli.test_main import run'",
        "command = [python, '-m', 'tests.cli.test_main']",
    ],
)
def test_an_import_of_another_test_is_found(source: str) -> None:
    assert other_tests(source)


def test_no_test_imports_another() -> None:
    files = sorted(TESTS.rglob("*.py"))
    assert len(files) > 100
    found = {
        str(path.relative_to(TESTS)): names
        for path in files
        if path != Path(__file__) and (names := other_tests(path.read_text(encoding="utf-8")))
    }
    assert not found


def test_support_holds_no_tests() -> None:
    defined = {
        str(path): node.name
        for path in (TESTS / "support").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert not defined
