"""Captions and matches a second, beside transformers with the same weights in the same run.

    python benchmarks/inference.py [--device cuda --dtype bfloat16] [--cpu_time] [--small] [--save]

ViT-B/16 at 384 pixels and BERT-base with random weights; nothing is downloaded. Captions: four
images, 20 new tokens each, no text ends sooner. Matching: 32 texts as long as captions of Flickr8k
are, for the states of one image, as in re-ranking, where images are encoded beforehand; another
row begins with pixels, and one has the peer repeat the states for each text and pad all texts to 35
tokens, as the original's evaluation does. Ours and the peer take turns; the best of the rounds
counts for either. The floors are what the work must take at the rates of matrix products and of
reading memory that are measured in between. On a CPU in float32 a second table has the same work in
bfloat16, by both, and in int8, as far as the CPU has instructions for them. The last line is one
JSON object; its "ratios" are ours over the peer's.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import machine
import torch
from machine import Speedometer, describe, rounds, seconds
from peer import LONGEST_TEXT, PeerCaptioner, PeerMatcher
from reduced import Contender, contenders, figures, ratios
from reduced import show as show_reduced
from report import print_and_save
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from work import (
    Step,
    encode_images,
    match_texts,
    project_images,
    seconds_at_least,
    write_texts,
)

from blip.data.tokenizer import Tokenizer
from blip.generation.config import DecodingConfig
from blip.inference.captioner import Captioner
from blip.inference.matcher import Matcher
from blip.model.blip import Blip
from blip.model.config import ModelConfig, TextConfig, VisionConfig

Drawn = TypeVar("Drawn", bound=nn.Module)

# fmt: off
LENGTHS = (
    7, 8, 8, 9, 9, 10, 10, 10, 11, 11, 11, 12, 12, 12, 12, 13,
    13, 13, 14, 14, 14, 15, 15, 16, 16, 17, 17, 18, 18, 20, 21, 24,
)
# fmt: on
"""Tokens of texts to match, [ENC] and [SEP] included: 32 quantiles of the captions of Flickr8k."""

IMAGES, NEW_TOKENS, BEAMS = 4, 20, 3
HUGGING_FACE_EPS = 1e-5
DECODINGS = {
    "caption_greedy": DecodingConfig(
        kind="greedy", min_length=1 + NEW_TOKENS, max_length=1 + NEW_TOKENS
    ),
    "caption_beam3": DecodingConfig(
        kind="beam", beams=BEAMS, min_length=1 + NEW_TOKENS, max_length=1 + NEW_TOKENS
    ),
    "caption_nucleus": DecodingConfig(
        kind="nucleus",
        top_p=0.9,
        repetition_penalty=1.1,
        min_length=1 + NEW_TOKENS,
        max_length=1 + NEW_TOKENS,
    ),
}
CASES = (*DECODINGS, "match_one_image", "match_from_pixels", "match_as_original")
BASE = ModelConfig(vision=VisionConfig(image_size=384, norm_eps=HUGGING_FACE_EPS))
SMALL = ModelConfig(
    vision=VisionConfig(image_size=32, width=32, depth=2, heads=2, norm_eps=HUGGING_FACE_EPS),
    text=TextConfig(
        vocabulary_size=2000, width=32, depth=2, heads=2, mlp_width=64, positions=64, dropout=0.0
    ),
    projection=16,
)


@dataclass(slots=True)
class Case:
    """One row of the table: the same work, done by both."""

    name: str
    unit: str
    amount: int
    ours: Callable[[], object]
    peer: Callable[[], object]
    steps: Sequence[Step]
    work: str
    ours_seconds: list[float] = field(default_factory=list)
    peer_seconds: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Ours over the peer's, in amounts a second."""
        return min(self.peer_seconds) / min(self.ours_seconds)


def main() -> int:
    """Measure, print, write."""
    args = parse()
    # The peer's own warnings, about arguments that this model does not read.
    warnings.filterwarnings("ignore")
    torch.set_num_threads(args.threads)
    if args.cpu_time:
        torch.set_num_threads(1)
        machine.clock = time.process_time
    torch.manual_seed(0)
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(SMALL if args.small else BASE, device, dtype, Path(folder))
    agree = bench.agree()
    bench.chosen = tuple(args.cases)
    cases, speed = list(bench.cases()), Speedometer(device, dtype)
    fewer_bits = device.type == "cpu" and dtype == torch.float32
    others = list(contenders(bench, device)) if fewer_bits else []
    measure(cases, speed, args.repeats, others)
    environment = describe(device, dtype, ("torch", "transformers"))
    if args.cpu_time:
        environment["machine"] += ", with other work; seconds of the CPU"
    result = summary(cases, speed, environment, agree)
    console = Console(width=118, record=True)
    show(console, cases, speed, environment)
    if others:
        found = ratios(cases, others)
        show_reduced(console, others, found)
        result = {"ratios": result.pop("ratios"), "reduced_ratios": found, **result}
        result["reduced"] = figures(others)
    print_and_save(
        result, console, f"inference-{args.device}-{args.dtype}.txt" if args.save else None
    )
    # In float32 other texts than the peer's would mean other work.
    return 0 if all(agree.values()) or dtype != torch.float32 else 1


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="rounds at most")
    parser.add_argument(
        "--cases", nargs="+", default=CASES, choices=CASES, metavar="NAME", help=", ".join(CASES)
    )
    parser.add_argument(
        "--cpu_time",
        action="store_true",
        help="one thread, whose seconds count in which it computed: where other work runs, too",
    )
    parser.add_argument("--small", action="store_true", help="tiny models: does it run, and agree?")
    parser.add_argument(
        "--save", action="store_true", help="write the result to benchmarks/results"
    )
    return parser.parse_args()


class Bench:
    """Models of both with the same weights, and what they are given."""

    def __init__(
        self, config: ModelConfig, device: torch.device, dtype: torch.dtype, folder: Path
    ) -> None:
        self.config = config
        self.chosen: Sequence[str] = CASES
        tokenizer = make_tokenizer(config.text.vocabulary_size, folder)
        writer = draw(Blip(with_modes(config, "causal"))).to(device, dtype)
        encoder = draw(Blip(with_modes(config, "bidirectional"))).to(device, dtype)
        self.captioner, self.matcher = Captioner(writer, tokenizer), Matcher(encoder, tokenizer)
        self.peer_captioner = PeerCaptioner(writer, tokenizer)
        self.peer_matcher = PeerMatcher(encoder, tokenizer)
        size = config.vision.image_size
        self.images = torch.randn(IMAGES, 3, size, size).to(device, dtype)
        self.texts = [make_text(number, length) for number, length in enumerate(LENGTHS)]
        encoded = tokenizer.encode(self.texts, LONGEST_TEXT).to(device)
        assert encoded.visible.sum(dim=1).tolist() == list(LENGTHS), "a word is a token here"
        self.encoded = encoded.start_with(tokenizer.enc_id)

    def write(self, decoding: DecodingConfig) -> list[str]:
        """Our captions."""
        return self.captioner.caption(list(self.images), decoding)

    def match(self) -> list[float]:
        """Our match probabilities, from pixels."""
        return self.matcher.probability([self.images[0]], [self.texts])[0]

    @torch.inference_mode()
    def match_states(self, states: Tensor) -> list[float]:
        """Our match probabilities, from the states of the image."""
        image_kv = self.matcher.model.project_image(states, "bidirectional")
        logits = self.matcher.model.match_logits(self.encoded.ids, self.encoded.visible, image_kv)
        return logits.softmax(dim=1)[:, 1].tolist()

    def agree(self) -> dict[str, bool]:
        """Whether both give the same texts and probabilities; it also warms both up."""
        found = {
            name: self.write(decoding) == self.peer_captioner.caption(self.images, decoding)
            for name, decoding in DECODINGS.items()
            if decoding.kind != "nucleus"
        }
        ours = torch.tensor(self.match())
        for by in (self.peer_matcher.by_states, self.peer_matcher.as_original):
            theirs = torch.tensor(by(self.images[0], self.texts))
            found[by.__name__] = torch.allclose(ours, theirs, rtol=0.0, atol=1e-4)
        return found

    def cases(self) -> Iterator[Case]:
        """What is measured: those that are chosen."""
        yield from (case for case in self._cases() if case.name in self.chosen)

    def _cases(self) -> Iterator[Case]:
        config, peer = self.config, self.peer_captioner
        seen = [encode_images(config, IMAGES), project_images(config, IMAGES)]
        for name, decoding in DECODINGS.items():
            copies = BEAMS if decoding.kind == "beam" else 1
            yield Case(
                name,
                "images",
                IMAGES,
                lambda decoding=decoding: self.write(decoding),
                lambda decoding=decoding: peer.caption(self.images, decoding),
                [*seen, *write_texts(config, IMAGES, copies, NEW_TOKENS)],
                f"{IMAGES} images, {IMAGES * NEW_TOKENS} tokens made",
            )
        yield from self._matching()

    def _matching(self) -> Iterator[Case]:
        image, texts, peer = self.images[0], self.texts, self.peer_matcher
        states = self.matcher.model.encode_image(image[None]).detach()
        encode, match = encode_images(self.config, 1), match_texts(self.config, LENGTHS)
        text_steps = [project_images(self.config, 1), match]
        pairs, tokens = len(texts), sum(LENGTHS)
        work = f"{pairs} texts, {tokens} tokens; peer {pairs * max(LENGTHS)} tokens"
        yield Case(
            "match_one_image",
            "pairs",
            pairs,
            lambda: self.match_states(states),
            lambda: peer.match_probabilities(states, texts),
            text_steps,
            work,
        )
        yield Case(
            "match_from_pixels",
            "pairs",
            pairs,
            self.match,
            lambda: peer.by_states(image, texts),
            [encode, *text_steps],
            "and the image is encoded, once by either",
        )
        yield Case(
            "match_as_original",
            "pairs",
            pairs,
            lambda: self.match_states(states),
            lambda: peer.match_as_original(states, texts),
            text_steps,
            f"peer {pairs * LONGEST_TEXT} tokens, states given {pairs} times",
        )


def with_modes(config: ModelConfig, mode: Any) -> ModelConfig:
    """A captioner's or a matcher's half of the MED."""
    return ModelConfig(
        vision=config.vision, text=config.text, projection=config.projection, modes=(mode,)
    )


@torch.no_grad()
def draw(model: Drawn) -> Drawn:
    """Weights under which image and words matter and a likely next token is likely indeed."""
    for name, parameter in model.named_parameters():
        if "norm" in name and name.endswith("weight"):
            parameter.normal_(1.0, 0.1)
        elif parameter.dim() < 2:
            parameter.normal_(0.0, 0.1)
        elif "words" in name or "positions" in name:
            parameter.normal_(0.0, 0.3)
        else:
            parameter.normal_(0.0, parameter[0].numel() ** -0.5)
    if isinstance(model, Blip) and "bidirectional" in model.config.modes:
        model.temperature.fill_(0.07)
    return model.eval()


def make_tokenizer(vocabulary_size: int, folder: Path) -> Tokenizer:
    """One whose words are `w0`, `w1` and so on, each a token."""
    words = [f"w{number}" for number in range(vocabulary_size - 2)]
    words[0], words[100:104] = "[PAD]", ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    path = folder / "vocab.txt"
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    return Tokenizer.load(path)


def make_text(number: int, tokens: int) -> str:
    """A text of so many tokens, start and end included."""
    return " ".join(f"w{200 + 37 * number + place}" for place in range(tokens - 2))


def measure(
    cases: Sequence[Case], speed: Speedometer, repeats: int, others: Sequence[Contender]
) -> None:
    """In turns, so that whatever disturbs the machine disturbs all alike."""
    for _ in rounds(repeats):
        for place, case in enumerate(cases):
            speed.measure()
            case.ours_seconds.append(seconds(case.ours, speed.device))
            case.peer_seconds.append(seconds(case.peer, speed.device))
            for other in others:
                other.measure(place)


def floors(case: Case, speed: Speedometer) -> tuple[float, float]:
    """Amounts a second at most: by arithmetic alone, and with what has to be read."""
    size = speed.square.element_size()
    rates = (None, speed.bytes_per_second / size)
    products = speed.operations_per_second
    at_least = [seconds_at_least(case.steps, products, rate) for rate in rates]
    return case.amount / at_least[0], case.amount / at_least[1]


def summary(
    cases: Sequence[Case], speed: Speedometer, environment: dict[str, Any], agree: dict[str, bool]
) -> dict[str, Any]:
    """What the last line says."""
    names = (*DECODINGS, "match_one_image")
    return {
        "ratios": {case.name: round(case.ratio, 2) for case in cases if case.name in names},
        "more_ratios": {
            case.name: round(case.ratio, 2) for case in cases if case.name not in names
        },
        "per_second": {
            case.name: {
                "unit": case.unit,
                "ours": round(case.amount / min(case.ours_seconds), 3),
                "peer": round(case.amount / min(case.peer_seconds), 3),
                "floor": round(floors(case, speed)[0], 3),
                "floor_with_reading": round(floors(case, speed)[1], 3),
                "ours_seconds": [round(s, 4) for s in case.ours_seconds],
                "peer_seconds": [round(s, 4) for s in case.peer_seconds],
            }
            for case in cases
        },
        "same_results": agree,
        "gflop_per_second": round(speed.operations_per_second / 1e9, 1),
        "gbyte_per_second": round(speed.bytes_per_second / 1e9, 1),
        **environment,
    }


def show(
    console: Console, cases: Sequence[Case], speed: Speedometer, environment: dict[str, Any]
) -> None:
    """The table."""
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    console.print(
        f"{environment['date']}, commit {environment['commit']}; {environment['machine']}; "
        f"{environment['threads']} threads, "
        f"{environment['dtype']}; {versions}\nmatrix products "
        f"{speed.operations_per_second / 1e9:.0f} GFLOP/s, reading memory "
        f"{speed.bytes_per_second / 1e9:.0f} GB/s; best of {len(cases[0].ours_seconds)} rounds",
        highlight=False,
    )
    table = Table(caption="the floor is what matrix products alone take, and with memory to read")
    for heading in ("", "ours", "peer", "ours / peer", "floor", "with reading", "of it"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_column("work")
    for case in cases:
        ours, peer = case.amount / min(case.ours_seconds), case.amount / min(case.peer_seconds)
        bare, read = floors(case, speed)
        table.add_row(
            case.name,
            f"{ours:.2f} {case.unit}/s",
            f"{peer:.2f}",
            f"{case.ratio:.2f}",
            f"{bare:.2f}",
            f"{read:.2f}",
            f"{100 * ours / read:.0f} %",
            case.work,
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
