"""Training steps a second, beside a textbook's and Hugging Face's modules in the same run.

    python benchmarks/pretrain.py [--device cuda --dtype bfloat16 --compile] [--batch N] [--save]

One step of pre-training, whole: momentum forward pass, forward and backward pass, AdamW, moving
averages, queue. ViT-B/16 at 224 pixels and BERT-base with random weights and dropout 0.1; texts as
long as captions of Flickr8k are. The peers pad them to 30 tokens, as the original does. Each
contender has a process of its own, so that its memory can be measured; they take turns, and the
best step of all rounds counts. Before that, without dropout, all must give the same losses. On a
GPU each takes the largest batch that fits. Utilisation counts the operations that the step needs at
least, over what the machine could multiply in that time. The last line is one JSON object.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from machine import Speedometer, describe, rounds, seconds
from pretrain_steps import CONTENDERS, LONGEST_TEXT, Contender, Given, Ours
from report import print_and_save
from rich.console import Console
from rich.table import Table
from work import pretrain_step

from blip.data.examples.pairs import PairBatch
from blip.model.blip import Blip
from blip.model.config import ModelConfig
from blip.objectives.itm import Negatives
from blip.processes import most_memory
from blip.train.peak import peak_rate
from blip.train.precision import attention_kernels, autocast
from inference import BASE, LENGTHS, SMALL, draw, make_text, make_tokenizer


@dataclass(slots=True)
class Entry:
    """What is known of a contender."""

    batch: int | None
    """None until it is found."""
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    losses: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Samples a second."""
        assert self.batch is not None
        return self.batch / min(self.seconds)


def main() -> int:
    """Measure, print, write."""
    args = parse()
    torch.set_num_threads(args.threads)
    if args.contender:
        return run_contender(args)
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    speed = Speedometer(device, dtype)
    entries = {name: Entry(batch=args.batch) for name in CONTENDERS}
    for _ in rounds(args.rounds):
        for name, entry in entries.items():
            speed.measure()
            measured = launch(name, entry.batch, args)
            entry.batch = measured["batch"]
            entry.seconds += measured["seconds"]
            taken = ", ".join(f"{second:.3f}" for second in measured["seconds"])
            print(f"{name}: {entry.batch} samples in {taken} s", file=sys.stderr)
            entry.peak_bytes = max(entry.peak_bytes, measured["peak_bytes"])
            entry.losses = measured["losses"]
    same = agree(entries)
    result = summary(entries, speed, args) | {"same_losses": same}
    console = Console(width=110, record=True)
    show(console, result)
    print_and_save(
        result, console, f"pretrain-{args.device}-{args.dtype}.txt" if args.save else None
    )
    return 0 if same or args.dtype != "float32" else 1


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, metavar="N", help="default: 8; on a GPU what fits")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="processes of each at most"
    )
    parser.add_argument("--steps", type=int, default=2, metavar="N", help="timed in each process")
    parser.add_argument("--compile", action="store_true", help="ours as with train.compile=true")
    parser.add_argument("--small", action="store_true", help="tiny models: does it run, and agree?")
    parser.add_argument(
        "--save", action="store_true", help="write the result to benchmarks/results"
    )
    parser.add_argument("--contender", choices=[*CONTENDERS], help=argparse.SUPPRESS)
    return parser.parse_args()


def launch(name: str, batch: int | None, args: argparse.Namespace) -> dict[str, Any]:
    """What a contender tells of itself; without a batch it finds one."""
    command = [sys.executable, __file__, "--contender", name]
    command += [] if batch is None else ["--batch", str(batch)]
    for option in ("device", "dtype", "threads", "steps"):
        command += [f"--{option}", str(getattr(args, option))]
    command += ["--small"] * args.small + ["--compile"] * args.compile
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed with a batch of {batch or 'its own choice'}")
    return json.loads(done.stdout.splitlines()[-1])


def run_contender(args: argparse.Namespace) -> int:
    """Take steps and tell how long they took, in a process of its own."""
    # The peer's own warnings, about arguments that this model does not read.
    warnings.filterwarnings("ignore")
    device = torch.device(args.device)
    batch = args.batch or (8 if args.device == "cpu" else largest_batch(args, device))
    contender = make_contender(args, batch, device)
    contender.set_dropout(on=False)
    with torch.no_grad():
        losses = contender.losses().float().tolist()
    contender.set_dropout(on=True)
    if args.compile and isinstance(contender, Ours):
        contender.compile()
    # The first one makes gradients and the optimiser's state.
    with attention_kernels(device, args.dtype):
        taken = [seconds(contender.step, device) for _ in range(1 + args.steps)][1:]
    measured = {
        "batch": batch,
        "seconds": taken,
        "losses": losses,
        "peak_bytes": peak_bytes(device),
    }
    print(json.dumps(measured))
    return 0


def largest_batch(args: argparse.Namespace, device: torch.device) -> int:
    """32, doubled as long as the GPU has room for it."""
    batch = 32
    while fits(2 * batch, args, device):
        batch *= 2
    torch.cuda.reset_peak_memory_stats(device)
    return batch


def fits(batch: int, args: argparse.Namespace, device: torch.device) -> bool:
    """Whether there is room for two steps."""
    try:
        contender = make_contender(args, batch, device)
        contender.step()
        contender.step()
    except torch.OutOfMemoryError:
        return False
    finally:
        contender = None
        gc.collect()
        torch.cuda.empty_cache()
    return True


def peak_bytes(device: torch.device) -> int:
    """The most memory that this process has held: resident, or on the GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return most_memory() or 0


def sizes(small: bool) -> ModelConfig:
    """Of the model: the paper's for pre-training, or tiny ones."""
    base = SMALL if small else replace(BASE, vision=replace(BASE.vision, image_size=224))
    return replace(base, text=replace(base.text, dropout=0.1))


def text_lengths(batch: int) -> list[int]:
    """Quantiles of the captions' lengths."""
    return [LENGTHS[int((row + 0.5) * len(LENGTHS) / batch) % len(LENGTHS)] for row in range(batch)]


def sample_negatives(batch: int) -> Negatives:
    """The same for all contenders; an image may be drawn for several texts, and for none."""
    random, row = torch.Generator().manual_seed(0), torch.arange(batch)
    drawn = [torch.randint(1, batch, (batch,), generator=random) for _ in range(2)]
    return Negatives(*((row + step) % batch for step in drawn))


def make_contender(args: argparse.Namespace, size: int, device: torch.device) -> Contender:
    """One of them, with the weights and the batch that all of them have."""
    torch.manual_seed(0)
    config = sizes(args.small)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = make_tokenizer(config.text.vocabulary_size, Path(folder))
    lengths, side = text_lengths(size), config.vision.image_size
    texts = [make_text(row % len(LENGTHS), length) for row, length in enumerate(lengths)]
    batch = PairBatch(
        images=torch.randn(size, 3, side, side),
        texts=tokenizer.encode(texts, LONGEST_TEXT),
        image_ids=torch.arange(size),
        keys=tuple(str(row) for row in range(size)),
    )
    given = Given(
        tokenizer,
        batch.to(device),
        Negatives(*(rows.to(device) for rows in sample_negatives(size))),
        lambda: autocast(device, args.dtype),
    )
    # `draw` overwrites every weight, on the device itself: to initialise them first takes longer
    # than a step.
    with torch.device("meta"):
        model = Blip(config)
    model = draw(model.to_empty(device=device))
    return CONTENDERS[args.contender](model, given)


def agree(entries: dict[str, Entry]) -> bool:
    """Whether all had the same losses; where batches differ there is nothing to compare."""
    first = entries["ours"]
    return all(
        torch.allclose(torch.tensor(first.losses), torch.tensor(entry.losses), rtol=1e-3)
        for entry in entries.values()
        if entry.batch == first.batch
    )


def summary(
    entries: dict[str, Entry], speed: Speedometer, args: argparse.Namespace
) -> dict[str, Any]:
    """What the last line says."""
    ours = entries["ours"].rate
    device = torch.device(args.device)
    environment = describe(device, getattr(torch, args.dtype), ("torch", "transformers"))
    peak = {"measured": speed.operations_per_second}
    if device.type == "cuda" and (known := peak_rate(device, args.dtype)) is not None:
        peak["known"] = known
    contenders = {}
    for name, entry in entries.items():
        assert entry.batch is not None
        lengths = text_lengths(entry.batch)
        hard = [lengths[row] for row in sample_negatives(entry.batch).texts.tolist()]
        least = pretrain_step(sizes(args.small), lengths, hard).operations
        contenders[name] = {
            "batch": entry.batch,
            "samples_per_second": round(entry.rate, 3),
            "peak_gbyte": round(entry.peak_bytes / 1e9, 2),
            "gflop_a_step_at_least": round(least / 1e9, 1),
            "utilisation": {
                which: round(least / min(entry.seconds) / rate, 3) for which, rate in peak.items()
            },
            "seconds": [round(second, 4) for second in entry.seconds],
        }
    return {
        "ratios": {
            f"step_vs_{name}": round(ours / entries[name].rate, 2)
            for name in ("huggingface", "textbook")
        },
        "contenders": contenders,
        "gflop_per_second": {which: round(rate / 1e9, 1) for which, rate in peak.items()},
        **environment,
    }


def show(console: Console, result: dict[str, Any]) -> None:
    """The table."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    products = ", ".join(f"{which} {rate}" for which, rate in result["gflop_per_second"].items())
    console.print(
        f"{result['date']}, commit {result['commit']}; {result['machine']}; "
        f"{result['threads']} threads, {result['dtype']}; {versions}\n"
        f"matrix products in GFLOP/s: {products}",
        highlight=False,
    )
    table = Table(caption="of it: the operations that a step needs, over the matrix products' rate")
    for heading in ("", "batch", "samples/s", "ours / it", "peak memory", "GFLOP", "of it"):
        table.add_column(heading, justify="right" if heading else "left")
    ours = result["contenders"]["ours"]["samples_per_second"]
    for name, measured in result["contenders"].items():
        table.add_row(
            name,
            str(measured["batch"]),
            f"{measured['samples_per_second']:.3f}",
            f"{ours / measured['samples_per_second']:.2f}",
            f"{measured['peak_gbyte']:.2f} GB",
            f"{measured['gflop_a_step_at_least']:.0f}",
            ", ".join(f"{100 * share:.0f} %" for share in measured["utilisation"].values()),
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
