"""The work of `inference.py` by models in bfloat16 and int8 on a CPU, beside transformers."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from machine import Speedometer, seconds
from peer import PeerCaptioner, PeerMatcher
from rich.console import Console
from rich.table import Table
from work import seconds_at_least

from blip.inference.captioner import Captioner
from blip.inference.matcher import Matcher
from blip.model.blip import Blip
from blip.model.int8 import to_int8
from blip.nn.kernels.int8_weight import int8_multiplies
from blip.nn.kernels.onednn import bfloat16_multiplies

if TYPE_CHECKING:
    from inference import Bench, Case

Reduced = Literal["bfloat16", "int8"]
BYTES: dict[Reduced, int] = {"bfloat16": 2, "int8": 1}
MULTIPLIES = {"bfloat16": bfloat16_multiplies, "int8": int8_multiplies}
"""Whether this CPU has instructions for it: what it emulates takes hours, or is refused."""
PEERS = ("peer_float32", "peer_bfloat16")


@dataclass(slots=True)
class Contender:
    """Ours in another number format; in bfloat16 the peer has it, too."""

    precision: Reduced
    cases: "list[Case]"
    speed: Speedometer

    @property
    def has_peer(self) -> bool:
        """Whether the peer computes in this format."""
        return self.precision == "bfloat16"

    def measure(self, place: int) -> None:
        """Once more what stands at this place, by both."""
        case = self.cases[place]
        self.speed.measure()
        case.ours_seconds.append(seconds(case.ours, self.speed.device))
        if self.has_peer:
            case.peer_seconds.append(seconds(case.peer, self.speed.device))

    def floors(self, place: int) -> tuple[float, float]:
        """Amounts a second at most: by arithmetic alone, and with what has to be read."""
        case = self.cases[place]
        numbers = self.speed.bytes_per_second / BYTES[self.precision]
        products = self.speed.operations_per_second
        bare, read = (seconds_at_least(case.steps, products, n) for n in (None, numbers))
        return case.amount / bare, case.amount / read


def contenders(bench: "Bench", device: torch.device) -> Iterator[Contender]:
    """One for each format of this CPU, with the weights of `bench` rounded to it; warmed up."""
    for precision in BYTES:
        if not MULTIPLIES[precision]():
            continue
        rounded = _rounded(bench, precision)
        speed = Speedometer(device, torch.bfloat16, int8=precision == "int8")
        contender = Contender(precision, list(rounded.cases()), speed)
        for case in contender.cases:
            case.ours()
            if contender.has_peer:
                case.peer()
        yield contender


def _rounded(bench: "Bench", precision: Reduced) -> "Bench":
    other = copy.copy(bench)
    tokenizer = bench.captioner.tokenizer
    writer, encoder = (
        _in_format(copy.deepcopy(one.model), precision) for one in (bench.captioner, bench.matcher)
    )
    other.captioner, other.matcher = Captioner(writer, tokenizer), Matcher(encoder, tokenizer)
    other.images = bench.images.to(writer.dtype)
    if precision == "bfloat16":
        other.peer_captioner = PeerCaptioner(writer, tokenizer)
        other.peer_matcher = PeerMatcher(encoder, tokenizer)
    return other


def _in_format(model: Blip, precision: Reduced) -> Blip:
    if precision == "bfloat16":
        return model.bfloat16()
    to_int8(model)
    return model


def ratios(cases: "Sequence[Case]", others: Sequence[Contender]) -> dict[str, dict[str, Any]]:
    """Of each case: our faster format, and how much faster it is than the peer in either."""
    found: dict[str, dict[str, Any]] = {}
    for place, case in enumerate(cases):
        best = min(others, key=lambda one: min(one.cases[place].ours_seconds))
        ours = min(best.cases[place].ours_seconds)
        found[case.name] = {
            "ours": best.precision,
            "peer_float32": round(min(case.peer_seconds) / ours, 2),
        }
        for one in others:
            if one.has_peer:
                peer = min(one.cases[place].peer_seconds)
                found[case.name]["peer_bfloat16"] = round(peer / ours, 2)
    return found


def figures(others: Sequence[Contender]) -> dict[str, Any]:
    """Per format: the machine's rates in it, and amounts a second of each case."""
    return {
        one.precision: {
            "gflop_per_second": round(one.speed.operations_per_second / 1e9, 1),
            **{
                case.name: {
                    "unit": case.unit,
                    "ours": round(case.amount / min(case.ours_seconds), 3),
                    "floor": round(one.floors(place)[0], 3),
                    "floor_with_reading": round(one.floors(place)[1], 3),
                    "ours_seconds": [round(s, 4) for s in case.ours_seconds],
                }
                | (
                    {
                        "peer": round(case.amount / min(case.peer_seconds), 3),
                        "peer_seconds": [round(s, 4) for s in case.peer_seconds],
                    }
                    if one.has_peer
                    else {}
                )
                for place, case in enumerate(one.cases)
            },
        }
        for one in others
    }


def show(
    console: Console, others: Sequence[Contender], found: Mapping[str, Mapping[str, Any]]
) -> None:
    """A table of amounts a second in each format, and of the share of the floors."""
    rates = ", ".join(
        f"{one.precision} {one.speed.operations_per_second / 1e9:.0f} GFLOP/s" for one in others
    )
    table = Table(
        caption=f"matrix products: {rates}; shares are of the floor and of it with reading"
    )
    table.add_column("in fewer bits")
    for one in others:
        table.add_column(one.precision, justify="right")
        table.add_column("shares", justify="right")
    for heading in ("peer bfloat16", "best / peer float32", "best / peer bfloat16"):
        table.add_column(heading, justify="right")
    for place, (name, row) in enumerate(found.items()):
        cells, peer = list[str](), ""
        for one in others:
            case = one.cases[place]
            ours = case.amount / min(case.ours_seconds)
            shares = " / ".join(f"{100 * ours / floor:.0f}" for floor in one.floors(place))
            cells += [f"{ours:.2f} {case.unit}/s", f"{shares} %"]
            if one.has_peer:
                peer = f"{case.amount / min(case.peer_seconds):.2f}"
        beside = [f"{row[peer_name]:.2f}" if peer_name in row else "" for peer_name in PEERS]
        table.add_row(name, *cells, peer, *beside)
    console.print(table)
