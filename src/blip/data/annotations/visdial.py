"""VisDial's official files, version 1.0: dialogues about images, and relevance of answers.

    {"version": "1.0", "split": "val2018", "data": {"questions": [...], "answers": [...],
     "dialogs": [{"image_id", "caption", "dialog": [{"question", "answer", "answer_options",
                                                     "gt_index"}]}]}}

Questions and answers are indices into the two lists. The file of dense annotations is a list of
`{"image_id", "round_id", "gt_relevance"}`.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from blip.config.strict import load_json
from blip.data.annotations.head import head_names
from blip.data.annotations.pictures import Pictures, open_pictures
from blip.data.dialogues import (
    DIALOGUE,
    DUPLICATE_IMAGE,
    NO_ROUND,
    WRONG_OPTIONS,
    Dialogue,
    read_rounds,
)
from blip.data.keys import with_safe_keys
from blip.data.readers.chosen import choose, read_alone
from blip.data.readers.patterns import named_in
from blip.data.sample import IMAGE_KEY, OFFICIAL_ID, Sample
from blip.errors import UsageError

VERSION = "1.0"
_OF_DIALOGUES = re.compile(rb'"dialogs"\s*:\s*\[')
OPTIONS = 100
"""Candidates of a round, whose ranks the challenge's server takes."""
DENSE = "_dense_annotations"
BROKEN_DIALOGUE, MISSING_CAPTION = "broken_dialogue", "missing_caption"
UNKNOWN_ROUND, DUPLICATE_ROUND = "unknown_round", "duplicate_round"


@dataclass(frozen=True, slots=True)
class DialogueEntry:
    """A dialogue of an annotation file, or one thing in it that cannot be used."""

    key: str
    image_id: int | None = None
    dialogue: Dialogue | None = None
    fault: str | None = None


_Stamp = tuple[Path, tuple[int, int] | None, tuple[int, int] | None]
"""A file with the times and sizes of it and of the annotations beside it."""
_checked: dict[_Stamp, list[DialogueEntry]] = {}
"""What the last file that was checked holds, until it is read: parsing takes long."""


def holds_dialogues(path: Path) -> bool:
    """Whether a JSON file holds dialogues, so that `read_dialogues` reads it; parses nothing."""
    if path.suffix.lower() != ".json" or not head_names(path, ("data",)):
        return False
    # The lists of questions and answers may put megabytes before the dialogues.
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return _OF_DIALOGUES.search(content) is not None


def read_dialogues(
    path: Path,
    images: Path | None = None,
    split: str | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Sample]:
    """A sample for each dialogue of a file, whose `meta` holds it (`data/dialogues.py`).

    `images` is the folder or the Parquet table of the pictures (`open_pictures`), which are found
    by COCO's number. Of the samples `start` to `stop` alone, where given. What is broken is a
    sample with `error`: a dialogue, a round of one, an image without its picture. Raises UsageError
    for a file in another layout, and for a `split`: a file is one.
    """
    chosen = islice(_take_checked(path, split), start, stop)
    pictures = open_pictures(path, images)
    yield from with_safe_keys(_samples(chosen, pictures, path.stem), "image", start)


def read_dialogues_at(
    path: Path, images: Path | None, split: str | None, numbers: Collection[int]
) -> Iterator[tuple[int, Sample]]:
    """Some samples with their numbers, each as `read_dialogues` reads it alone."""
    chosen = choose(enumerate(_take_checked(path, split)), numbers)
    pictures = open_pictures(path, images)
    return read_alone(chosen, partial(_samples, pictures=pictures, place=path.stem), "image")


def _take_checked(path: Path, split: str | None) -> list[DialogueEntry]:
    """What a file holds, taken out of the cache if it was checked before."""
    checked = _checked.pop(_stamp(path), None) if split is None else None
    found = checked or list_dialogues(path, split)
    _checked.clear()
    return found


def list_dialogues(path: Path, split: str | None = None) -> list[DialogueEntry]:
    """What a file holds, without the pictures; raises as `read_dialogues` does."""
    if split is not None:
        raise UsageError(f"--split {split}: {path} is one split of VisDial")
    _checked.clear()
    data = load_json(path)
    _check_version(data, path)
    content = data["data"]
    relevance, found = _read_dense(path)
    known: set[int] = set()
    for number, entry in enumerate(content["dialogs"]):
        image_id = entry.get("image_id") if isinstance(entry, dict) else None
        if not isinstance(image_id, int) or not isinstance(entry.get("dialog"), list):
            fault = f"{BROKEN_DIALOGUE}: entry {number} has no image_id and dialog"
            found.append(DialogueEntry(f"dialogue-{number}", fault=fault))
        elif image_id in known:
            found.append(
                DialogueEntry(f"{image_id}-{number}", fault=f"{DUPLICATE_IMAGE}: {image_id}")
            )
        else:
            known.add(image_id)
            found += _read_dialogue(image_id, entry, content, relevance)
    found += [
        DialogueEntry(
            f"{image_id}-round-{number}",
            fault=f"{UNKNOWN_ROUND}: the dense annotations name a round that {path.name} lacks",
        )
        for image_id, number in relevance
    ]
    _checked[_stamp(path)] = found
    return found


def _stamp(path: Path) -> _Stamp:
    def state(file: Path) -> tuple[int, int] | None:
        return (file.stat().st_mtime_ns, file.stat().st_size) if file.is_file() else None

    return path.absolute(), state(path), state(_beside(path))


def _beside(path: Path) -> Path:
    plain = path.with_name(f"{path.stem}{DENSE}.json")
    if plain.is_file():
        return plain
    there = (file for file in named_in(path.parent, ".json") if file.stem == plain.stem)
    return next(there, plain)


def _samples(chosen: Iterable[DialogueEntry], pictures: Pictures, place: str) -> Iterator[Sample]:
    for held in chosen:
        if held.image_id is None or held.dialogue is None:
            yield Sample(held.key, None, error=held.fault)
            continue
        content, extension = pictures.read(held.image_id)
        meta = {
            OFFICIAL_ID: held.image_id,
            IMAGE_KEY: f"{place}/{held.image_id}",
            DIALOGUE: held.dialogue.to_json(),
        }
        error = "missing_image" if content is None else None
        yield Sample(held.key, content, (), meta, error, extension)


def _has_dialogues(data: Any) -> bool:
    content = data.get("data") if isinstance(data, dict) else None
    return isinstance(content, dict) and isinstance(content.get("dialogs"), list)


def _check_version(data: Any, path: Path) -> None:
    if not _has_dialogues(data):
        raise UsageError(
            f'{path} has no {{"data": {{"dialogs": [...]}}}}, as VisDial\'s files have'
        )
    version = str(data.get("version"))
    if version != VERSION:
        raise UsageError(
            f"{path} is of version {version} of VisDial; allowed: {VERSION}, whose training split "
            "has the images of version 0.9"
        )
    for name in ("questions", "answers"):
        if not isinstance(data["data"].get(name), list):
            raise UsageError(f'{path} has no list "{name}" beside "dialogs"')


def _read_dense(path: Path) -> tuple[dict[tuple[str, str], Any], list[DialogueEntry]]:
    """Relevance by image and round of the file beside, if there is one, and what comes twice."""
    beside = _beside(path)
    if not beside.is_file():
        return {}, []
    entries = load_json(beside)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f'{beside} is no list of {{"image_id", "round_id", "gt_relevance"}}')
    found, again = dict[tuple[str, str], Any](), list[DialogueEntry]()
    for number, entry in enumerate(entries):
        place = (str(entry.get("image_id")), str(entry.get("round_id")))
        if place in found:
            fault = f"{DUPLICATE_ROUND}: entry {number} of the dense annotations"
            again.append(DialogueEntry("-round-".join(place), fault=fault))
        else:
            # Those of the training split are called otherwise.
            found[place] = entry.get("gt_relevance", entry.get("relevance"))
    return found, again


def _read_dialogue(
    image_id: int,
    entry: dict[str, Any],
    content: dict[str, Any],
    relevance: dict[tuple[str, str], Any],
) -> list[DialogueEntry]:
    """The dialogue of an image, then what is wrong in it; takes its relevance out of the rest."""
    rounds, wrong = list[Any](), list[str]()
    for number, given in enumerate(entry["dialog"], 1):
        one, fault = _look_up(given, content)
        dense = relevance.pop((str(image_id), str(number)), None)
        if dense is not None and "options" in one:
            one["relevance"] = dense
        rounds.append(one)
        if fault is not None:
            wrong.append(f"{fault} (round {number})")
    sound, faults = read_rounds(rounds)
    caption = entry.get("caption")
    if not isinstance(caption, str):
        caption = ""
        wrong.append(MISSING_CAPTION)
    dialogue = Dialogue(caption, tuple(sound))
    found = [DialogueEntry(str(image_id), image_id, dialogue)] if sound else []
    if not entry["dialog"]:
        faults = [NO_ROUND]
    return found + [
        DialogueEntry(f"{image_id}-fault-{number}", fault=fault)
        for number, fault in enumerate([*wrong, *faults])
    ]


def _look_up(given: Any, content: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """A round with texts in the place of indices, and what is wrong with its options."""
    if not isinstance(given, dict):
        return {}, None
    one = {"question": _text(content["questions"], given.get("question"))}
    if (index := given.get("answer")) is not None:
        answer = _text(content["answers"], index)
        # A broken one is not withheld.
        one["answer"] = False if answer is None else answer
    options = given.get("answer_options")
    if options is None:
        # Where the answer's place among them is given, they are not withheld.
        lost = given.get("gt_index") is not None
        return one, f"{WRONG_OPTIONS}: none, and gt_index is one of them" if lost else None
    if not isinstance(options, list) or len(options) != OPTIONS:
        count = len(options) if isinstance(options, list) else "no list of"
        return one, f"{WRONG_OPTIONS}: {count} options, not {OPTIONS}"
    texts = [_text(content["answers"], option) for option in options]
    return {**one, "options": texts, "answer_index": given.get("gt_index")}, None


def _text(pool: list[Any], index: Any) -> Any:
    whole = isinstance(index, int) and not isinstance(index, bool)
    return pool[index] if whole and 0 <= index < len(pool) else None
