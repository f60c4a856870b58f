"""Videos with captions or questions: MSR-VTT's, MSVD's and DiDeMo's files, tables, folders."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from blip.config.strict import load_json
from blip.data.annotations.content_store import ContentStore
from blip.data.annotations.head import head_names
from blip.data.annotations.video_files import (
    ROWS,
    TABLE,
    TEXTS,
    VIDEO,
    VideoFiles,
    VideoSource,
    content_of,
    find_videos,
    holds_videos,
    key_of,
)
from blip.data.keys import key_text
from blip.data.questions import (
    BROKEN_QUESTION,
    AskedQuestion,
    find_question_fault,
    find_question_id,
    questions_of,
    read_question,
)
from blip.data.readers.delimited import BROKEN_ROW, read_delimited, read_json_lines
from blip.data.readers.folders import texts_beside
from blip.data.readers.parquet import BATCH, open_described, read_parquet
from blip.data.readers.shards import read_shard
from blip.data.readers.tables import FIRST, find_columns, names_videos
from blip.data.readers.video_files import NAMES, is_video_name
from blip.data.texts import first_given, is_missing, list_names, sound_texts
from blip.errors import UsageError
from blip.files import is_json_lines, open_regular
from blip.log import say

FORMS = (
    'MSR-VTT\'s {"videos": [{"video_id"}], "sentences": [{"video_id", "caption"}]}, '
    'BLIP\'s lines {"clip_name", "caption"}, DiDeMo\'s [{"video", "description"}], '
    'MSVD-QA\'s [{"video_id", "question", "answer"}], a .csv or .tsv table with the columns '
    '"video_id" and "sentence" (MSR-VTT 1k-A), a .parquet table with a column "video", '
    "a tar of KEY.mp4 and KEY.txt, or a folder of videos"
)
MISSING_VIDEO = "missing_video"
DUPLICATE = "duplicate_question_id"
TEST = "test"
_Entries = Iterable[tuple[Any, str | None]]


@dataclass(slots=True)
class ListedVideo:
    """A video with its texts and the questions about it, and what is wrong with some of these."""

    key: str
    source: VideoSource | None = None
    texts: list[str] = field(default_factory=list[str])
    questions: list[AskedQuestion] = field(default_factory=list[AskedQuestion])
    faults: list[str] = field(default_factory=list[str])


def lists_videos(path: Path) -> bool:
    """Whether a file is a list or a table of videos, or of questions about videos beside it.

    False for a file that cannot be read: its reader says why.
    """
    try:
        names = _names_in(path)
    except (UsageError, OSError):
        return False
    if "question" in names and (path.absolute().parent / TABLE).is_file():
        return find_columns(names).image is None
    return names_videos(names)


def _names_in(path: Path) -> list[str]:
    """The columns of a table, or the names in a list's first entries; none for another file."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return list(open_described(path).schema_arrow.names)
    if is_json_lines(path):
        first = islice(read_json_lines(path), FIRST)
        return list(dict.fromkeys(name for row in first for name in row.cells))
    if suffix in (".csv", ".tsv"):
        return read_delimited(path, lambda names: not set(NAMES).isdisjoint(names))[0]
    # Of captions a file may hold gigabytes.
    if suffix != ".json" or not head_names(path, (*NAMES, "videos")):
        return []
    data = load_json(path)
    first = data[0] if isinstance(data, list) and data else data
    return list(first) if isinstance(first, dict) and "images" not in first else []


def list_videos(
    path: Path, videos: Path | None = None, split: str | None = None
) -> list[ListedVideo]:
    """The videos of a folder, table or annotation file, each once, with all that is said of them.

    Nothing is decoded. Of DiDeMo's file the descriptions of a video's moments, in their order, are
    one text, a paragraph; of MSR-VTT's JSON with splits the videos of `split`, or else of "test",
    are taken, of a table all rows, whatever a column "split" says. Files are looked for below
    `videos`, else below the folder of the list. An entry that cannot be read is a video with
    `faults` alone. Raises UsageError for anything else, and for a folder or a split without
    meaning.
    """
    suffix = path.suffix.lower()
    data = load_json(path) if suffix == ".json" and not path.is_dir() else None
    if split is not None and not _has_splits(data):
        raise UsageError(f"--split {split}: allowed with MSR-VTT's JSON, and {path} is another")
    if path.is_dir() or suffix == ".tar":
        if videos is not None:
            raise UsageError(f"--images {videos}: {path} holds videos itself; allowed with lists")
        return _folder(path) if path.is_dir() else _tar(path)
    files = VideoFiles(path.absolute().parent if videos is None else videos)
    if suffix == ".parquet":
        return _table(path, files)
    if is_json_lines(path):
        return _listed(((row.cells, row.fault) for row in read_json_lines(path)), files, path)
    if suffix in (".csv", ".tsv"):
        _, rows = read_delimited(path, lambda names: not set(NAMES).isdisjoint(names))
        return _listed(((row.cells, row.fault) for row in rows), files, path)
    if isinstance(data, dict) and _has_splits(data):
        return _msrvtt(data, files, path, split)
    if isinstance(data, list):
        return _listed(((entry, None) for entry in data), files, path)
    raise UsageError(f"{path} holds no list of videos; allowed: {FORMS}")


def _has_splits(data: Any) -> bool:
    return isinstance(data, dict) and isinstance(data.get("videos"), list)


class _Listing:
    """Collects what is said of each video."""

    def __init__(self) -> None:
        self.videos: dict[str, ListedVideo] = {}
        self.broken: list[ListedVideo] = []
        self.ids: set[str | int] = set()

    def of(self, key: str, source: VideoSource | None) -> ListedVideo:
        return self.videos.setdefault(key, ListedVideo(key, source))

    def add_texts(self, video: ListedVideo, values: Any) -> None:
        texts, fault = sound_texts(values if isinstance(values, list) else [values])
        video.texts += texts
        video.faults += [] if fault is None else [fault]

    def add_question(self, video: ListedVideo, entry: dict[str, Any], number: int) -> None:
        known_id = find_question_id(entry, ("question_id", "id"))
        named = entry if known_id is None else {**entry, "question_id": known_id}
        question = read_question(named, number)
        if question is None:
            fault = f"{BROKEN_QUESTION}: entry {number} has {find_question_fault(named)}"
            video.faults.append(fault)
        elif question.question_id in self.ids:
            video.faults.append(f"{DUPLICATE}: {question.question_id}")
        else:
            self.ids.add(question.question_id)
            video.questions.append(question)

    def add_fault(self, number: int, fault: str) -> None:
        self.broken.append(ListedVideo(f"entry-{number}", faults=[fault]))

    def all(self) -> list[ListedVideo]:
        return [*self.videos.values(), *self.broken]


def _folder(folder: Path) -> list[ListedVideo]:
    listed, unreadable = list[ListedVideo](), list[str]()
    for path in find_videos(folder, unreadable):
        texts, fault = texts_beside(path)
        key = path.relative_to(folder).as_posix()
        listed.append(ListedVideo(key, path, list(texts), faults=[fault] if fault else []))
    if not listed:
        raise UsageError(f"{folder} holds no videos")
    listed += [ListedVideo("-", faults=[f"unreadable: {one}"]) for one in unreadable]
    return listed


def _tar(path: Path) -> list[ListedVideo]:
    listed, store = list[ListedVideo](), ContentStore("videos")
    try:
        open_regular(path).close()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    for sample in read_shard(path, videos=True):
        error, video = sample.error, sample.video
        again = error == "duplicate_key"
        questions, fault = questions_of(sample.meta)
        # Whoever takes the video says that there is none.
        faults = [error if error != "missing_image" else None, fault]
        listed.append(
            ListedVideo(
                sample.key,
                store.add(video) if isinstance(video, bytes) and not again else None,
                [] if again else list(sample.texts),
                [] if again else questions,
                [reason for reason in faults if reason is not None],
            )
        )
    return listed


def _table(path: Path, videos: VideoFiles) -> list[ListedVideo]:
    listing, in_rows, store = _Listing(), holds_videos(path), ContentStore("videos")
    for number, row in read_parquet(path, 0, None, batch=ROWS if in_rows else BATCH):
        key, content = key_of(row.cells), content_of(row.cells.get(VIDEO))
        if row.fault is not None:
            listing.add_fault(number, row.fault)
            continue
        source: VideoSource | None = None
        if isinstance(content, bytes):
            key = key or f"row-{number}"
            source = None if key in listing.videos else store.add(content)
        elif (name := content if in_rows else key) is not None:
            key, source = key or str(name), videos.find(str(name))
        video = listing.of(key or f"row-{number}", source)
        _add_all(listing, video, row.cells, number)
    return listing.all()


def _add_all(listing: _Listing, video: ListedVideo, entry: dict[str, Any], number: int) -> None:
    """The texts of an entry and its question, if it has any."""
    texts = first_given(entry, TEXTS)
    if texts is not None and is_missing(entry.get("question")):
        listing.add_texts(video, texts)
    elif "question" in entry:
        listing.add_question(video, entry, number)


def _msrvtt(
    data: dict[str, Any], videos: VideoFiles, path: Path, split: str | None
) -> list[ListedVideo]:
    listing, sentences = _Listing(), data.get("sentences")
    if not isinstance(sentences, list):
        raise UsageError(f'{path} has "videos" and no "sentences"; allowed: {FORMS}')
    entries = [one for one in data["videos"] if isinstance(one, dict)]
    splits = {str(one.get("split")) for one in entries}
    if split is not None and split not in splits:
        raise UsageError(f"--split {split}: {path} has the splits {list_names(sorted(splits))}")
    chosen = split or (TEST if TEST in splits else None)
    if split is None and chosen is not None and len(splits) > 1:
        others = ", ".join(sorted(splits - {TEST}))
        say(f"{path.name}: the videos of the split {TEST!r} are used, not those of {others}")
    names = {key_text(one.get("video_id")) for one in entries} - {None}
    for number, one in enumerate(data["videos"]):
        name = key_text(one.get("video_id")) if isinstance(one, dict) else None
        if name is None:
            listing.add_fault(number, f"{BROKEN_ROW}: video {number} has no video_id")
        elif chosen is None or one.get("split") == chosen:
            listing.of(name, videos.find(name))
    for number, sentence in enumerate(sentences):
        name = key_text(sentence.get("video_id")) if isinstance(sentence, dict) else None
        if name in listing.videos:
            listing.add_texts(listing.videos[str(name)], sentence.get("caption"))
        elif name not in names:
            fault = f"{BROKEN_ROW}: sentence {number} is about no video of the file"
            listing.add_fault(number, fault)
    return listing.all()


def _listed(entries: _Entries, videos: VideoFiles, path: Path) -> list[ListedVideo]:
    """A list, or lines, of entries that name a video."""
    listing, paragraphs = _Listing(), dict[str, list[Any]]()
    first, rest = _peek(entries)
    if first is not None and _name_of(first) is None:
        raise UsageError(f"{path} names no videos in its first entry; allowed: {FORMS}")
    for number, (entry, fault) in enumerate(rest):
        name = _name_of(entry)
        if fault is not None or name is None:
            listing.add_fault(number, fault or f"{BROKEN_ROW}: entry {number} names no video")
            continue
        key = os.path.splitext(name)[0] if is_video_name(name) else name
        video = listing.of(key, videos.find(name))
        if _describes(entry):
            paragraphs.setdefault(key, []).append(entry["description"])
        else:
            _add_all(listing, video, entry, number)
    for key, descriptions in paragraphs.items():
        texts, fault = sound_texts(descriptions)
        listing.videos[key].texts += [" ".join(texts)] if texts else []
        listing.videos[key].faults += [] if fault is None else [fault]
    return listing.all()


def _describes(entry: dict[str, Any]) -> bool:
    """Whether an entry has a description, or null in its place and no other text; no question."""
    if "description" not in entry or not is_missing(entry.get("question")):
        return False
    return not is_missing(entry["description"]) or first_given(entry, TEXTS) is None


def _peek(entries: _Entries) -> tuple[Any, Iterator[tuple[Any, str | None]]]:
    """The first sound entry, if the first one is, and all of them."""
    rest = iter(entries)
    first = next(rest, None)
    if first is None:
        return None, iter(())
    return (first[0] if first[1] is None else None), chain([first], rest)


def _name_of(entry: Any) -> str | None:
    """What an entry calls its video."""
    if not isinstance(entry, dict):
        return None
    name = first_given(entry, NAMES)
    return key_of({**entry, "id": None}) if name is None else key_text(name)
