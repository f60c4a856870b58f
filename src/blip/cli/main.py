"""The command `blip`: finds the verb, turns errors into one line; loads no torch by itself."""

import difflib
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from blip.cli import streams
from blip.crash import report_crash
from blip.errors import INTERRUPTED, BlipError, StoppedError, UsageError, first_line, plain
from blip.files import disk_is_full

if TYPE_CHECKING:
    import argparse

    from blip.cli.parser import Parser

GROUPS = {
    "the main job": {
        "demo": "the whole loop on built-in data, in ten minutes",
        "bootstrap": "the whole loop: pre-train, clean the web pairs, pre-train on what is left",
    },
    "use a model": {
        "caption": "write captions for pictures",
        "match": "score how well texts match a picture",
        "ask": "answer questions about a picture",
        "compare": "say which statements about two pictures are true",
        "index": "make an index of the pictures of any data, to search in",
        "search": "find pictures of an index by a text, a picture, or as near-duplicates",
        "serve": "answer requests for captions, matches, answers and search over HTTP",
        "convert": "bring a checkpoint from one layout to another",
        "capfilt": "caption the pictures of shards, drop every text that does not match",
    },
    "train and measure": {
        "pretrain": "pre-train a model",
        "finetune": "fine-tune a pre-trained model for a task, such as captions",
        "evaluate": "figures of a model, such as those of retrieval, captions and VQA",
    },
    "data": {
        "data": "pack, draw and inspect shards",
    },
    "your shell": {
        "completion": "let bash, zsh or fish complete commands and options",
    },
}
"""Every verb and its one line, by what one wants; `blip.cli.VERB` holds arguments and work.

A verb that does its own work and has others below it, as `capfilt` has, names them in a table
`ACTIONS`; `blip VERB ACTION` is then held by `blip.cli.VERB_ACTION`.
"""

VERBS = {verb: line for verbs in GROUPS.values() for verb, line in verbs.items()}

USAGE = 2
MAKE_ROOM = "; free some space, then run the same command again"
"""What to do where a disk is full."""
TRACEBACK = "BLIP_TRACEBACK"
"""Set in the environment, or `blip --traceback VERB`: errors show where they come from."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    is_program = arguments is None
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--traceback"]:
        os.environ[TRACEBACK] = "1"
        del arguments[0]
    try:
        streams.prepare()
        status = _run(arguments)
        # Here and not at exit, where an error could no longer be caught.
        sys.stdout.flush()
        return status
    except StoppedError as error:
        if not error.is_printed_elsewhere:
            print(f"blip: {plain(str(error))}", file=sys.stderr)
        return error.status
    except BlipError as error:
        status = USAGE if isinstance(error, UsageError) else 1
        return status if error.is_printed_elsewhere else _failed(str(error), status)
    except OSError as error:
        # Nobody reads the output any more, as in `blip ... | head`.
        return 1 if streams.reader_has_left(error) else _failed(_describe_os_error(error), 1)
    except KeyboardInterrupt:
        _let_ctrl_c_end(is_program)
        return _failed("stopped; run the same command again to resume where possible", INTERRUPTED)
    except Exception as error:
        # Some libraries report a full disk by errors of their own.
        if disk_is_full(error):
            return _failed(f"{_name(arguments)}: No space left on device{MAKE_ROOM}", 1)
        return _failed(report_crash(error, _name(arguments)), 1)
    finally:
        _let_ctrl_c_end(is_program)
        streams.leave()


def actions_of(verb: str) -> dict[str, str]:
    """The actions below a verb, each with its line."""
    return getattr(_module(verb), "ACTIONS", {})


def make_parser(command: str) -> "Parser":
    """The parser of "VERB" or "VERB ACTION", with its examples; imports its module."""
    from blip.cli.parser import Parser

    module = _module(command)
    verb, _, action = command.partition(" ")
    parser = Parser(
        prog=f"blip {command}",
        description=actions_of(verb)[action] if action else VERBS[verb],
        epilog=module.EXAMPLES + ("" if action else _list_actions(verb)),
    )
    declare_arguments(command, parser)
    return parser


def declare_arguments(command: str, parser: "Parser") -> None:
    """Declare the options of "VERB" or "VERB ACTION"; imports its module."""
    _module(command).add_arguments(parser)


def _list_actions(verb: str) -> str:
    """What else there is below a verb, for the end of its help."""
    actions = actions_of(verb)
    width = max(map(len, actions), default=0) + 2
    lines = [f"  blip {verb} {action:<{width}}{line}" for action, line in actions.items()]
    return "\n\n" + "\n".join(["afterwards:", *lines]) if lines else ""


def parse(arguments: Sequence[str]) -> "argparse.Namespace":
    """Read the command line of a verb, without doing its work; raises UsageError."""
    from blip.cli.options import read_old_names

    command, rest = _command(arguments)
    parser, module = make_parser(command), _module(command)
    rest = read_old_names(rest, getattr(module, "RENAMED", ()))
    return parser.parse(rest)


def overview() -> str:
    """What `blip` alone prints: the verbs."""
    width = max(map(len, VERBS)) + 2
    lines = ["BLIP: a vision-language model that understands, writes and cleans its own data."]
    for group, verbs in GROUPS.items():
        lines += [
            "",
            f"{group}:",
            *(f"  blip {verb:<{width}}{line}" for verb, line in verbs.items()),
        ]
    lines += ["", "`blip VERB --help` shows arguments and examples; start with `blip demo`."]
    return "\n".join(lines)


def _run(arguments: list[str]) -> int:
    match arguments:
        case [] | ["-h" | "--help" | "help"]:
            print(overview())
            return 0
        case ["help", *words]:
            arguments = [*words, "--help"]
        case ["--version", *_]:
            from blip.installed import version

            print(f"blip {version()}")
            return 0
    try:
        args = parse(arguments)
    except SystemExit as stop:  # argparse has printed the help
        return int(stop.code or 0)
    _check_folder()
    return _module(_command(arguments)[0]).run(args)


def _check_folder() -> None:
    """Raise UsageError where the current folder has been removed: no library could be loaded."""
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError(
            f"cannot work in the current folder ({error.strerror}); change to another one"
        ) from error


def _command(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The words that name a command, "capfilt" or "capfilt recut", and what follows them.

    Raises UsageError for an unknown word, or one that is nearly an action and not a file.
    """
    verb, *rest = arguments
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean `blip {near[0]}`?" if near else f"allowed: {', '.join(VERBS)}"
        raise UsageError(f"unknown command {verb!r}; {hint}")
    if not rest:
        return verb, rest
    if rest[0] in actions_of(verb):
        return f"{verb} {rest[0]}", rest[1:]
    near = difflib.get_close_matches(rest[0], actions_of(verb), n=1)
    if near and rest[0].isalpha() and not os.path.exists(rest[0]):
        wrong = f"{verb} {rest[0]}"
        raise UsageError(f"unknown command {wrong!r}; did you mean `blip {verb} {near[0]}`?")
    return verb, rest


def _module(command: str) -> Any:
    return importlib.import_module(f"blip.cli.{command.replace(' ', '_')}")


def _let_ctrl_c_end(is_program: bool) -> None:
    """Once the work is over, let another Ctrl-C end the process at once, without a traceback."""
    if is_program and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _name(arguments: Sequence[str]) -> str:
    """The words of a command line that name the command."""
    verb = arguments[0] if arguments and arguments[0] in VERBS else ""
    return f"blip {verb}".strip()


def _describe_os_error(error: OSError) -> str:
    hint = MAKE_ROOM if disk_is_full(error) else ""
    if error.strerror and isinstance(error.filename, str | bytes):
        return f"{os.fsdecode(error.filename)}: {error.strerror}{hint}"
    return (error.strerror or first_line(error)) + hint


def _failed(message: str, status: int) -> int:
    with suppress(OSError, ValueError):  # stderr may be closed, or its disk full
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        print(f"blip: error: {plain(message)}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
