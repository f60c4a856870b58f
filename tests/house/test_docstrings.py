"""Every example in the docstring of a public name runs, and gives what is shown, but for values."""

import doctest
import re
from pathlib import Path

import pytest

import blip
from tests.support.demo_folder import save_demo

NUMBER = re.compile(r"(?<![\w.])-?\d+(\.\d*)?(e-?\d+)?")
TEXT = re.compile(r"""'[^']*'|"[^"]*\"""")


def shape(shown: str) -> str:
    """The types and the form of a result: models that know nothing give other values."""
    kept = ("'caption'", "'match'", "'image_features'", "'text_features'")
    texts = TEXT.sub(lambda found: found[0] if found[0] in kept else "TEXT", shown)
    # A negative number in an array moves the blanks beside it.
    return "".join(NUMBER.sub("NUMBER", re.sub(r"\b(True|False)\b", "BOOL", texts)).split())


class SameShape(doctest.OutputChecker):
    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return shape(want) == shape(got)


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    things = {name: getattr(blip, name) for name in blip.__all__}
    for thing in list(things.values()):
        # The reference shows what a class inherits as its own.
        bases = thing.__mro__[1:] if isinstance(thing, type) else ()
        things |= {base.__name__: base for base in bases if base.__module__.startswith("blip.")}
    found = [
        test
        for name, thing in things.items()
        for test in finder.find(thing, name, globs={"blip": blip})
    ]
    return [test for test in found if test.examples]


EXAMPLES = examples()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_demo(tmp_path_factory.mktemp("demo"))


@pytest.mark.parametrize("test", EXAMPLES, ids=lambda test: test.name)
def test_examples_in_docstrings_run(
    test: doctest.DocTest, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo)
    report: list[str] = []
    doctest.DocTestRunner(SameShape(), verbose=False).run(test, out=report.append)
    assert not report, "".join(report)


def test_the_first_program_of_a_newcomer_is_among_them() -> None:
    assert {"load", "LoadedModel", "LoadedModel.caption", "read_image"} <= {
        t.name for t in EXAMPLES
    }


def test_results_of_another_form_are_told_apart() -> None:
    assert shape("['a dog', 'red']") == shape("['x', '']")
    assert shape("'a dog'") != shape("['a dog']")
    assert shape("0.5") == shape("-1e-07") != shape("'0.5'")
    assert shape("('caption',)") != shape("('match',)")
