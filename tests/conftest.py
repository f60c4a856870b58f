"""Shapes in signatures are checked in tests, and only there."""

from jaxtyping import install_import_hook

install_import_hook(
    ["blip.nn", "blip.model", "blip.objectives", "blip.generation"], "beartype.beartype"
)
