"""One way to open any place: its samples, how many there are, and any slice of them."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol, assert_never, final

from blip.data.annotations.captions import (
    list_annotated,
    read_annotations,
    read_annotations_at,
)
from blip.data.annotations.forms import TaskForm, find_form
from blip.data.keys import check_lengths, with_safe_keys
from blip.data.readers.chosen import choose, read_alone
from blip.data.readers.compressed import read_compressed
from blip.data.readers.folders import read_folder, read_paths_at
from blip.data.readers.image_files import list_images
from blip.data.readers.patterns import is_compressed
from blip.data.readers.shards import read_shard
from blip.data.readers.tables import (
    check_table,
    count_rows,
    is_table,
    read_table,
    read_table_at,
)
from blip.data.sample import Sample
from blip.errors import UsageError

Kind = Literal["tar", "compressed tar", "table", "annotations", "folder"]


class Reader(Protocol):
    """Reads one place: a file, or a folder of pictures."""

    def check(self) -> None:
        """Raises UsageError if `samples` would before its first sample."""
        ...

    def count(self) -> int:
        """Number of samples; raises UsageError for a file that is not what its name says."""
        ...

    def samples(self, start: int = 0, stop: int | None = None) -> Iterator[Sample]:
        """Samples `start` to `stop` (not included) in their order, under keys that differ."""
        ...

    def samples_at(self, numbers: Collection[int]) -> Iterator[tuple[int, Sample]]:
        """Some samples with their numbers, in one pass over the place; numbers of none are skipped.

        Each is as `samples(number, number + 1)` gives it.
        """
        ...


def find_kind(path: Path) -> Kind:
    """What a place is, by its name; a .txt file by its header."""
    if path.is_dir():
        return "folder"
    if path.suffix.lower() == ".json":
        return "annotations"
    if is_table(path):
        return "table"
    return "compressed tar" if is_compressed(path) else "tar"


def open_place(
    path: Path,
    *,
    images: Path | None = None,
    split: str | None = None,
    need_text: bool = True,
) -> Reader:
    """The reader of a place.

    Paths in tables and annotation files start from `images`, else from the file's own folder;
    `split` chooses among their rows. A table may have no column for the text, and a list no
    captions, where `need_text` is false. A table or file that asks questions, states something of
    pairs of images or holds dialogues is read as those of its task. Raises UsageError if
    `images` or `split` have no meaning.
    """
    kind = find_kind(path)
    form = find_form(path) if kind in ("table", "annotations") else None
    if form is not None:
        return _OfTask(path, images, split, form)
    match kind:
        case "table":
            return _Table(path, images, split, need_text)
        case "annotations":
            return _Annotations(path, images or path.parent, split, need_text)
        case "folder":
            _refuse_options(f"{path} is a folder of pictures", images, split)
            return _Folder(path)
        case "tar" | "compressed tar":
            _refuse_options(f"{path} is a tar", images, split)
            return _Tar(path, kind == "compressed tar")
        case _ as never:
            assert_never(never)


def _refuse_options(reason: str, images: Path | None, split: str | None) -> None:
    for option, value in (("--images", images), ("--split", split)):
        if value is not None:
            raise UsageError(
                f"{option} {value}: {reason}; allowed with annotation files and tables"
            )


@final
@dataclass(frozen=True, slots=True)
class _Table:
    """A row, or several with one image, is a sample."""

    path: Path
    images: Path | None
    split: str | None
    need_text: bool

    def check(self) -> None:
        check_table(self.path, need_text=self.need_text)

    def count(self) -> int:
        check_table(self.path, need_text=self.need_text)
        return count_rows(self.path, need_text=self.need_text)

    def samples(self, start: int = 0, stop: int | None = None) -> Iterator[Sample]:
        return read_table(
            self.path,
            start,
            stop,
            images=self.images,
            split=self.split,
            need_text=self.need_text,
        )

    def samples_at(self, numbers: Collection[int]) -> Iterator[tuple[int, Sample]]:
        return read_table_at(
            self.path, numbers, images=self.images, split=self.split, need_text=self.need_text
        )


@final
@dataclass(frozen=True, slots=True)
class _Annotations:
    """An image with all its captions is a sample."""

    path: Path
    images: Path
    split: str | None
    need_text: bool

    def check(self) -> None:
        list_annotated(self.path, need_text=self.need_text)

    def count(self) -> int:
        return len(list_annotated(self.path, need_text=self.need_text))

    def samples(self, start: int = 0, stop: int | None = None) -> Iterator[Sample]:
        return read_annotations(
            self.path, self.images, self.split, start, stop, need_text=self.need_text
        )

    def samples_at(self, numbers: Collection[int]) -> Iterator[tuple[int, Sample]]:
        return read_annotations_at(
            self.path, self.images, numbers, self.split, need_text=self.need_text
        )


@final
@dataclass(frozen=True, slots=True)
class _OfTask:
    """An image, or a pair, with all that a task's file asks or states of it is a sample."""

    path: Path
    images: Path | None
    split: str | None
    form: TaskForm

    def check(self) -> None:
        self.form.list(self.path, self.split)

    def count(self) -> int:
        return len(self.form.list(self.path, self.split))

    def samples(self, start: int = 0, stop: int | None = None) -> Iterator[Sample]:
        return self.form.read(self.path, self.images, self.split, start, stop)

    def samples_at(self, numbers: Collection[int]) -> Iterator[tuple[int, Sample]]:
        return self.form.read_at(self.path, self.images, self.split, numbers)


@final
@dataclass(frozen=True, slots=True)
class _Folder:
    """A picture with the text file beside it is a sample."""

    path: Path

    def check(self) -> None:
        """Nothing can be wrong with a folder before its first picture."""

    def count(self) -> int:
        return len(list_images(self.path))

    def samples(self, start: int = 0, stop: int | None = None) -> Iterator[Sample]:
        return read_folder(self.path, start, stop)

    def samples_at(self, numbers: Collection[int]) -> Iterator[tuple[int, Sample]]:
        return read_paths_at(self.path, list_images(self.path), numbers)


@final
@dataclass(frozen=True, slots=True)
class _Tar:
    """The members of one key are a sample; it is read from its start, whichever part is asked."""

    path: Path
    compressed: bool

    def check(self) -> None:
        """What is wrong with a tar comes as samples with an error."""

    def count(self) -> int:
        return sum(1 for _ in self.samples())

    def samples(self, start: int = 0, stop: int | None = None) -> Iterator[Sample]:
        return islice(with_safe_keys(self._whole(), "sample"), start, stop)

    def samples_at(self, numbers: Collection[int]) -> Iterator[tuple[int, Sample]]:
        return read_alone(choose(enumerate(self._whole()), numbers), iter, "sample")

    def _whole(self) -> Iterator[Sample]:
        return check_lengths((read_compressed if self.compressed else read_shard)(self.path))
