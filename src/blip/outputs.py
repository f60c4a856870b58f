"""Which files a run may write: never an input, never what another run or a person made."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blip.errors import UsageError
from blip.files import CHECKSUMS, read_json_object, to_utf8, write_json
from blip.places import home_path, real_path

MARKER = ".blip.json"
"""A file in every folder that a run writes to; it says which kind of run made the folder."""
FORMAT = 1
WEIGHTS, MOMENTUM, SIZES = "model.safetensors", "momentum.safetensors", "config.json"
TRAINING_STATE = "training.pt"
EXPORTED = "onnx.json"
"""The file of an exported folder that says what its graphs are."""
CHECKPOINT = (WEIGHTS, MOMENTUM, SIZES, "tokenizer.json", TRAINING_STATE, CHECKSUMS)
"""The files of a checkpoint, of a finished run or of one in training.

`model.checkpoint.written` writes weights and sizes, `data.tokenizer` the tokenizer,
`train.checkpoint` the state of a training and the checksums.
"""
TRAINING = (
    "config.json",
    "metrics.jsonl",
    "bad_samples*.jsonl",
    "wandb-id.txt",
    *(f"checkpoint/{name}" for name in CHECKPOINT),
    *(f"checkpoints/step-*/{name}" for name in CHECKPOINT),
    "samples/step-*.png",
    "tensorboard/events.*",
)
CAPFILT = (
    "config.json",
    "recut.json",
    "summary.json",
    "status.json",
    "timing.json",
    "report.html",
    "shards/*.tar",
    "shards/sizes.json",
    "texts/*.parquet",
    "ledger/*.parquet",
    "done/*.json",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of run: its name, its command, and glob patterns of all files that it writes."""

    name: str
    command: str
    files: tuple[str, ...]
    can_change: bool = False
    """Whether an unfinished run may resume with another configuration."""

    @property
    def tops(self) -> tuple[str, ...]:
        """The files and folders among these that lie in the run's folder itself."""
        return tuple(dict.fromkeys(pattern.partition("/")[0] for pattern in self.files))


def training_kind(name: str, command: str) -> Kind:
    """The kind of a training run: all of them write the same files."""
    return Kind(name, command, TRAINING, can_change=True)


JOB = Kind("capfilt", "blip capfilt", CAPFILT)
RECUT = Kind("recut", "blip capfilt recut", CAPFILT)
PACK = Kind(
    "pack", "blip data pack", ("[0-9]*.tar", ".[0-9]*.tar.part", "sizes.json", ".pack.json")
)
INDEX = Kind("index", "blip data index", ("index.json", "shards/*.tar"))
SEARCH_INDEX = Kind(
    "search index",
    "blip index",
    (
        *("config.json", "places.json", "status.json", "faults.jsonl", "index.faiss"),
        *("parts/*.npy", "parts/*.parquet"),
    ),
)
CALIBRATION = Kind(
    "calibration",
    "blip capfilt calibrate",
    tuple(f"calibration.{end}" for end in ("json", "svg", "md")),
)
SCENES = Kind(
    "scenes",
    "blip data scenes",
    (
        "config.json",
        *(f"{s}/*.tar" for s in ("human", "web", "val", "test")),
        "clips/videos.parquet",
        "clips/test_qa.json",
    ),
)
TOKENIZER = Kind(
    "tokenizer", "blip bootstrap", ("config.json", "tokenizer.json", "vocabulary.json")
)
EVALUATION = Kind(
    "evaluation",
    "blip evaluate",
    (
        *("config.json", "evaluation.json", "captions.json"),
        *("answers.json", "ranks.json", "predictions.csv"),
    ),
)
BOOTSTRAP = Kind(
    "bootstrap",
    "blip bootstrap",
    (
        "config.json",
        "summary.json",
        "report.html",
        *(f"{folder}/*" for folder in ("data", "tokenizer", "baseline", "round-*")),
    ),
)


LEFTOVERS = tuple(
    f".{name}.{'[0-9a-f]' * 8}.part"
    for name in (
        *(MARKER, "config.json", "metrics.jsonl", "recut.json", "summary.json", "status.json"),
        *("timing.json", "report.html", "evaluation.json", "done.json", ".begun.json"),
        *("captions.json", "answers.json", "ranks.json", "predictions.csv"),
        *("sizes.json", "README.md", ".pack.json"),
        *("places.json", "faults.jsonl", "index.faiss"),
    )
)
"""Temporary files that a killed process can leave in a run's folder, or beside shards."""


def refuse_inputs_as_output(
    inputs: Iterable[str | Path], out: Path, kind: Kind | None = None
) -> None:
    """Raise UsageError where writing to `out` could replace an input.

    An input must not be `out` itself, nor lie where a run of this `kind` writes its files below
    `out`. Paths are resolved first: links, `.` and `..`, and two names of one file. URLs and
    commands are never outputs.
    """
    places = [place for given in inputs for place in _places(given)]
    target = real_path(home_path(str(out)))
    tops = () if kind is None else kind.tops
    written = [path for top in tops for path in (target / top, *target.glob(top))]
    for given, place in places:
        if place == target or any(place.is_relative_to(path) for path in written):
            raise UsageError(_refusal(given, out))
    names = {_identity(place): given for given, place in places if place.is_file()}
    for path in (file for one in [target, *written] for file in _files(one, inside=one != target)):
        given = names.get(_identity(path))
        if given is not None:
            raise UsageError(_refusal(given, path))


def claim(out: Path, kind: Kind, is_ours: Callable[[], bool] = lambda: False) -> None:
    """Mark a folder as belonging to a kind of run, which may then write and replace its files.

    A folder that this kind of run has marked before is accepted. Raises UsageError if another
    kind of run made it, or if it holds a file of a name that this run would write, unless
    `is_ours` recognises the folder as one of an earlier version. All other files stay.
    """
    found = read_marker(out)
    if found is not None:
        if found.get("kind") != kind.name:
            raise UsageError(
                f"{out} was made by {_command(found)}, not by `{kind.command}`; "
                "choose another folder"
            )
        return
    there = sorted(path.name for path in _existing(out, kind.tops))
    if there and not is_ours():
        raise UsageError(
            f"{out} holds {_listed(there)}, which `{kind.command}` did not make "
            f"(there is no {MARKER}); move them away, or choose another folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / MARKER, {"kind": kind.name, "command": kind.command, "format": FORMAT})


def read_marker(folder: Path) -> dict[str, Any] | None:
    """The content of a folder's marker; None where it has none."""
    return read_json_object(folder / MARKER)


def remove_known(folder: Path, files: Iterable[str]) -> None:
    """Remove files that match the patterns, then folders that are left empty; the rest stays.

    Links below `folder` are removed where they match, and never followed. config.json goes last:
    while it is there, a command that was stopped and is given again sees that what is left belongs
    to an old run.
    """
    files, emptied = tuple(files), set[Path]()
    configuration = folder / "config.json"
    found = {path for pattern in files for path in folder.glob(pattern)}
    for path in sorted(found - {configuration}):
        between = [parent for parent in path.parents if folder in parent.parents]
        if any(parent.is_symlink() for parent in between):
            continue
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
            emptied.update(between)
    # Those of an earlier removal, too, which was stopped before it came to them.
    emptied.update(_known_folders(folder, files))
    for parent in sorted(emptied, key=lambda path: -len(path.parts)):
        if not any(parent.iterdir()):
            parent.rmdir()
    if configuration in found:
        configuration.unlink(missing_ok=True)


def check_unchanged(
    path: Path, content: bytes | str, *, overwrite: bool, option: str = "--out"
) -> None:
    """Raise UsageError where other content would replace a finished result without `overwrite`.

    `option` is the one that names the place.
    """
    new = to_utf8(content) if isinstance(content, str) else content
    refuse_folder(path, option)
    if overwrite or not path.exists() or (path.is_file() and path.read_bytes() == new):
        return
    raise UsageError(
        f"{path} already exists and has other content; --overwrite replaces it, another {option} "
        "keeps both"
    )


def refuse_folder(path: Path, option: str = "--out") -> None:
    """Raise UsageError where a folder lies in the place of a file that is to be written."""
    if path.is_dir():
        raise UsageError(
            f"{path} is a folder, where a file is to be written; move it away, or choose another "
            f"{option}"
        )


def _known_folders(folder: Path, files: Iterable[str]) -> Iterator[Path]:
    """The folders below `folder` in which files of these patterns lie; no links."""
    for pattern in files:
        parts = pattern.split("/")[:-1]
        for depth in range(len(parts)):
            for path in folder.glob("/".join(parts[: depth + 1])):
                between = (path, *(one for one in path.parents if folder in one.parents))
                if path.is_dir() and not any(one.is_symlink() for one in between):
                    yield path


def _places(given: str | Path) -> Iterator[tuple[str, Path]]:
    """The paths of an input: what a link leads to, and the link, which a rename would replace."""
    text = str(given).removeprefix("file://")
    if "://" in text or text.startswith("pipe:"):
        return
    path = home_path(text)
    if path.exists():
        yield text, real_path(path)
        yield text, real_path(path.parent) / path.name


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _files(path: Path, *, inside: bool) -> Iterator[Path]:
    """A file, or the files in a folder."""
    if path.is_file():
        yield path
    elif inside and path.is_dir():
        yield from (file for file in path.iterdir() if file.is_file())


def _refusal(given: str, place: Path) -> str:
    return (
        f"the output {place} would replace the input {given}; choose another place for the output"
    )


def _existing(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    """The files and folders of some names that exist; empty folders do not count."""
    for name in names:
        for path in folder.glob(name):
            if not path.is_dir() or any(path.iterdir()):
                yield path


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _command(marker: dict[str, Any]) -> str:
    command = marker.get("command")
    return f"`{command}`" if isinstance(command, str) else "another program"
