"""A recipe's name or a config.json, and `--part.field value`, to a configuration."""

import argparse
import importlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from blip.cli.options import add_listing
from blip.config.history import load_config
from blip.config.override import override
from blip.errors import UsageError

Config = TypeVar("Config")


def add_list(parser: argparse.ArgumentParser, *modules: str) -> None:
    """Declare `--list` of a verb whose recipes are in these modules of `blip.recipes`."""

    def show() -> str:
        if len(modules) == 1:
            return list_recipes(modules[0])
        return "\n".join(f"{module}:\n{list_recipes(module)}" for module in modules)

    add_listing(parser, "recipes", show)


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
    if source.lower().endswith(".json"):
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
