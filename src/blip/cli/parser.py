"""The parser of a verb: errors in one line, options in any spelling, keys of a configuration."""

import argparse
import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from blip.config.fields import find_kinds, known_keys
from blip.config.override import is_flag, negated_flag
from blip.errors import UsageError


class Argument(NamedTuple):
    """An option or argument as documentation shows it."""

    usage: str
    """Such as `--out DIR`."""
    meaning: str


class Parser(argparse.ArgumentParser):
    """Raises errors of one line; takes `--part.field value` where a configuration has it."""

    classes: tuple[Any, ...] = ()
    """The configurations whose keys are options, beside those that are declared."""
    topics: Mapping[str, Callable[[], "Parser"]] = {}
    """Words with a `--help` of their own, such as the tasks of `finetune`, and what prints it."""

    def __init__(self, **more: Any) -> None:
        # Abbreviated options would change their meaning with every new one.
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(**{"formatter_class": formatter, "allow_abbrev": False, **more})

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of leaving the process."""
        raise UsageError(f"{message}; see `{self.prog} --help`")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse; keys of a configuration are left in `overrides`, each with its value.

        They are taken out first, for to argparse the value of an unknown option is a positional.
        Raises UsageError, which names the nearest option, for one that does not exist.
        """
        parser = self._action_of(arguments)
        own, overrides = parser._split(arguments)
        topic = parser.topics.get(parser._first_argument(own) or "")
        if topic is not None and {"-h", "--help"} & set(own):
            topic().print_help()
            self.exit()
        args, unknown = self.parse_known_args(own)
        if unknown:
            option = next((word for word in unknown if word.startswith("-")), None)
            if option is None:
                lists = [a for a in parser._get_positional_actions() if a.nargs in ("*", "+")]
                hint = f": give every {lists[0].metavar} before the options" if lists else ""
                parser.error(f"unexpected argument {unknown[0]!r}{hint}")
            parser._refuse(option)
        if parser.classes:
            args.overrides = overrides
        return args

    def arguments(self) -> Iterator[Argument]:
        """What `--help` lists, but for the actions of a verb such as `data`."""
        for action in self._actions:
            is_listed = action.help and action.help != argparse.SUPPRESS
            if not is_listed or isinstance(
                action, argparse._HelpAction | argparse._SubParsersAction
            ):
                continue
            words = [", ".join(action.option_strings), *_words_of(action)]
            meaning = (action.help or "").replace("%%", "%")
            needed = "; required" if action.required and action.option_strings else ""
            yield Argument(" ".join(filter(None, words)), meaning + needed)

    def actions(self) -> Iterator[tuple[str, str, "Parser"]]:
        """Name, line and parser of each action of a verb such as `data`."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for choice in action._choices_actions:
                    yield choice.dest, choice.help or "", action.choices[choice.dest]

    def _split(self, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
        """The words of the verb's own options and arguments, and those of keys."""
        classes, spellings, switches = self.classes, self._spellings(), self._switches()
        own, overrides, waiting = list[str](), list[str](), list(arguments)
        while waiting and waiting[0] != "--":
            word = waiting.pop(0)
            name, equals, value = word.partition("=")
            key = name.removeprefix("--").replace("-", "_")
            if not name.startswith("--"):
                own.append(word)
            elif _hyphens(name) in spellings:
                option = spellings[_hyphens(name)]
                words = switches.get(option, {})
                if not equals and waiting and waiting[0].lower() in words:
                    value = waiting.pop(0)
                own.append(words.get(value.lower()) or option + equals + value)
            elif not classes or not _is_key(key, classes):
                self._refuse(name)
            else:
                overrides.append(word)
                is_value = bool(waiting) and waiting[0].lower() in ("true", "false")
                if equals or negated_flag(key, classes):
                    continue
                if not waiting and not is_flag(key, classes):
                    raise UsageError(f"{name} needs a value")
                if is_value or not is_flag(key, classes):
                    overrides.append(waiting.pop(0))
        return own + waiting, overrides

    def _refuse(self, option: str) -> NoReturn:
        """Raise UsageError for an option that does not exist."""
        name = option.partition("=")[0]
        known = self._spellings()
        known |= {
            _hyphens(key): key for cls in self.classes for key in map("--".__add__, known_keys(cls))
        }
        near = difflib.get_close_matches(_hyphens(name), sorted(known), n=1)
        self.error(
            f"unknown option {name}" + (f" (did you mean {known[near[0]]}?)" if near else "")
        )

    def _action_of(self, arguments: Sequence[str]) -> "Parser":
        """The parser of the action that is named, such as that of `data scenes`; without one, this.

        Raises UsageError for an action that does not exist.
        """
        actions = {name: parser for name, _, parser in self.actions()}
        word = next((word for word in arguments if not word.startswith("-")), None)
        if word is None or not actions:
            return self
        if word in actions:
            return actions[word]
        near = difflib.get_close_matches(word, actions, n=1)
        hint = (
            f"did you mean `{self.prog} {near[0]}`?" if near else f"allowed: {', '.join(actions)}"
        )
        wrong = f"{self.prog.removeprefix('blip ')} {word}"
        raise UsageError(f"unknown command {wrong!r}; {hint}")

    def _first_argument(self, words: Sequence[str]) -> str | None:
        """The first word that is neither an option nor the value of one."""
        lengths = {name: action.nargs for action in self._actions for name in action.option_strings}
        values = 0
        for word in words:
            if word.startswith("-"):
                length = lengths.get(word, 0)
                many = len(words) if length in ("*", "+") else 1
                values = length if isinstance(length, int) else many
            elif values:
                values -= 1
            else:
                return word
        return None

    def _spellings(self) -> dict[str, str]:
        """Every option, and the key of the field that it sets, to the option as it is declared."""
        spellings: dict[str, str] = {}
        for action in self._actions:
            for name in action.option_strings:
                spellings.setdefault(_hyphens(f"--{action.dest}"), name)
                spellings[_hyphens(name)] = name
            if isinstance(action, argparse.BooleanOptionalAction):
                part, dot, last = action.dest.rpartition(".")
                for off in (f"--no-{action.dest}", f"--{part}{dot}no-{last}"):
                    spellings[_hyphens(off)] = action.option_strings[-1]
        return spellings

    def _switches(self) -> dict[str, dict[str, str]]:
        """Every flag that can be turned off, with its option for true and for false."""
        return {
            action.option_strings[0]: dict(
                zip(("true", "false"), action.option_strings, strict=True)
            )
            for action in self._actions
            if isinstance(action, argparse.BooleanOptionalAction)
        }


def _words_of(action: argparse.Action) -> list[str]:
    """What stands for the values of an option or argument."""
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return []
    noun = "|".join(map(str, action.choices or ())) or action.metavar or action.dest
    more = ["..."] if action.nargs in ("+", "*") else []
    return [*([noun] if isinstance(noun, str) else noun), *more]


def _hyphens(option: str) -> str:
    return option.replace("_", "-")


def _is_key(key: str, classes: tuple[Any, ...]) -> bool:
    return any(find_kinds(cls, key) for cls in classes) or negated_flag(key, classes) is not None
