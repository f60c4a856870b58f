"""Shows the examples in docstrings as code: Markdown would take their `>>>` for quotations."""

import re
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"(?:^>>> .*\n?(?:^\S.*\n?)*)+", re.MULTILINE)
"""Lines from `>>>` to the next empty one."""


def fence(text: str) -> str:
    """The docstring with its examples in code blocks."""
    return EXAMPLE.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", text)


class FenceExamples(Extension):
    """Called by mkdocstrings for each object that it reads."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Change the docstring in memory, before it becomes HTML."""
        if obj.docstring:
            obj.docstring.value = fence(obj.docstring.value)
