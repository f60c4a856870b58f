"""A service under load: 200 clients at once, each answer checked against a direct call.

    python benchmarks/serve.py [--clients 200] [--seconds 60] [--small] [--save]

The model has the parts of BLIP at the size of the demo's, and random weights. The service is a
process of its own, `blip serve`, at its defaults; the clients share another one and send a picture
each, over and over: captions (greedy), matches and features in turn. First one client sends one
request after another; then all clients do so together. Every answer is compared with what the
model answers to a direct call: an answer that differs is mixed up, one that does not come is lost.
429 is neither: the client comes again, as the service says. The last line is one JSON object.
"""

import argparse
import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from machine import Speedometer, describe
from PIL import Image
from report import save

import blip
from blip.data.tokenizer import Tokenizer
from blip.model.config import ModelConfig, TextConfig, VisionConfig
from blip.processes import most_memory

SIZES = ModelConfig(
    vision=VisionConfig(image_size=64, patch_size=8, width=128, depth=4, heads=4),
    text=TextConfig(
        vocabulary_size=1, width=128, depth=4, heads=4, mlp_width=512, positions=64, dropout=0.0
    ),
    projection=64,
)
WORDS = "a red circle above two small blue stars on a green ground"
TEXTS = ["a red circle", "two blue stars"]
PICTURES = 50
TOKENS = 12
CLOSE = 1e-4
"""How far a number may be from that of the direct call: sums of a batch come in another order."""


@dataclass
class Outcome:
    """What became of the requests of some clients."""

    seconds: list[float] = field(default_factory=list[float])
    mixed: int = 0
    lost: int = 0
    refused: int = 0
    elapsed: float = 0.0
    """Seconds until the last answer came."""


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the load")
    parser.add_argument("--small", action="store_true", help="few and short, to try it")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/serve.txt")
    args = parser.parse_args()
    if args.small:
        args.clients, args.seconds = 8, 1.0
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = make_checkpoint(Path(folder))
        requests = make_requests(blip.load(checkpoint, "cpu"))
        speed = Speedometer(torch.device("cpu"), torch.float32)
        speed.measure()
        with served(checkpoint) as (address, process):
            one = asyncio.run(load(address, requests, 1, min(10.0, args.seconds)))
            peaks = [peak_megabytes(process)]
            many = asyncio.run(load(address, requests, args.clients, args.seconds))
            peaks.append(peak_megabytes(process))
        speed.measure()
    result = {
        "one": {**summary(one), "peak_megabytes": peaks[0]},
        "many": {"clients": args.clients, **summary(many), "peak_megabytes": peaks[1]},
        "gflop_per_second": round(speed.operations_per_second / 1e9, 1),
        "gbyte_per_second": round(speed.bytes_per_second / 1e9, 1),
    }
    rates = [result[name]["requests_per_second"] for name in ("many", "one")]
    result["ratios"] = {"many_vs_one": round(rates[0] / rates[1], 2)}
    result |= describe(torch.device("cpu"), torch.float32, ("fastapi", "uvicorn"))
    line = json.dumps(result)
    print(line)
    if args.save:
        save(line, "serve.txt")
    return 1 if one.mixed + one.lost + many.mixed + many.lost else 0


def make_checkpoint(folder: Path) -> Path:
    """A model with random weights that says different things of different pictures."""
    tokenizer = Tokenizer.train([WORDS], vocabulary_size=120)
    torch.manual_seed(0)
    text = replace(SIZES.text, vocabulary_size=tokenizer.vocabulary_size)
    model = blip.Blip(replace(SIZES, text=text))
    for layer in model.text.text_layers():
        for read in layer.cross("causal").attentions:
            torch.nn.init.normal_(read.key_value.weight, std=0.5)
    blip.save_model(model, tokenizer, folder)
    return folder


def make_requests(model: blip.LoadedModel) -> list[tuple[str, bytes, dict[str, Any], Any]]:
    """Path, picture, fields, and the answer of a direct call."""
    decoding = blip.DecodingConfig(kind="greedy", max_length=TOKENS)
    requests: list[tuple[str, bytes, dict[str, Any], Any]] = []
    for seed in range(PICTURES):
        pixels = np.random.default_rng(seed).integers(0, 255, (80, 100, 3), dtype=np.uint8)
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG")
        picture = buffer.getvalue()
        caption = model.caption(picture, decoding)
        scores = [tuple(score) for score in model.match(picture, TEXTS)]
        fields = {"decode": "greedy", "max_length": str(TOKENS)}
        requests += [
            ("caption", picture, fields, caption),
            ("match", picture, {"texts": TEXTS}, scores),
            ("features", picture, {}, model.image_features(picture).tolist()),
        ]
    return requests


@contextmanager
def served(checkpoint: Path) -> Iterator[tuple[str, int]]:
    """The address and the number of the process of a service."""
    command = [sys.executable, "-m", "blip", "serve", str(checkpoint), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["address"], process.pid
        finally:
            process.terminate()


def peak_megabytes(process: int) -> float | None:
    """The most memory that a process has had so far; None where the system does not say."""
    peak = most_memory(process)
    return None if peak is None else round(peak / 1e6, 1)


async def load(address: str, requests: list[Any], clients: int, seconds: float) -> Outcome:
    """What becomes of the requests that some clients send for some seconds."""
    async with AsyncExitStack() as opened:
        # A connection pool of each its own: looking for a free connection in one of 200 took longer
        # than the service's answers.
        connected = [
            await opened.enter_async_context(
                httpx.AsyncClient(base_url=address, timeout=60, trust_env=False, verify=False)
            )
            for _ in range(clients)
        ]
        outcome, begun = Outcome(), time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, client in enumerate(connected):
                first = number % len(requests)
                own = itertools.cycle([*requests[first:], *requests[:first]])
                group.create_task(send(client, own, begun + seconds, outcome))
        outcome.elapsed = time.monotonic() - begun
    return outcome


async def send(
    client: httpx.AsyncClient, requests: Iterator[Any], until: float, outcome: Outcome
) -> None:
    """One client: a request after the other."""
    for path, picture, fields, expected in requests:
        if time.monotonic() > until:
            return
        begun = time.monotonic()
        try:
            answer = await client.post(f"/v1/{path}", files={"image": picture}, data=fields)
        except httpx.HTTPError:
            outcome.lost += 1
            continue
        if answer.status_code == 429:
            outcome.refused += 1
            await asyncio.sleep(float(answer.headers["retry-after"]))
        elif answer.status_code != 200:
            outcome.lost += 1
        else:
            outcome.seconds.append(time.monotonic() - begun)
            outcome.mixed += not is_right(path, answer.json(), expected)


def is_right(path: str, answer: dict[str, Any], expected: Any) -> bool:
    """Whether an answer is that of the direct call."""
    if path == "caption":
        return answer["captions"][0]["text"] == expected
    if path == "match":
        found = [(score["probability"], score["cosine"]) for score in answer["scores"]]
        return bool(np.allclose(found, expected, atol=CLOSE))
    return bool(np.allclose(answer["image"], expected, atol=CLOSE))


def summary(outcome: Outcome) -> dict[str, Any]:
    """Rates and times of an outcome."""
    p50, p99 = np.percentile(outcome.seconds or [float("nan")], (50, 99))
    return {
        "seconds": round(outcome.elapsed, 1),
        "requests": len(outcome.seconds),
        "requests_per_second": round(len(outcome.seconds) / outcome.elapsed, 1),
        "p50_milliseconds": round(float(p50) * 1e3, 1),
        "p99_milliseconds": round(float(p99) * 1e3, 1),
        "mixed": outcome.mixed,
        "lost": outcome.lost,
        "refused": outcome.refused,
    }


if __name__ == "__main__":
    sys.exit(main())
