"""The files of an index: its settings, its places, and parts of vectors and rows."""

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from blip.config.strict import from_json, to_json
from blip.data.keys import storable
from blip.errors import BlipError, UsageError
from blip.files import fingerprint_json, read_json_object, write_atomically, write_json

FORMAT = 1
CONFIG, PLACES, STATUS, FAULTS = "config.json", "places.json", "status.json", "faults.jsonl"
NEIGHBOURS = "index.faiss"
PART_ROWS = 1024
"""Rows of a part, which is written whole: what a killed run has to compute again at most."""
TABLES = 64
"""Tables of rows that are held for the rows that searches find."""
READY = "ready"
"""The state of an index, in status.json, that no run has changed since it was finished."""
State = Literal["indexed", "broken", "removed"]
INDEXED, BROKEN, REMOVED = "indexed", "broken", "removed"
NumberFormat = Literal["float32", "float16"]
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("image_key", pa.string()),
        ("place", pa.string()),
        ("number", pa.int64()),
        ("texts", pa.list_(pa.string())),
        ("fault", pa.string()),
        ("state", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What all parts of an index have in common: config.json."""

    format: int = FORMAT
    checkpoint: str
    """Where the checkpoint was when the index was made."""
    fingerprint: str
    """Of the model: vectors of another one cannot be compared with these."""
    projection: int
    """Numbers in a vector."""
    vectors: NumberFormat = "float32"
    part_rows: int = PART_ROWS
    frames: int | None = None
    """Evenly spaced frames that are read of each video; None: no place has shown a video yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexedPlace:
    """A tar, table or folder that is in the index as a whole."""

    location: str
    """Its absolute path or its URL."""
    mark: str
    """Size and time of its content when it was read."""
    rows: int
    indexed: int
    broken: int
    removed: int = 0
    videos: bool = False
    """Whether it is a folder or table of videos that were read as well."""

    def to_json(self) -> dict[str, Any]:
        """As places.json has it; places of pictures as versions write them that know no videos."""
        values = to_json(self)
        return values if self.videos else {n: v for n, v in values.items() if n != "videos"}

    def part_names(self, part_rows: int) -> list[str]:
        """The names of its parts, in their order."""
        count = -(-self.rows // part_rows)
        return [part_name(self.location, self.mark, number) for number in range(count)]


@dataclass(frozen=True, slots=True)
class Row:
    """A picture of the index, as the table of rows has it."""

    key: str
    image_key: str | None
    """Which image it is, where the sample says so; rows of one image share it."""
    place: str
    number: int
    """Of the sample in its place, from 0."""
    texts: tuple[str, ...]
    fault: str | None
    """What is wrong with the sample; its picture may be sound all the same."""
    state: State

    @property
    def image(self) -> tuple[str, str | int]:
        """Equal for rows of the same image."""
        if self.image_key is None:
            return self.place, self.number
        return os.path.dirname(self.place), self.image_key


class Store:
    """The folder of an index."""

    def __init__(self, folder: Path, settings: Settings, places: Sequence[IndexedPlace]) -> None:
        self.folder, self.settings = folder, settings
        self.places = list(places)
        self._tables: dict[int, pa.Table] = {}

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """Read settings and places; raises UsageError if there is no index."""
        data = read_json_object(folder / CONFIG)
        if data is None or "part_rows" not in data:
            raise UsageError(
                f"{folder} holds no index; `blip index PLACE --out {folder}` makes one"
            )
        if data.get("format") != FORMAT:
            raise UsageError(
                f"{folder} has format {data.get('format')}; this version of blip reads {FORMAT}"
            )
        found = (read_json_object(folder / PLACES) or {}).get("places")
        listed = found if isinstance(found, list) else []
        places = [from_json(IndexedPlace, place) for place in listed]
        return cls(folder, from_json(Settings, data), places)

    def write_settings(self) -> None:
        """Write config.json."""
        # An index of pictures alone is the same for versions that know of no videos.
        known = {name: value for name, value in to_json(self.settings).items() if value is not None}
        write_json(self.folder / CONFIG, known)

    def write_places(self) -> None:
        """Write places.json: from now on these places are in the index, and no others."""
        write_json(self.folder / PLACES, {"places": [place.to_json() for place in self.places]})

    @property
    def digest(self) -> str:
        """Of what is in the index; a structure for search belongs to one digest."""
        return fingerprint_json([place.to_json() for place in self.places])

    @property
    def rows(self) -> int:
        """Rows of all places, broken and removed ones included."""
        return sum(place.rows for place in self.places)

    @property
    def with_videos(self) -> frozenset[str]:
        """The places whose videos are in the index, as rows name them."""
        return frozenset(storable(place.location) for place in self.places if place.videos)

    @property
    def indexed(self) -> int:
        """Rows that a search can find."""
        return sum(place.indexed for place in self.places)

    @cached_property
    def parts(self) -> list["Part"]:
        """All parts in the order of their rows."""
        names = [n for place in self.places for n in place.part_names(self.settings.part_rows)]
        return [Part(self.folder, name) for name in names]

    @cached_property
    def firsts(self) -> np.ndarray:
        """The number of the first row of each part, and the number of all rows: int64."""
        size = self.settings.part_rows
        counts = [
            min(size, place.rows - start)
            for place in self.places
            for start in range(0, place.rows, size)
        ]
        return np.concatenate([[0], np.cumsum(np.array(counts, dtype=np.int64))]).astype(np.int64)

    @property
    def is_finished(self) -> bool:
        """Whether all that is made of these places was made, and no run has changed them since."""
        status = read_json_object(self.folder / STATUS) or {}
        return status.get("state") == READY and status.get("digest") == self.digest

    def forget_parts(self) -> None:
        """Look at the parts anew, after a change."""
        self.__dict__.pop("parts", None)
        self.__dict__.pop("firsts", None)
        self._tables.clear()

    def blocks(self) -> Iterator[tuple[np.ndarray, Float[np.ndarray, "rows projection"]]]:
        """Numbers of rows that a search can find, and their vectors in float32, part by part."""
        for first, part in zip(self.firsts, self.parts, strict=False):
            found = np.flatnonzero(part.states() == INDEXED)
            yield first + found, part.vectors()[found].astype(np.float32)

    def row(self, number: int) -> Row:
        """A row by its number in the index."""
        place = int(np.searchsorted(self.firsts, number, side="right")) - 1
        table = self._tables.pop(place, None) or self.parts[place].table()
        self._tables[place] = table
        if len(self._tables) > TABLES:
            # The one whose last use is longest ago.
            self._tables.pop(next(iter(self._tables)))
        return _row(table.slice(number - int(self.firsts[place]), 1).to_pylist()[0])

    def vectors_of(self, numbers: np.ndarray) -> Float[np.ndarray, "rows projection"]:
        """The vectors of some rows, in float32."""
        result = np.empty((len(numbers), self.settings.projection), dtype=np.float32)
        kind = np.dtype(self.settings.vectors)
        places = np.searchsorted(self.firsts, numbers, side="right") - 1
        for place in np.unique(places):
            chosen = np.flatnonzero(places == place)
            first, last = self.firsts[place : place + 2].tolist()
            inside = (numbers[chosen] - first).tolist()
            read = self.parts[place].read_vectors(inside, last - first, kind, result.shape[1])
            result[chosen] = read
        return result


class Part:
    """Up to `part_rows` rows of one place and their vectors."""

    def __init__(self, folder: Path, name: str) -> None:
        self.vector_path = folder / "parts" / f"{name}.npy"
        self.row_path = folder / "parts" / f"{name}.parquet"

    def exists(self) -> bool:
        """Whether it was written whole: its rows are written last."""
        return self.row_path.exists() and self.vector_path.exists()

    def write(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        """Write vectors `(rows, projection)` and rows."""
        buffer = io.BytesIO()
        np.save(buffer, vectors)
        write_atomically(self.vector_path, buffer.getvalue())
        columns = {
            name: pa.array([getattr(row, name) for row in rows], type=SCHEMA.field(name).type)
            for name in SCHEMA.names
        }
        self.write_table(pa.table(columns, schema=SCHEMA))

    def write_table(self, table: pa.Table) -> None:
        """Write the rows anew."""
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        write_atomically(self.row_path, buffer.getvalue())

    def vectors(self) -> np.ndarray:
        """All vectors `(rows, projection)`, read as they are needed; zeros for broken pictures."""
        try:
            return np.load(self.vector_path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise _damaged(self.vector_path, error) from error

    def read_vectors(
        self, numbers: Sequence[int], rows: int, kind: np.dtype, projection: int
    ) -> np.ndarray:
        """A few of its `rows` vectors, for which `vectors` would be slow."""
        size = kind.itemsize * projection
        try:
            with self.vector_path.open("rb", buffering=0) as file:
                # After a header of NumPy's format.
                start = os.fstat(file.fileno()).st_size - rows * size
                read = []
                for number in numbers:
                    file.seek(start + number * size)
                    read.append(file.read(size))
            return np.frombuffer(b"".join(read), dtype=kind).reshape(len(numbers), projection)
        except (OSError, ValueError) as error:
            raise _damaged(self.vector_path, error) from error

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows, with all columns or some."""
        try:
            return pq.ParquetFile(self.row_path).read(None if columns is None else list(columns))
        except (OSError, pa.ArrowException) as error:
            raise _damaged(self.row_path, error) from error

    def states(self) -> np.ndarray:
        """The state of each row."""
        return np.array(self.table(["state"]).column("state").to_pylist(), dtype=str)

    def faults(self) -> list[dict[str, str]]:
        """Place, key and fault of each sample that has one."""
        table = self.table(["key", "place", "fault"]).select(["place", "key", "fault"])
        return table.filter(table["fault"].is_valid()).to_pylist()

    def rows(self) -> list[Row]:
        """All rows."""
        return [_row(values) for values in self.table().to_pylist()]


def part_name(location: str, mark: str, number: int) -> str:
    """The name of a part of a place whose content has a mark."""
    return f"{fingerprint_json([location, mark])[:16]}-{number:05d}"


def _row(values: dict[str, Any]) -> Row:
    return Row(**{**values, "texts": tuple(values["texts"]), "state": cast(State, values["state"])})


def _damaged(path: Path, error: Exception) -> BlipError:
    return BlipError(
        f"{path} cannot be read ({type(error).__name__}); remove the index and build it again"
    )
