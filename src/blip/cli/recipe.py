"""A recipe's name or a config.json, and `--part.field value`, to a configuration."""

import argparse
import importlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from blip.config.history import load_config
from blip.config.override import override
from blip.errors import UsageError

Config = TypeVar("Config")


class _ListRecipes(argparse.Action):
    """Prints the recipes and leaves, as `--help` does: nothing else needs to be given."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        kinds = self.const
        for kind in kinds:
            print(f"{kind}:\n{list_recipes(kind)}" if len(kinds) > 1 else list_recipes(kind))
        parser.exit()


def add_list(parser: argparse.ArgumentParser, *modules: str) -> None:
    """Declare `--list` of a verb whose recipes are in these modules of `blip.recipes`."""
    parser.add_argument(
        "--list", action=_ListRecipes, nargs=0, const=modules, help="list the recipes and exit"
    )


def recipe_names(module: str) -> dict[str, str]:
    """The recipes of a module of `blip.recipes`, each with the first line of its docstring."""
    recipes = importlib.import_module(f"blip.recipes.{module}")
    return {
        name: (inspect.getdoc(function) or "").splitlines()[0]
        for name, function in inspect.getmembers(recipes, inspect.isfunction)
        if function.__module__ == recipes.__name__ and not name.startswith("_")
    }


def read_config(cls: type[Config], module: str, source: str, overrides: Sequence[str]) -> Config:
    """The configuration that `source` names, with the overrides put in; raises UsageError."""
    if source.endswith(".json"):
        return override(load_config(cls, Path(source)), overrides)
    names = recipe_names(module)
    if source not in names:
        raise UsageError(
            f"unknown recipe {source!r}; allowed: {', '.join(names)}, or a config.json"
        )
    return override(getattr(importlib.import_module(f"blip.recipes.{module}"), source)(), overrides)


def list_recipes(module: str) -> str:
    """Names and first lines, for `--help`."""
    return "\n".join(f"  {name:<18}{line}" for name, line in recipe_names(module).items())
