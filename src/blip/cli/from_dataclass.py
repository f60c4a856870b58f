"""Options of a verb made from a dataclass, and the dataclass made from what was typed.

Why not tyro (1.0.17, measured on this project's configurations): `import tyro` takes 32 ms more
than argparse, `--help` of CapFiltConfig 134 ms (51 ms before), of PretrainConfig 168 ms; errors are
boxes of several lines; an optional part (`--validation.shards`) needs a subcommand, a source cannot
be a plain path (`--data.sources a,b`) and a list cannot grow; and it accepts `1_0` and digits of
other scripts as numbers, which config.json refuses.
"""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import MISSING, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

from blip.config.fields import Field, fields_of, kinds_of, literals
from blip.config.override import put_value
from blip.config.ranges import PLACE, RangeError
from blip.config.strict import from_json
from blip.config.values import parse_value
from blip.errors import UsageError, plain
from blip.places import home_path

Config = TypeVar("Config")

NOUNS: dict[str, str | tuple[str, ...]] = {
    **{"checkpoint": "CKPT", "captioner": "CKPT", "filter": "CKPT", "ledger": "DIR", "job": "DIR"},
    **{"data": "DATA", "shards": "DATA", "images": "DIR", "out": "DIR", "cache": "DIR"},
    **{"source": "SRC", "destination": "DST", "more": "TEXT"},
    **{"picture": "IMAGE", "pictures": "IMAGE|FOLDER|URL", "questions": "QUESTION"},
    **{"texts": "TEXT", "statements": "STATEMENT", "write": "txt|caption|json|NAME"},
    **{"recipe": "RECIPE|config.json", "config": "config.json", "resume": "auto|never|DIR"},
    **{"max_pixels": "PIXELS", "image_size": "PIXELS", "min_side": "PIXELS", "max_bad": "SHARE"},
    **{"keep": "all|best-N", "languages": "LL", "unique_images": "BITS", "split": "NAME"},
    **{"device": "DEVICE", "captioner_device": "DEVICE", "filter_device": "DEVICE"},
    **{"answers": "FILE", "labels": "FILE", "tokenizer": "FILE|NAME", "ray_address": "HOST:PORT"},
    **{"heads": ("VISION", "TEXT"), "early_stopping": "true|false|never"},
    **{"places": "PLACE", "remove": "PLACE", "remove_keys": "KEY", "html": "FILE"},
    **{"threshold": "P", "top_p": "P", "target_precision": "P"},
}
"""What `--help` calls the value of a field, by the field's name, in every verb."""
PLAIN_NOUNS = {int: "N", float: "X", Path: "PATH"}


@dataclass(frozen=True, kw_only=True)
class Options(Generic[Config]):
    """The options of a verb: the fields of a dataclass, and how they look where they differ.

    A field is the option of its name, at whatever depth: `decoding.top_p` is `--top-p`. The dotted
    key works, too.
    """

    of: type[Config]
    arguments: tuple[str, ...] = ()
    """Fields that are given by their place."""
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    """Fields whose option, or whose argument in `--help`, has another name."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Headings in `--help`, each with fields or parts that stand below it; "" is all others."""
    hidden: tuple[str, ...] = ()
    """Fields or parts that only a config.json, or the dotted key, gives."""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Fields that hold one of these words, where a table and not their type lists them."""
    either: tuple[str, ...] = ()
    """Flags of which one at most may be given."""
    from_file: bool = False
    """Whether a config.json may give what must be given."""

    def declare(self, parser: argparse.ArgumentParser) -> None:
        """Add the options to a parser; what was not typed will not be in its namespace."""
        places: dict[str, Any] = {heading: _group(parser, heading) for heading in self.groups}
        places[""] = parser
        either = parser.add_mutually_exclusive_group() if self.either else None
        for item in self.fields():
            heading = self._heading(item)
            place = either if either and item.key in self.either else places[heading]
            self._declare(place, item)

    def read(self, args: argparse.Namespace, base: Mapping[str, Any] | None = None) -> Config:
        """What was typed, put into `base`, the content of a config.json, or into the defaults.

        Raises UsageError, which names the option of a value that does not fit.
        """
        data: dict[str, Any] = dict(base or {})
        for key, value in self.typed(args).items():
            put_value(data, key, value, self.of)
        missing = [
            self.option(item)
            for item in self.fields()
            if item.default is MISSING and "." not in item.key and item.key not in data
        ]
        if missing:
            them = "it" if len(missing) == 1 else "them"
            hint = f": give {them}, or a config.json that has {them}" if self.from_file else ""
            raise UsageError(f"{', '.join(missing)} missing{hint}")
        with self.naming(args, has_file=bool(base)):
            return from_json(self.of, data)

    @contextmanager
    def naming(self, args: argparse.Namespace, *, has_file: bool = False) -> Iterator[None]:
        """Let errors name the option of a value that was typed, or of its default.

        With a config.json, which gives all other values, only of one that was typed.
        """
        try:
            yield
        except RangeError as error:
            typed = self.typed(args)
            name = re.sub(r"\.\d+$", "", error.name).rpartition(".")[2]
            named = [item for item in self.fields() if item.name == name]
            item = next((item for item in named if item.key in typed), None)
            if item is None and not has_file:
                item = next((item for item in named if item.default == error.value), None)
            if item is None:
                raise
            message = f"{self.option(item)} is {error.value}; allowed: {error.allowed}"
            raise UsageError(message) from error

    def typed(self, args: argparse.Namespace) -> dict[str, Any]:
        """The values that were typed, by key."""
        given = dict(vars(args))
        for key in self.arguments:
            # One that may be left out is then None, or no words.
            if given.get(key) in (None, []):
                given.pop(key, None)
        return {item.key: given[item.key] for item in self.fields() if item.key in given}

    def refuse_unused(
        self, args: argparse.Namespace, unused: Mapping[str, tuple[str, ...]]
    ) -> None:
        """Raise UsageError for typed options that would change nothing beside the others.

        `unused` says why, such as "without --out", and of which fields or parts.
        """
        typed = self.typed(args)
        for reason, keys in unused.items():
            named = [item for item in self.fields() if _within(item.key, keys)]
            options = ", ".join(self.option(item) for item in named if item.key in typed)
            if options:
                raise UsageError(f"{options} would not be used {reason}; leave it out")

    def fields(self) -> list[Field]:
        """The fields that are options, those that are given by their place first."""
        words = self.choices
        every = [
            replace(item, hint=Literal[words[item.key]]) if item.key in words else item
            for item in fields_of(self.of)
        ]
        return sorted(every, key=lambda item: item.key not in self.arguments)

    def option(self, item: Field) -> str:
        """How the option of a field is written, or what its argument is called."""
        if item.key in self.arguments:
            return self.names.get(item.key, str(_noun(item)))
        shown = item.key if _within(item.key, self.hidden) else item.name
        return "--" + self.names.get(item.key, shown).replace("_", "-")

    def _flag(self, item: Field) -> dict[str, Any]:
        """How a flag is turned on, and off where it may be on without being typed."""
        if item.default is True or self.from_file:
            return {"action": argparse.BooleanOptionalAction}
        return {"action": "store_const", "const": True}

    def _heading(self, item: Field) -> str:
        """The heading that an option stands below; "" for that of argparse."""
        if item.key in self.arguments:
            return ""
        named = [heading for heading, keys in self.groups.items() if _within(item.key, keys)]
        others = [heading for heading, keys in self.groups.items() if "" in keys]
        return next(iter([*named, *others]), "")

    def _declare(self, place: Any, item: Field) -> None:
        if item.key in self.arguments:
            text = _first_sentence(item.meaning).replace("%", "%%")
            place.add_argument(item.key, help=text, **_positional(item, self.option(item)))
            return
        text = _help(item).replace("%", "%%")
        if _within(item.key, self.hidden):
            text = argparse.SUPPRESS
        is_flag = item.hint is bool
        form = self._flag(item) if is_flag else _values(item, self.option(item))
        place.add_argument(
            self.option(item),
            dest=item.key,
            default=argparse.SUPPRESS,
            required=item.default is MISSING and not self.from_file,
            help=text,
            **form,
        )


def reader(item: Field, hint: Any, option: str) -> Callable[[str], Any]:
    """The function that turns a word of the command line into a value of a field, for argparse.

    A path, and what is given by its place, is taken as it stands: a file may be called `none`.
    The function raises UsageError for a word that no value of this type is written as.
    """
    kinds = kinds_of(hint)
    if not option.startswith("-"):
        kinds = tuple(kind for kind in kinds if kind is not type(None))

    def read_path(text: str) -> Any:
        if not PLACE.holds(text):
            raise refused(text, str(PLACE))
        # The shell leaves it alone in --out=~/runs.
        return str(home_path(text)) if text.startswith("~") else text

    def read(text: str) -> Any:
        value = parse_value(text, kinds)
        with suppress(UsageError):
            from_json(hint, value)
            return value
        raise refused(text, item.allowed)

    def refused(text: str, allowed: str) -> UsageError:
        given = plain(repr(text[:80]))
        # Where usage shows all that may stand in a place, that is no name for it.
        wrong = f"unknown {item.name} {given}" if "|" in option else f"{option} is {given}"
        return UsageError(f"{wrong}; allowed: {allowed}")

    return read_path if _is_path(item, kinds) else read


def _positional(item: Field, noun: str) -> dict[str, Any]:
    form = {**_values(item, noun), "metavar": noun}
    form.pop("action", None)
    if item.default is not MISSING:
        form["nargs"] = "*" if form.get("nargs") == "+" else "?"
    return form


def _values(item: Field, option: str) -> dict[str, Any]:
    """How many words an option takes, what they are called, and how each is read."""
    kinds = [kind for kind in kinds_of(item.hint) if kind is not type(None)]
    lists = [kind for kind in kinds if get_origin(kind) is tuple]
    if lists:
        first, *others = get_args(lists[0])
        form: dict[str, Any] = {"type": reader(item, first, option), "metavar": _noun(item)}
        if others == [Ellipsis]:
            return {**form, "nargs": "+", "action": "extend"}
        return {**form, "nargs": 1 + len(others)}
    if all(literals(kind) for kind in kinds):
        choices = [choice for kind in kinds for choice in literals(kind)]
        return {"type": reader(item, item.hint, option), "choices": choices}
    return {"type": reader(item, item.hint, option), "metavar": _noun(item)}


def _noun(item: Field) -> str | tuple[str, ...]:
    choices = [str(choice) for kind in kinds_of(item.hint) for choice in literals(kind)]
    kinds = [part for kind in kinds_of(item.hint) for part in (kind, *get_args(kind))]
    plain = (noun for kind, noun in PLAIN_NOUNS.items() if kind in kinds)
    return NOUNS.get(item.name) or next(plain, "|".join(choices) or "TEXT")


def _help(item: Field) -> str:
    """The first sentence of a field's docstring, and the default."""
    meaning = _first_sentence(item.meaning)
    is_off = item.hint is bool and not item.default
    if item.default is MISSING or is_off or _is_absent(item):
        return meaning
    return f"{meaning} (default: {_shown(item.default)})".strip()


def _is_absent(item: Field) -> bool:
    """Whether the default is no value at all, not even the word none on the command line."""
    if item.default is None:
        kinds = kinds_of(item.hint)
        has_words = any(get_origin(kind) is tuple or literals(kind) for kind in kinds)
        return has_words or _is_path(item, kinds)
    return item.default in ("", ())


def _is_path(item: Field, kinds: tuple[Any, ...]) -> bool:
    return Path in kinds or (item.rule is not None and item.rule.rule is PLACE)


def _first_sentence(text: str) -> str:
    first = text.partition(". ")[0].removesuffix(".")
    rest = first.partition(" ")[0][1:]
    starts_small = not rest or rest.islower()
    return first[:1].lower() + first[1:] if starts_small else first


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return "none" if default is None else str(default)


def _within(key: str, keys: Iterable[str]) -> bool:
    return any(other == key or key.startswith(f"{other}.") for other in keys)


def _group(parser: argparse.ArgumentParser, heading: str) -> Any:
    """The group of this heading, which several dataclasses may fill."""
    same = (group for group in parser._action_groups if group.title == heading)
    return next(same, None) or parser.add_argument_group(heading)
