"""The programs that the documentation's shell blocks call, with tiny sizes and no other machine.

`python -m tests.support.docs_programs SOCKET` serves them: each call is a forked process with the
caller's folder, environment and streams, so that PyTorch is loaded once for all blocks.
"""

import argparse
import gc
import io
import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from importlib import import_module
from importlib.metadata import metadata
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen
from zipfile import ZipFile

from PIL import Image
from torch.distributed.run import get_args_parser

from blip.cli.main import main
from blip.data.sample import Sample
from blip.data.writers.shards import write_shards
from tests.support.docs_files import ROOT, downloads
from tests.support.docs_small import made_by, replaced, run_small_recipes, small
from tests.support.pictures import photo


class Call(NamedTuple):
    """What a stand-in program was called with."""

    words: list[str]
    """Without the name of the program."""
    server: str
    """The address of a server of pictures."""
    answer: Callable[[int], None]
    """Lets the caller go on, with this status."""


def blip(call: Call) -> int:
    """The real command, on small data; one process, even where Slurm names it one of several."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        os.environ.pop(name, None)
    words = small(call.words, call.server)
    if "--resume" in words:
        place = words.index("--resume") + 1
        words[place] = str(begun(Path(words[place])))
    made, listed = made_by(words), Path(os.environ["BLOCK_MADE"])
    known = listed.read_text().splitlines() if listed.exists() else []
    # Trainings into the same folder are alternatives; other commands add to what they made. The
    # demo is finished already.
    again = words[0] in ("pretrain", "finetune", "bootstrap") or str(made) not in known
    if made and again and made != Path("runs/demo"):
        shutil.rmtree(made, ignore_errors=True)
        listed.write_text("\n".join([*known, str(made)]))
    if words[0] == "serve" and "--help" not in words:
        return serve(words, call)
    return main(words) or 0


def begun(checkpoint: Path) -> Path:
    """The checkpoint of a training that is stopped as soon as it has written one."""
    out = checkpoint.parents[1]
    shutil.rmtree(out)
    words = ["pretrain", "base_14m", "--out", str(out), "--train.checkpoint_every", "1"]
    words = replaced(small(words, ""), {"--train.steps": "1000"})
    child = os.fork()
    if child == 0:
        try:
            main(words)
        finally:
            os._exit(1)
    while not list(checkpoint.parent.glob("step-????????")):
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended before its first checkpoint"
        time.sleep(0.02)
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
    return sorted(checkpoint.parent.glob("step-????????"))[-1]


def serve(words: list[str], call: Call) -> int:
    """Answer the caller as soon as the service is ready; it goes on until the next one begins."""
    place = Path(os.environ["BLOCK_SERVICE"])
    stop_service(place)
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place.write_text(f"{os.getpid()} {port}")
    # The streams of bash would stay open as long as the service runs.
    log = os.open(place.with_suffix(".log"), os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)

    def wait() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(URLError, OSError), urlopen(f"http://127.0.0.1:{port}/readyz") as reply:
                if reply.status == 200:
                    call.answer(0)
                    return
            time.sleep(0.02)
        call.answer(1)

    threading.Thread(target=wait, daemon=True).start()
    return main(replaced(words, {"--port": str(port)})) or 0


def stop_service(place: Path) -> None:
    if place.exists():
        with suppress(ProcessLookupError):
            os.kill(int(place.read_text().split()[0]), signal.SIGTERM)
        place.unlink()


def torchrun(call: Call) -> int:
    """One process in place of many; tests/dist has several."""
    args = get_args_parser().parse_args(call.words)
    assert args.module
    assert args.training_script == "blip"
    return blip(Call(args.training_script_args, call.server, call.answer))


def curl(call: Call) -> int:
    """The service listens at a port of its own here."""
    _, port = Path(os.environ["BLOCK_SERVICE"]).read_text().split()
    words = [re.sub(r"(?<=127\.0\.0\.1:)\d+", port, word) for word in call.words]
    return subprocess.call([os.environ["BLOCK_CURL"], "--fail-with-body", "-sS", *words])


def pip(call: Call) -> int:
    """Installs nothing, and knows our extras."""
    assert call.words[0] == "install"
    known = metadata("blip-capfilt").get_all("Provides-Extra") or []
    for extras in re.findall(r"blip-capfilt\[([\w,-]+)\]", " ".join(call.words)):
        assert {*extras.split(",")} <= {*known}, extras
    return 0


def make(call: Call) -> int:
    (target,) = call.words
    assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    return blip(Call(["demo"], call.server, call.answer)) if target == "demo" else 0


def git(call: Call) -> int:
    """`git ls-files -z PATTERN` in a folder that no repository holds."""
    *command, pattern = call.words
    assert command == ["ls-files", "-z"]
    print("\0".join(str(path) for path in sorted(Path().glob(pattern))), end="")
    return 0


def wget(call: Call) -> int:
    parser = argparse.ArgumentParser("wget")
    parser.add_argument("-P", type=Path, default=Path())
    parser.add_argument("urls", nargs="+")
    args = parser.parse_args(call.words)
    for url in args.urls:
        there = urlsplit(url)
        assert there.scheme in ("http", "https"), url
        name = Path(there.path).name
        args.P.mkdir(exist_ok=True)
        (args.P / name).write_bytes(downloads()[name])
    return 0


def unzip(call: Call) -> int:
    option, pattern = call.words
    assert option == "-q"
    for path in sorted(Path().glob(pattern)):
        with ZipFile(path) as archive:
            archive.extractall()
    return 0


def img2dataset(call: Call) -> int:
    """Reads the list as img2dataset would, and writes a shard of pictures of its own."""
    parser = argparse.ArgumentParser("img2dataset")
    for name in ("url_list", "input_format", "url_col", "caption_col", "output_folder"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--output_format", choices=["webdataset"], required=True)
    parser.add_argument("--resize_mode", choices=["keep_ratio"], required=True)
    parser.add_argument("--resize_only_if_bigger", choices=["True"], required=True)
    for name in ("image_size", "processes_count", "thread_count"):
        parser.add_argument(f"--{name}", type=int, required=True)
    args = parser.parse_args(call.words)
    rows = list(_rows(Path(args.url_list), args.input_format))
    assert rows
    samples = []
    for number, row in enumerate(rows):
        assert row[args.url_col].startswith("http"), row
        samples.append(
            Sample(f"{number:09d}", photo(number), (row[args.caption_col],), extension="png")
        )
    write_shards(samples, Path(args.output_folder), per_shard=2)
    return 0


def _rows(path: Path, form: str) -> Iterator[dict[str, str]]:
    text = path.read_text(encoding="utf-8")
    if form == "tsv":
        names, *lines = (line.split("\t") for line in text.splitlines())
        for line in lines:
            yield dict(zip(names, line, strict=True))
        return
    assert form == "json"
    data = json.loads(text)
    if isinstance(data, dict):
        # As pandas reads it: a column under each name.
        yield from (dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True))
    else:
        yield from data


def sbatch(call: Call) -> int:
    """Run the job at once: a script with the variables that it is given, or a command."""
    parser = argparse.ArgumentParser("sbatch")
    for name in ("export", "array", "gpus", "wrap"):
        parser.add_argument(f"--{name}")
    parser.add_argument("script", nargs="?")
    args = parser.parse_args(call.words)
    variables = {"SLURM_ARRAY_TASK_ID": "0", "SLURM_JOB_ID": "1", "SLURM_NTASKS": "1"}
    variables |= {"SLURM_JOB_NODELIST": "node1"}
    for pair in (args.export or "").split(",")[1:]:
        name, _, value = pair.partition("=")
        variables[name] = value
    command = ["bash", args.script] if args.script else ["bash", "-c", args.wrap]
    return subprocess.call(command, env={**os.environ, **variables})


def srun(call: Call) -> int:
    """One process, which joins no others."""
    command = call.words[next(i for i, word in enumerate(call.words) if word[0] != "-") :]
    variables = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    return subprocess.call(command, env={**os.environ, **variables})


def scontrol(call: Call) -> int:
    if call.words[0] == "show":
        print("node1")
    return 0


def ray(call: Call) -> int:
    """Reads the arguments as the real program does, and starts nothing."""
    from ray.scripts.scripts import cli

    command = cli.commands[call.words[0]]
    command.make_context(call.words[0], call.words[1:])
    return 0


def java(_call: Call) -> int:
    """METEOR's program, to which every caption is worth a half."""
    for line in sys.stdin:
        command, *parts = line.split(" ||| ")
        for _ in range(len(parts) + 1 if command == "EVAL" else 1):
            print("0.5", flush=True)
    return 0


PROGRAMS: dict[str, Callable[[Call], int]] = {
    program.__name__: program
    for program in (
        *(blip, torchrun, curl, pip, make, git, wget, unzip, img2dataset),
        *(sbatch, srun, scontrol, ray, java),
    )
}


def _forking(get_context: Callable[[str | None], Any], method: str | None = None) -> Any:
    return get_context("fork" if method == "spawn" else method)


class Handler(socketserver.BaseRequestHandler):
    """A call: its streams and a line of JSON come, the status goes back."""

    def handle(self) -> None:
        request, streams, _, _ = socket.recv_fds(self.request, 1 << 20, 3)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False))  # noqa: SIM115
        said = json.loads(request)
        os.chdir(said["folder"])
        os.environ.clear()
        os.environ.update(said["environ"])
        assert isinstance(self.server, Programs)
        call = Call(said["words"], self.server.pictures, self._answer)
        try:
            status = PROGRAMS[said["program"]](call)
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
        self._answer(status)

    def _answer(self, status: int) -> None:
        with suppress(OSError):
            self.request.sendall(bytes([status & 255]))


class Programs(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    """Forks a process for each call."""

    max_children = 1000

    def __init__(self, path: str) -> None:
        super().__init__(path, Handler)
        self.pictures = _serve_pictures()


def _serve_pictures() -> str:
    """The address of a server that has one picture under every name."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "green").save(buffer, "JPEG")
    content = buffer.getvalue()

    class Picture(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Quietly."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Picture)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/"


IMPORTED = (
    *("torch._dynamo", "blip.bootstrap", "blip.capfilt.job", "blip.evaluation.visdial"),
    *("blip.index.search", "blip.inference.discussion", "blip.serve.run", "blip.tasks.visdial"),
    *("av", "faiss", "pandas"),
)
"""What many calls would import, each for itself."""

if __name__ == "__main__":
    for module in IMPORTED:
        import_module(module)
    run_small_recipes()
    # Workers that would start anew, and import all of it again, are forked, too.
    multiprocessing.get_context = partial(_forking, multiprocessing.get_context)
    # A search for garbage in a fork would copy every page that it looks at.
    gc.collect()
    gc.freeze()
    with Programs(sys.argv[1]) as programs:
        print("ready", flush=True)
        programs.serve_forever(poll_interval=0.05)
