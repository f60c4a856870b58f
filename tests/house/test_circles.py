"""No circle of files: whichever two one takes, at most one of them needs the other."""

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest


def circle(imports: dict[str, set[str]]) -> list[str] | None:
    """Files of which each imports the next and the last the first; None if there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def test_no_circle_of_files_whatever_the_imports_are_for():
    """Imports within functions and those for type checking count, too."""
    graph = grimp.build_graph("blip", exclude_type_checking_imports=False, cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert "blip.evaluation.ranking" in imports["blip.evaluation.retrieval"]
    found = circle(imports)
    assert found is None, " -> ".join(found)


@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, None),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}}, {"a", "b", "c"}),
    ],
)
def test_a_circle_is_found(imports, expected):
    found = circle(imports)
    assert (set(found) if found else None) == expected
