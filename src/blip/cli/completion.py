"""`blip completion`: what lets a shell complete verbs, options and values at the Tab key."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from blip.cli.from_dataclass import Options
from blip.cli.parser import Parser

EXAMPLES = """\
examples:
  blip completion bash
  blip completion zsh
  blip completion fish

Prints a script. To have it in every new shell, write it where the shell looks:
  bash  ~/.local/share/bash-completion/completions/blip
  zsh   _blip in a folder of $fpath, such as /usr/local/share/zsh/site-functions/_blip
  fish  ~/.config/fish/completions/blip.fish
For this bash alone: eval "$(blip completion bash)". Write it again after an update of blip."""

FOLDERS = ("DIR",)
FILES = (
    *("CKPT", "DATA", "SRC", "DST", "PLACE", "PATH", "LEFT", "RIGHT", "config.json"),
    *("IMAGE", "IMAGE|FOLDER|URL", "RECIPE|config.json", "FILE", "FILE|NAME", "auto|never|DIR"),
)
"""What `--help` calls values that are completed as folders, and as files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletionOptions:
    """Options of `blip completion`."""

    shell: Literal["bash", "zsh", "fish"]
    """The shell that is to complete."""


OPTIONS = Options(of=CompletionOptions, arguments=("shell",))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    OPTIONS.declare(parser)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    print(shtab.complete(_whole_parser(), OPTIONS.read(args).shell))
    return 0


def _whole_parser() -> argparse.ArgumentParser:
    """One parser of all verbs and actions, whose values say how they are completed."""
    from blip.cli.main import GROUPS, actions_of, declare_arguments

    root = argparse.ArgumentParser(prog="blip", description="a vision-language model")
    root.add_argument("--version", action="store_true", help="print the version")
    verbs = root.add_subparsers(parser_class=Parser)
    for group in GROUPS.values():
        for verb, line in group.items():
            parser = verbs.add_parser(verb, help=line)
            declare_arguments(verb, parser)
            actions = actions_of(verb)
            if actions:
                # An action takes the place of the first argument, which shells would not know.
                for argument in parser._get_positional_actions():
                    parser._remove_action(argument)
                below = parser.add_subparsers()
                for action, meaning in actions.items():
                    declare_arguments(f"{verb} {action}", below.add_parser(action, help=meaning))
    for parser in _all_parsers(root):
        if isinstance(parser, Parser):
            _add_keys(parser)
        for action in parser._actions:
            _say_how_to_complete(action)
    return root


def _all_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _all_parsers(below)


def _add_keys(parser: Parser) -> None:
    """The keys of the verb's configurations, which its parser takes without declaring them."""
    from blip.config.fields import known_keys

    keys = sorted({key for cls in parser.classes for key in known_keys(cls)})
    parts = {key.rpartition(".")[0] for key in keys}
    known = {name for action in parser._actions for name in action.option_strings}
    for key in keys:
        if key not in parts and f"--{key}" not in known:
            parser.add_argument(f"--{key}", metavar="VALUE", help="a key of the configuration")


def _say_how_to_complete(action: argparse.Action) -> None:
    import shtab

    if action.choices is None and action.metavar in FILES:
        action.complete = shtab.FILE  # pyright: ignore[reportAttributeAccessIssue] (shtab reads it)
    elif action.choices is None and action.metavar in FOLDERS:
        action.complete = shtab.DIRECTORY  # pyright: ignore[reportAttributeAccessIssue] (likewise)
