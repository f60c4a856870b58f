"""Operations that would each be a launch on a GPU, beside transformers', counted without one.

    python benchmarks/launches.py [--small] [--save] [--names] [--compiled]

Models of the published depth (narrow ones: width changes no count), and images and texts as many
and as long as in `inference.py`, on a stand-in for a GPU. What torch dispatches is counted, views
and allocations aside, and so is whatever makes the host wait for a value of the device. Per decoded
token: what one more token of four captions costs (greedy, nucleus, beam search with three beams;
the worst counts). Per match: 32 texts against the states of an image. Per encoded batch: four
images. Ratios are ours over transformers'. With `--compiled` also the kernels that a token, a match
and an encoded batch cost where inductor has compiled them: those that it writes, and the products
and attention that it leaves to libraries; their ratios are to transformers' launches that are not
compiled. That takes minutes. The last line is one JSON object.
"""

import argparse
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from compiled import Kernels, count_compiled, count_compiled_encode, count_compiled_match
from machine import describe
from report import print_and_save
from rich.console import Console
from rich.table import Table
from stand_in import DEVICE, StandInDevice, stand_in_device

from blip.generation.config import DecodingConfig
from inference import BASE, DECODINGS, SMALL, Bench

NARROW = replace(
    SMALL,
    vision=replace(SMALL.vision, depth=BASE.vision.depth),
    text=replace(SMALL.text, depth=BASE.text.depth),
)
FEW, MANY = 8, 18
"""New tokens of two runs; their difference is what a token costs."""


class Count(NamedTuple):
    """What some work costs."""

    launches: float
    reads: float
    by_name: Counter[str]


def main() -> int:
    """Count, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny models: does it run, and agree?")
    parser.add_argument(
        "--save", action="store_true", help="write the result to benchmarks/results"
    )
    parser.add_argument("--names", action="store_true", help="list the operations of each case")
    parser.add_argument("--compiled", action="store_true", help="compile decoding steps, too")
    args = parser.parse_args()
    # The peer's own warnings, about arguments that this model does not read.
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    config = SMALL if args.small else NARROW
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(config, torch.device("cpu"), torch.float32, Path(folder))
    same = bench.agree()
    compiled = dict[str, tuple[Kernels, Kernels]]()
    if args.compiled:
        compiled = count_compiled(bench) | {
            "match": count_compiled_match(bench),
            "encode": count_compiled_encode(bench),
        }
    with torch.inference_mode(), stand_in_device() as device:
        expected = results(bench)
        counts = count_all(bench, device)
        same |= {f"{name}_on_device": found for name, found in agree(bench, expected).items()}
    console = Console(width=118, record=True)
    result = summary(counts) | {"same_results": same}
    add_compiled(result, compiled)
    result |= describe(torch.device("cpu"), torch.float32, ("torch", "transformers"))
    show(console, counts, result, names=args.names)
    print_and_save(result, console, "launches.txt" if args.save else None)
    return 0


def results(bench: Bench) -> dict[str, Any]:
    """What ours makes of each case."""
    made: dict[str, Any] = {name: bench.write(decoding) for name, decoding in DECODINGS.items()}
    return made | {"match": bench.match()}


def agree(bench: Bench, expected: dict[str, Any]) -> dict[str, bool]:
    """Whether ours makes the same on the device as on the CPU: texts, and numbers to 1e-5."""
    found = results(bench)
    same = {name: found[name] == expected[name] for name in DECODINGS}
    numbers = zip(found["match"], expected["match"], strict=True)
    return same | {"match": all(abs(one - other) < 1e-5 for one, other in numbers)}


def count_all(bench: Bench, device: StandInDevice) -> dict[str, tuple[Count, Count]]:
    """Ours and the peer's cost of each case."""
    models = (bench.captioner.model, bench.matcher.model)
    peers = (bench.peer_captioner.peer, bench.peer_matcher.peer)
    for model in (*models, *peers):
        device.move(model)
    bench.images = bench.images.to(DEVICE)
    bench.encoded = bench.encoded.to(DEVICE)
    counts: dict[str, tuple[Count, Count]] = {}
    for name, decoding in DECODINGS.items():
        counts[name] = (
            per_token(device, bench.write, decoding),
            per_token(device, lambda d: bench.peer_captioner.caption(bench.images, d), decoding),
        )
    image, texts, peer = bench.images[0], bench.texts, bench.peer_matcher
    states = bench.matcher.model.encode_image(image[None])
    counts["match"] = (
        count(device, lambda: bench.match_states(states)),
        count(device, lambda: peer.match_probabilities(states, texts)),
    )
    counts["encode"] = (
        count(device, lambda: bench.captioner.model.encode_image(bench.images)),
        count(device, lambda: bench.peer_captioner.peer.vision_model(bench.images)),
    )
    return counts


def per_token(
    device: StandInDevice, write: Callable[[DecodingConfig], Any], decoding: DecodingConfig
) -> Count:
    """What one more token of every caption costs."""
    few, many = (
        count(device, lambda n=n: write(replace(decoding, min_length=1 + n, max_length=1 + n)))
        for n in (FEW, MANY)
    )
    steps = MANY - FEW
    return Count(
        (many.launches - few.launches) / steps,
        (many.reads - few.reads) / steps,
        many.by_name - few.by_name,
    )


def count(device: StandInDevice, work: Callable[[], Any]) -> Count:
    """What `work` costs when it is done again."""
    work()
    device.launches.clear()
    device.reads.clear()
    work()
    return Count(device.launches.total(), device.reads.total(), Counter(device.launches))


def summary(counts: dict[str, tuple[Count, Count]]) -> dict[str, Any]:
    """What the last line says."""
    ratios = {name: ours.launches / peer.launches for name, (ours, peer) in counts.items()}
    return {
        "ratios": {
            "eager_per_token": round(max(ratios[name] for name in DECODINGS), 3),
            "eager_per_match": round(ratios["match"], 3),
            "eager_per_encode": round(ratios["encode"], 3),
        },
        "more_ratios": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "launches": {
            name: {"ours": round(ours.launches, 1), "peer": round(peer.launches, 1)}
            for name, (ours, peer) in counts.items()
        },
        "host_reads": {
            name: {"ours": round(ours.reads, 1), "peer": round(peer.reads, 1)}
            for name, (ours, peer) in counts.items()
        },
    }


def add_compiled(result: dict[str, Any], compiled: dict[str, tuple[Kernels, Kernels]]) -> None:
    """Kernels of compiled steps, and the worst ratios of ours to the peer's launches."""
    if not compiled:
        return
    result["compiled"] = {
        name: {"ours": ours._asdict(), "peer": peer._asdict()}
        for name, (ours, peer) in compiled.items()
    }
    peers = {name: result["launches"][name]["peer"] for name in compiled}
    generated = {name: ours.generated / peers[name] for name, (ours, _) in compiled.items()}
    with_libraries = {name: sum(ours) / peers[name] for name, (ours, _) in compiled.items()}
    for kind, ratios in (("compiled", generated), ("compiled_with_libraries", with_libraries)):
        result["ratios"] |= {
            f"{kind}_per_token": round(max(ratios[name] for name in DECODINGS), 3),
            f"{kind}_per_match": round(ratios["match"], 3),
            f"{kind}_per_encode": round(ratios["encode"], 3),
        }


def show(
    console: Console,
    counts: dict[str, tuple[Count, Count]],
    result: dict[str, Any],
    *,
    names: bool,
) -> None:
    """The table."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    console.print(
        f"{result['date']}, commit {result['commit']}; a stand-in for a GPU; {versions}\n"
        f"same results on the CPU: {result['same_results']}",
        highlight=False,
    )
    table = Table(caption="launches, and reads by the host, per token, per match, per batch")
    for heading in ("", "ours", "peer", "ours / peer", "our reads", "peer's"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, (ours, peer) in counts.items():
        table.add_row(
            name,
            f"{ours.launches:.1f}",
            f"{peer.launches:.1f}",
            f"{result['more_ratios'][name]:.3f}",
            f"{ours.reads:.1f}",
            f"{peer.reads:.1f}",
        )
    console.print(table)
    for name, both in result.get("compiled", {}).items():
        shown = (f"{whose} {one['generated']} + {one['library']}" for whose, one in both.items())
        console.print(f"{name}, compiled (inductor's + libraries'): {', '.join(shown)}")
    if names:
        for name, both in counts.items():
            for whose, one in zip(("ours", "peer"), both, strict=True):
                console.print(f"{name}, {whose}: {one.by_name.most_common()}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
