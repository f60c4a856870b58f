"""`blip caption --write`: a file of captions beside each picture, to train image generators."""

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from blip.cli.inputs import Place
from blip.config.ranges import TextRule, check_fields

if TYPE_CHECKING:
    from blip.inference.captioner import Caption

LIMIT = 16 << 20
"""Largest file that captions are appended to, in bytes."""


def _is_extension(text: str) -> bool:
    from blip.data.readers.image_files import is_image_name
    from blip.data.readers.video_files import is_video_name

    is_name = re.fullmatch(r"\.?\w[\w.-]*", text, re.ASCII)
    return bool(is_name) and not is_image_name(f"x.{text}") and not is_video_name(f"x.{text}")


EXTENSION = TextRule(
    allowed="txt, caption, json or another extension, but none of pictures and videos",
    holds=_is_extension,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SidecarOptions:
    """Which file is written beside each picture, and what becomes of one that is there."""

    write: Annotated[str | None, EXTENSION] = None
    """Write a file with this extension beside each picture; of json, a JSON object."""
    write_name: Literal["stem", "full"] = "stem"
    """With --write: photo.txt (stem), or photo.jpg.txt (full) where two pictures would share it."""
    skip_existing: bool = False
    """With --write: say nothing of pictures that are left out as they have a file."""
    append: bool = False
    """With --write: add captions to the files that are there, each once."""
    overwrite: bool = False
    """With --write: replace files that are there."""

    def __post_init__(self) -> None:
        """Refuse an invalid extension, and options that contradict each other or have no use."""
        from blip.errors import UsageError

        check_fields(self)
        flags = {
            "--skip-existing": self.skip_existing,
            "--append": self.append,
            "--overwrite": self.overwrite,
        }
        given = [name for name, is_given in flags.items() if is_given]
        if len(given) > 1:
            raise UsageError(f"give one of {' and '.join(given)}, they contradict each other")
        if given and self.write is None:
            raise UsageError(f"{given[0]} would not be used without --write; leave it out")

    @property
    def extension(self) -> str:
        """That of the files, without a dot before it."""
        return (self.write or "").removeprefix(".")

    @property
    def is_json(self) -> bool:
        """Whether the files hold JSON, as those of `.json`, `.JSON` and `.meta.json` do."""
        return self.extension.casefold().rpartition(".")[2] == "json"


class Sidecars:
    """The file of captions beside each picture."""

    def __init__(self, options: SidecarOptions, paths: Sequence[Place]) -> None:
        """Raises UsageError, which names both, if two pictures would share a file.

        And for the address of a picture, beside which no file can be written.
        """
        from blip.errors import UsageError
        from blip.log import printable

        self.options = options
        self.failed = 0
        self.of: dict[Place, Path] = {}
        for path in paths:
            if isinstance(path, str):
                raise UsageError(
                    f"--write puts a file beside each picture, and {printable(path)} is an address"
                )
            name = path.name if options.write_name == "full" else path.stem
            self.of[path] = path.with_name(f"{name}.{options.extension}")
        self._refuse_pictures()
        if options.write_name == "stem":
            self._refuse_shared()

    def missing(self) -> list[Place]:
        """The pictures whose file is to be written."""
        from blip.log import say

        if self.options.overwrite or self.options.append:
            return list(self.of)
        paths = [path for path, target in self.of.items() if not os.path.lexists(target)]
        kept = len(self.of) - len(paths)
        if kept and not self.options.skip_existing:
            have = "picture has" if kept == 1 else "pictures have"
            say(
                f"{kept} {have} a file .{self.options.extension} already, which is kept "
                "(--overwrite replaces it, --append adds to it)"
            )
        return paths

    def write(self, path: Place, captions: "Sequence[Caption | str]") -> None:
        """Write the captions of a picture; a file that cannot be written is named and counted.

        Raises OSError if the disk is full: there is no room for the others, either.
        """
        from blip.files import disk_is_full, write_atomically
        from blip.log import say

        target = self.of[path]
        if not (self.options.overwrite or self.options.append) and os.path.lexists(target):
            say(f"{target} was created meanwhile, and is kept (--overwrite replaces it)")
            return
        try:
            there = None
            if self.options.append:
                captions = _each_once(captions)
                # A link stays one: what it leads to gets the captions.
                target = Path(os.path.realpath(target))
                there = target if os.path.lexists(target) else None
            make = _json_content if self.options.is_json else _text_content
            write_atomically(target, make(there, captions))
        except OSError as error:
            if disk_is_full(error):
                raise
            self.failed += 1
            say(f"cannot write {target}: {error.strerror}")
        except ValueError as error:
            self.failed += 1
            say(f"cannot append to {target}: {error}")

    def _refuse_pictures(self) -> None:
        """A picture may be called `photo.txt`: it is not to be replaced by its own caption."""
        from blip.errors import UsageError
        from blip.log import printable

        pictures = {_place(path) for path in self.of if isinstance(path, Path)}
        for path, target in self.of.items():
            if _place(target) in pictures:
                raise UsageError(
                    f"the captions of {printable(path)} would replace the picture "
                    f"{printable(target)}; --write-name full gives them a file of their own"
                )

    def _refuse_shared(self) -> None:
        from blip.errors import UsageError
        from blip.log import printable

        first: dict[tuple[str, str], Place] = {}
        for path, target in self.of.items():
            other = first.setdefault(_place(target), path)
            if other is not path:
                raise UsageError(
                    f"{printable(other)} and {printable(path)} would share the file "
                    f"{printable(target.name)}; --write-name full gives each its own "
                    f"({printable(Path(path).name)}{target.suffix})"
                )


def text_of(caption: "Caption | str") -> str:
    """The text of a caption, with or without its likelihood."""
    return caption if isinstance(caption, str) else caption.text


def numbers_of(caption: "Caption | str") -> dict[str, float]:
    """The likelihood of a caption, where it is known."""
    if isinstance(caption, str):
        return {}
    return {
        "log_likelihood": caption.log_likelihood,
        "log_likelihood_per_token": caption.log_likelihood_per_token,
        "tokens": caption.tokens,
    }


def _each_once(captions: "Sequence[Caption | str]") -> "list[Caption | str]":
    once: dict[str, Caption | str] = {}
    for caption in captions:
        once.setdefault(text_of(caption).strip(), caption)
    return list(once.values())


def _text_content(there: Path | None, captions: "Sequence[Caption | str]") -> str:
    """The lines that are there, then a line for each caption that is not among them.

    Raises ValueError if the file holds no text.
    """
    before = "" if there is None else _read(there).decode()
    known = {line.strip() for line in before.removeprefix("\ufeff").splitlines()}
    if before and not before.endswith("\n"):
        before += "\n"
    new = [text for text in map(text_of, captions) if text.strip() not in known]
    return before + "".join(f"{text}\n" for text in new)


def _json_content(there: Path | None, captions: "Sequence[Caption | str]") -> str:
    """`caption`, the first one, and all `captions`, beside what else the object that is there has.

    Raises ValueError if something else is there.
    """
    from blip.files import json_text, parse_json

    content: Any = {} if there is None else parse_json(_read(there))
    rows = _rows_of(content)
    known = {row.strip() if isinstance(row, str) else row["caption"].strip() for row in rows}
    for caption in captions:
        if text_of(caption).strip() not in known:
            rows.append({"caption": text_of(caption), **numbers_of(caption)})
    ours = {"caption": content.get("caption") or text_of(captions[0]), "captions": rows}
    return json_text({**ours, **content, **ours}, indent=2) + "\n"


def _rows_of(content: Any) -> list[Any]:
    """The captions in an object, texts or objects with one, the first of all before them.

    Raises ValueError if a value is anything else.
    """
    is_object = isinstance(content, dict)
    rows = content.get("captions", []) if is_object else None
    first = content.get("caption") if is_object else None
    if not isinstance(rows, list) or not isinstance(first, str | None):
        raise ValueError("it holds no JSON object with a list of captions")
    texts = [row.get("caption") if isinstance(row, dict) else row for row in rows]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("its captions are neither texts nor objects with a caption")
    return list(rows) if not first or first in texts else [{"caption": first}, *rows]


def _read(path: Path) -> bytes:
    from blip.files import read_regular

    return read_regular(path, LIMIT)


def _place(path: Path) -> tuple[str, str]:
    """Folder and name; some file systems take names for one that differ in case or in accents."""
    name = unicodedata.normalize("NFC", path.name).casefold()
    return os.path.realpath(path.parent), name
