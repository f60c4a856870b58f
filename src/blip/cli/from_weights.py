"""Reads the configuration of `blip bootstrap`; the given weight files decide the model's sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from blip.cli.recipe import read_config
from blip.config.override import override, read_pairs
from blip.recipes import from_weights
from blip.recipes.config import BootstrapConfig

_PLACES = ("vision_weights", "text_weights")


def read_bootstrap(source: str, overrides: Sequence[str]) -> BootstrapConfig:
    """The configuration that a recipe or a file names, with the overrides put in.

    A recipe that has another form for weights takes it where they are named. What their files show
    of sizes comes before the overrides. Raises UsageError if the files do not fit.
    """
    given = dict(read_pairs(overrides, (BootstrapConfig,)))
    named = [f"--{name}={given[name]}" for name in _PLACES if name in given]
    if source in from_weights.RECIPES and named:
        plain = read_config(BootstrapConfig, "bootstrap", source, named)
        places = (plain.vision_weights, plain.text_weights)
        if any(place is not None for place in places):
            recipe = from_weights.RECIPES[source](*places)
            return override(_with_sizes(recipe, given), overrides)
    return read_config(BootstrapConfig, "bootstrap", source, overrides)


def _with_sizes(recipe: BootstrapConfig, given: Mapping[str, str]) -> BootstrapConfig:
    """The recipe with the sizes of the weights that it names; a part without any keeps its own."""
    from blip.model.checkpoint.start_sizes import size_text, size_vision

    vision, text = recipe.model.vision, recipe.model.text
    if recipe.vision_weights is not None:
        vision = size_vision(vision, recipe.vision_weights, _heads(given, "vision"))
    if recipe.text_weights is not None:
        text = size_text(text, recipe.text_weights, _heads(given, "text"))
    return replace(
        recipe,
        model=replace(recipe.model, vision=vision, text=text),
        image=replace(recipe.image, size=vision.image_size),
    )


def _heads(given: Mapping[str, str], part: str) -> int | None:
    """The number of heads that was asked for; what is no number is refused later, as any value."""
    said = given.get(f"model.{part}.heads", "")
    return int(said) if said.isdigit() and int(said) > 0 else None
