"""Tests stand alone, share code through tests/support alone, and each asserts something."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
OTHER_TEST = re.compile(r"\btests\.(?!support\b)\w+(\.\w+)*")


@functools.cache
def trees() -> dict[Path, ast.Module]:
    """Every file of the tests, parsed."""
    paths = sorted(TESTS.rglob("*.py"))
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def modules_named(tree: ast.AST) -> set[str]:
    """What a file imports, and the modules in its programs for other processes."""
    named: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                named |= {name.name for name in names}
            case ast.ImportFrom(module=module, names=names, level=0):
                named |= {f"{module}.{name.name}" for name in names}
            case ast.ImportFrom(level=level, module=module):
                named.add(f"tests.{'.' * level}{module or ''}")
            case ast.Constant(value=str(text)) if "tests." in text:
                named |= {found.group() for found in OTHER_TEST.finditer(text)}
    return named


def other_tests(tree: ast.AST) -> list[str]:
    """The modules that a file names and should not."""
    named = modules_named(tree)
    return sorted(n for n in named if n.startswith("tests..") or OTHER_TEST.fullmatch(n))


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
    assert other_tests(ast.parse(source))


def test_no_test_imports_another() -> None:
    assert len(trees()) > 100
    found = {
        str(path.relative_to(TESTS)): names
        for path, tree in trees().items()
        if path != Path(__file__) and (names := other_tests(tree))
    }
    assert not found


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def called(function: ast.FunctionDef) -> set[str]:
    """The last part of the name of each function that is called: `raises` of `pytest.raises`."""
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {ast.unparse(name).rpartition(".")[2] for name in calls}


def asserts(function: ast.FunctionDef) -> bool:
    if any(isinstance(node, ast.Assert) for node in ast.walk(function)):
        return True
    return any(name == "raises" or name.startswith("assert_") for name in called(function))


def without_assertion(tree: ast.AST, helpers: set[str]) -> list[str]:
    """Tests of a file that assert nothing, and call none of `helpers` nor a function that does."""
    silent = [function for function in functions(tree) if not asserts(function)]
    names = {function.name for function in silent}
    loud = {function.name for function in functions(tree)} - names | helpers
    return [f.name for f in silent if f.name.startswith("test_") and not called(f) & loud]


def test_a_test_without_an_assertion_is_found() -> None:
    tree = ast.parse("def run(): pass\ndef test_it(): run()\ndef test_other(): assert run()")
    assert without_assertion(tree, set()) == ["test_it"]
    assert without_assertion(tree, {"run"}) == []


def test_every_test_asserts_something() -> None:
    helpers = {
        function.name
        for path, tree in trees().items()
        if path.is_relative_to(TESTS / "support")
        for function in functions(tree)
        if asserts(function)
    }
    found = {
        str(path.relative_to(TESTS)): names
        for path, tree in trees().items()
        if (names := without_assertion(tree, helpers))
    }
    assert not found


def test_support_holds_no_tests() -> None:
    found = {
        str(path.relative_to(TESTS)): function.name
        for path, tree in trees().items()
        for function in functions(tree)
        if path.is_relative_to(TESTS / "support") and function.name.startswith("test_")
    }
    assert not found


def collected(folder: pytest.Directory) -> Iterator[Path]:
    """The files of tests that pytest finds in a folder; it imports none of them."""
    for node in folder.collect():
        if isinstance(node, pytest.Directory):
            yield from collected(node)
        elif isinstance(node, pytest.Module):
            yield node.path


def test_every_file_of_tests_is_collected(request: pytest.FixtureRequest) -> None:
    """Pytest's own list of folders to leave out has `dist`, which is a folder of tests here."""
    (folder,) = (node for node in request.node.listchain() if node.path == TESTS)
    files = {path for path in trees() if path.name.startswith("test_")}
    assert set(collected(folder)) == files
    assert any(path.parent.name == "dist" for path in files)
