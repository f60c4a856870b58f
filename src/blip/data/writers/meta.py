"""What KEY.json may hold: JSON in UTF-8, whose fields have the same type in every sample."""

import json
import math
from typing import Any


def encodable(meta: dict[str, Any]) -> dict[str, Any]:
    """What every reader takes of it: lone surrogates become question marks, null is left out.

    Readers that take a field's type from the first samples refuse null there and a text later.
    Nothing is carried on of what is nested so deeply that it cannot be written again.
    """
    try:
        plain = json.loads(json.dumps(meta, ensure_ascii=False).encode("utf-8", "replace"))
        return _without_null(plain) or {}
    except RecursionError:
        return {}


def _without_null(value: Any) -> Any:
    """A JSON value without null and empty fields, whose type readers cannot know; None if empty."""
    if isinstance(value, dict):
        fields = {name: _without_null(item) for name, item in value.items()}
        return {name: item for name, item in fields.items() if item is not None} or None
    if isinstance(value, list):
        items = [_without_null(item) for item in value]
        return items if any(item is not None for item in items) else None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
