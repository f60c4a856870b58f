"""A workshop of files, command lines that use them, and mistakes and damage to both."""

import argparse
import errno
import io
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from unittest.mock import patch

from hypothesis import strategies as st

from blip.capfilt.engine.local import InlineEngine
from blip.cli.main import VERBS, actions_of, main, make_parser
from blip.errors import StoppedError
from tests.support.command_files import chdir

STATUSES = {0, 1, 2, 130}
NUMBERS = [
    *("0", "-1", "1", "2", "0.5", "nan", "inf", "-inf", "1e999", "1e-308", "-0.0", "1e3"),
    *("100000", "9" * 30, "9" * 5000, "0x10", "1_0", "\u0661", "\u00b2", " 3", "1,5", "5%", "NaN%"),
]
TEXTS = [
    *(
        "",
        " ",
        "none",
        "None",
        "auto",
        "true",
        "all",
        "best-0",
        "best-1",
        "en",
        "a",
        "-",
        "--",
        "=x",
    ),
    *(
        "\udcff",
        "\x00",
        "a\nb",
        "\x1b[31m",
        "\u7ea2",
        "e\u0301",
        "x" * 5000,
        "{",
        "}",
        "[",
        "[" * 5000,
    ),
    *(
        '{"a": 1}',
        "[]",
        '["a"]',
        '{"__class__": 1}',
        "null",
        "cuda:9",
        "cuda:",
        "foo",
        "cpu",
        "mps",
    ),
    *("%s", "%(prog)s", "{0}", "$HOME", "`id`", "*", "?", "[", "**", "@file", "recutt", "help"),
]
PLACES = [
    *(".", "..", "absent", "~", "~nosuchuser", "~nosuchuser/x", "x/{0..", "x/}{", "{a,b", "{0..9}"),
    *("{0..99999999999}", "s3:", "s3://", "ftp://a/b", "pipe:false", "pipe:", "file://x", "http:"),
    *("/dev/null", "/proc/self/mem", "hf:", "hf:a/b", "original:", "original:x"),
    *("model", "model/config.json", "model/model.safetensors", "photos", "photos/p.png", "shards"),
    *("shards/*.tar", "shards/{a,b}.tar", "table.csv", "table.tsv", "list.json", "rows.jsonl"),
    *("deep.json", "latin.txt", "empty.tar", "broken.png", "broken.json", "number.json", "job"),
    *(
        "job/config.json",
        "job/ledger",
        "labels.csv",
        "loop",
        "noread",
        "out",
        "pictures",
        "pictures/parts",
        "new",
        "x" * 300,
    ),
]
ENVIRONMENT = {
    "HOME": ["/nonexistent", "/proc", "."],
    "BLIP_CACHE": ["", " ", "/dev/null/x", "/proc/x", "cache", "~nosuchuser", "\udcff"],
    "TMPDIR": ["/nonexistent", ""],
    "RANK": ["", "x", "-1", "0"],
    "WORLD_SIZE": ["", "x", "0"],
    "LOCAL_RANK": ["x"],
    "COLUMNS": ["", "0", "-5", "x", "1", "9" * 20],
    "TERM": ["dumb", ""],
    "NO_COLOR": ["1"],
    "BLIP_TRACEBACK": [""],
    "CUDA_VISIBLE_DEVICES": ["", "x"],
}


class Full(io.RawIOBase):
    """A stream whose disk is full, or whose reader has left."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise OSError(self.number, os.strerror(self.number))


def full(number: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(Full(number)), "utf-8")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {
    "as it is": lambda: io.TextIOWrapper(io.BytesIO(), "utf-8"),
    "ascii": lambda: io.TextIOWrapper(io.BytesIO(), "ascii"),
    "latin-1": lambda: io.TextIOWrapper(io.BytesIO(), "latin-1"),
    "closed": closed,
    "absent": lambda: None,
    "full": lambda: full(errno.ENOSPC),
    "left": lambda: full(errno.EPIPE),
    "bad": lambda: full(errno.EBADF),
}


@dataclass(frozen=True)
class Run:
    """A command line and what it finds around it."""

    words: list[str]
    environment: dict[str, str] = dataclass_field(default_factory=dict)
    stdout: str = "as it is"
    stderr: str = "as it is"


def commands() -> list[str]:
    return [*VERBS, *(f"{verb} {action}" for verb in VERBS for action in actions_of(verb))]


def arguments_of(parser: argparse.ArgumentParser) -> Iterator[tuple[list[str], argparse.Action]]:
    """Every argument of a command, with the words that come before it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from (([name, *words], one) for words, one in arguments_of(below))
        elif not isinstance(action, argparse._HelpAction):
            yield [], action


TYPED = st.text(max_size=8).filter(lambda text: text[:1] not in "/~" and "pipe" not in text)
"""Nothing that names a place outside of the workshop."""


WORKING = [
    "caption model photos/p.png --device cpu",
    "caption model photos --write txt --json --device cpu --batch-size 1",
    "caption model photos --decode nucleus --top-p 0.9 --seed 1 --device cpu",
    "match model photos/p.png red --device cpu",
    "match model photos red --json --device cpu",
    "ask vqa photos/p.png what? --device cpu",
    "ask vqa photos/p.png what? --answers answers.txt --candidates 2 --json --device cpu",
    "compare nlvr photos/p.png photos/q.jpg 'a red square' 'two' --json --device cpu",
    "convert model new",
    "convert model new --to hf --task caption",
    "convert model new.pth --to original",
    "convert model new --image-size 48 --tokenizer model/tokenizer.json",
    "capfilt --captioner model --filter model --data shards --out new --device cpu",
    "capfilt --captioner model --filter model --data photos --out new --device cpu --write texts",
    "capfilt --captioner model --filter model --data table.csv --out new --rows 1 --max-bad 50%",
    "capfilt --captioner model --filter model --data shards --out new --dry-run --device cpu",
    "capfilt job/config.json --out new",
    "capfilt recut job --out new --threshold 0.1 --keep best-1 --min-words 1",
    "capfilt recut job --out new --write texts --unique-texts --unique-images 2",
    "capfilt calibrate job --labels labels.csv --target-precision 0.5",
    "capfilt report job --data shards",
    "data pack photos new --per-shard 1",
    "data pack table.csv new --images .",
    "data pack list.json new --images . --overwrite",
    "data inspect shards --json",
    "data index shards --cache cache --json",
    "data scenes new --web 10 --noise 0.5",
    "demo --out new --seed 1",
    "bootstrap scenes_test --out new --rounds 2",
    "bootstrap scenes_test --out loop",
    "pretrain tiny.json --out new --train.steps 2",
    "pretrain base --out new --data.sources shards --vision_weights none --text_weights none",
    "finetune captioner coco --init model --out new --data.sources shards --data.max_tokens 20",
    "finetune filter coco --init model --out new --data.sources shards --data.max_tokens 9",
    "evaluate model --data shards --json",
    "index photos shards table.csv --out new --checkpoint model --device cpu",
    "index shards --out pictures --remove photos --device cpu",
    "index --out pictures --remove-keys p",
    "search pictures red --json --device cpu",
    "search pictures red --html new.html --results 1 --device cpu",
    "search pictures --image photos/p.png --device cpu",
    "search pictures --duplicates --threshold 0.5",
]
"""Command lines that do something in the workshop, each a start for mistakes."""


def values() -> st.SearchStrategy[str]:
    return st.one_of(
        st.sampled_from(PLACES), st.sampled_from(NUMBERS), st.sampled_from(TEXTS), TYPED
    )


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """One that works, with up to three mistakes: a word replaced, left out, or an option added."""
    words = draw(st.sampled_from(WORKING)).split()
    command = " ".join(words[:2]) if " ".join(words[:2]) in commands() else words[0]
    options = [action for _, action in arguments_of(make_parser(command)) if action.option_strings]
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(1, len(words)))
        match draw(st.sampled_from(["replace", "replace", "remove", "option", "option", "key"])):
            case "replace" if place < len(words):
                words[place] = draw(values())
            case "remove" if place < len(words):
                del words[place]
            case "option" if options:
                action = draw(st.sampled_from(options))
                allowed = [str(choice) for choice in action.choices or () if choice != "ray"]
                words.append(action.option_strings[0])
                if action.nargs != 0:
                    words.append(draw(st.sampled_from(allowed) | values() if allowed else values()))
            case "key":
                key = draw(st.sampled_from(KEYS) | TYPED)
                words += [f"--{key}", *([draw(values())] if draw(st.booleans()) else [])]
    return words


KEYS = [
    *(
        "train.steps",
        "train.optimizer.lr",
        "train.optimizer.betas",
        "data",
        "data.sources",
        "data.x",
    ),
    *("data.sources.0", "data.sources.0.weight", "data.sources.99.weight", "model.vision.width"),
    *(
        "pretrain.steps",
        "noise_kinds",
        "noise_kinds.price_or_seo",
        "synthesis.top_k",
        "seed",
        "",
        ".",
    ),
    *("data.image.crop_scale", "validation.shards", "validation", "web", "human", "shapes", "..."),
]


@st.composite
def runs(draw: st.DrawFn) -> Run:
    names = draw(st.lists(st.sampled_from(sorted(ENVIRONMENT)), max_size=2, unique=True))
    usual = st.just("as it is")
    return Run(
        draw(command_lines()),
        {name: draw(st.sampled_from(ENVIRONMENT[name])) for name in names},
        draw(st.one_of(usual, usual, usual, st.sampled_from(sorted(STREAMS)))),
        draw(st.one_of(usual, usual, usual, st.sampled_from(sorted(STREAMS)))),
    )


@dataclass(frozen=True)
class Spoil:
    """Damage to one file of the workshop, the n-th that the pattern finds."""

    pattern: str
    number: int
    how: str
    at: float
    content: bytes

    def carry_out(self, folder: Path) -> None:
        found = sorted(path for path in folder.glob(self.pattern) if path.is_file())
        path = found[self.number % len(found)]
        whole = path.read_bytes()
        place = int(self.at * len(whole))
        match self.how:
            case "cut":
                path.write_bytes(whole[:place])
            case "insert":
                path.write_bytes(whole[:place] + self.content + whole[place:])
            case "replace":
                path.write_bytes(whole[:place] + self.content + whole[place + len(self.content) :])
            case "fill":
                path.write_bytes(self.content)
            case "folder":
                path.unlink()
                path.mkdir()
            case "remove":
                path.unlink()


def spoils() -> st.SearchStrategy[Spoil]:
    return st.builds(
        Spoil,
        st.sampled_from(["model/*", "vqa/*", "photos/*", "shards/*", "job/**/*", "*.*"]),
        st.integers(0, 30),
        st.sampled_from(["cut", "insert", "replace", "replace", "fill", "folder", "remove"]),
        st.floats(0, 1),
        st.binary(max_size=6) | st.sampled_from([b"null", b"[]", b"{}", b'"', b"NaN", b"9" * 30]),
    )


def carry_out(run: Run) -> tuple[int, str]:
    """The exit status and all that was written, of a command in this process."""
    streams = {name: STREAMS[getattr(run, name)]() for name in ("stdout", "stderr")}
    kept = [stream.buffer for stream in streams.values() if isinstance(stream, io.TextIOWrapper)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HOME": str(Path.cwd()), **run.environment}
    with (
        patch.dict(os.environ, environment, clear=True),
        patch.multiple(sys, stdin=io.StringIO(), **streams),
        warnings.catch_warnings(),
        patch("blip.capfilt.engine.choose.LocalEngine", lambda workers: InlineEngine()),
        patch("blip.data.scenes.write.write_splits", lambda *_, **__: {}),
        patch("blip.stage.Stage.run", stopped),
        patch("blip.tasks.run.fit", stopped),
    ):
        warnings.simplefilter("ignore")
        status = main(run.words)
    written = b"".join(one.getvalue() for one in kept if isinstance(one, io.BytesIO))
    return status, written.decode("utf-8", "replace")


def stopped(*_: object, **__: object) -> None:
    """In the place of hours of training, whose arguments have been accepted."""
    raise StoppedError("stopped", status=0)


def check(run: Run, workshop: Path, folder: Path, spoil: Spoil | None = None) -> None:
    place = folder / "here"
    shutil.copytree(workshop, place, symlinks=True)
    try:
        if spoil is not None:
            spoil.carry_out(place)
        with chdir(place):
            status, written = carry_out(run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert status in STATUSES
    assert "Traceback" not in written
    assert "failed unexpectedly" not in written
    if status == 2 and run.stderr == "as it is":
        assert written.splitlines()[-1].startswith("blip: error: "), written
