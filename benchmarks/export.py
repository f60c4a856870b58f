"""Images a second in torch and in onnxruntime, and what int8 changes, with the same weights.

    python benchmarks/export.py [--threads 2] [--image-size 224] [--checkpoint CKPT] [--save]

A MED of ViT-B/16 and BERT-base with random weights, drawn by one seed, or those of `--checkpoint`:
in torch without kernels (eager) and with them, and exported, in float32, in int8-dynamic and in
int8-static, which is calibrated by photos that are not among those compared. "encode" is the image
encoder alone; "caption" writes 20 tokens by greedy decoding. Ways take turns; the best of the
rounds counts.

Then captions and ITM probabilities of both kinds of int8 are compared with those of float32 on 200
photos (BLIP_SHARED/coco; without it that part is left out, with a line). Each photo is matched to a
caption of its own and to one of another photo. The last line is one JSON object.
"""

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pyarrow.parquet as pq
import torch
from machine import Speedometer, describe
from PIL import Image
from report import print_and_save, print_machine
from rich.console import Console
from rich.table import Table
from torch import Tensor

from blip.data.tokenizer import Tokenizer
from blip.export.captioner import OnnxCaptioner
from blip.export.exported import ExportedModel
from blip.export.manifest import ExportPrecision
from blip.export.matcher import OnnxMatcher
from blip.export.sessions import Runs
from blip.export.write import export_onnx
from blip.generation.config import DecodingConfig
from blip.inference.captioner import Captioner, CaptionWriter
from blip.inference.checkpoint import save_model
from blip.inference.pixels import NormalisedImage, Picture
from blip.model.blip import Blip
from blip.model.config import ModelConfig, TextConfig, VisionConfig
from blip.nn.kernels.switch import kernels

IMAGES, NEW_TOKENS, PHOTOS, BATCH = 4, 20, 200, 8
EXPORTED: tuple[ExportPrecision, ...] = ("float32", "int8-dynamic", "int8-static")
SMALL = ModelConfig(
    vision=VisionConfig(image_size=32, width=32, depth=2, heads=2),
    text=TextConfig(width=32, depth=2, heads=2, mlp_width=64, positions=64),
    projection=16,
)
COCO = Path(os.environ.get("BLIP_SHARED", "../shared")) / "coco"


def main() -> int:
    """Measure, compare, print, write."""
    args = parse()
    torch.set_num_threads(args.threads)
    speed = Speedometer(torch.device("cpu"), torch.float32)
    speed.measure()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = args.checkpoint or make_checkpoint(args, folder / "checkpoint")
        sizes, seconds = export_all(checkpoint, folder, 4 if args.small else args.calibration)
        rates, same = measure(checkpoint, folder, args.repeats, speed)
        apart = compare_int8(folder, 6 if args.small else args.photos)
    result: dict[str, Any] = describe(
        torch.device("cpu"), torch.float32, ("torch", "onnx", "onnxruntime")
    )
    result |= {
        "weights": "checkpoint" if args.checkpoint else "random",
        "image_size": sizes.pop("image_size"),
        "gflop_per_second": speed.operations_per_second / 1e9,
        "gbyte_per_second": speed.bytes_per_second / 1e9,
        "export_seconds": seconds,
        "megabytes": sizes,
        "images_per_second": rates,
        "same_results": same,
        "int8": apart,
    }
    console = Console(width=100, record=True)
    show(console, result)
    print_and_save(result, console, "export-cpu.txt" if args.save else None)
    return 0 if same else 1


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--image-size", type=int, default=224, metavar="PIXELS")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds of each")
    parser.add_argument("--photos", type=int, default=PHOTOS, metavar="N", help="to compare")
    parser.add_argument("--calibration", type=int, default=32, metavar="N", help="photos for it")
    parser.add_argument("--checkpoint", type=Path, help="weights in place of random ones")
    parser.add_argument("--small", action="store_true", help="tiny models: does it run, and agree?")
    parser.add_argument("--save", action="store_true", help="write it to benchmarks/results")
    return parser.parse_args()


def make_checkpoint(args: argparse.Namespace, folder: Path) -> Path:
    """A model with random weights; the vocabulary is made of numbers up to its size."""
    torch.manual_seed(0)
    config = SMALL if args.small else ModelConfig(vision=VisionConfig(image_size=args.image_size))
    model = Blip(config).eval()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [f"w{number}" for number in range(config.text.vocabulary_size - 2 - len(special))]
    folder.mkdir()
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join([*special, *words]), encoding="utf-8")
    shared = COCO.parent / "bert-base-uncased" / "vocab.txt"
    save_model(model, Tokenizer.load(shared if shared.is_file() else vocabulary), folder)
    return folder


def export_all(
    checkpoint: Path, folder: Path, pictures: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Export in each precision; megabytes and seconds, and the image size."""
    sizes: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for precision in EXPORTED:
        start = time.perf_counter()
        photos = calibration(pictures) if precision == "int8-static" else []
        manifest = export_onnx(
            checkpoint, folder / precision, precision=precision, calibration=photos
        )
        seconds[precision] = time.perf_counter() - start
        files = (folder / precision).iterdir()
        sizes[precision] = sum(file.stat().st_size for file in files) / 1e6
        sizes["image_size"] = manifest.model.vision.image_size
    return sizes, seconds


def calibration(count: int) -> list[Picture]:
    """Photos without texts, or noise where there are none."""
    path = COCO / "unlabelled.parquet"
    if path.is_file():
        rows = pq.read_table(path, columns=["image"]).slice(0, count).to_pylist()
        return [Image.open(io.BytesIO(row["image"])).convert("RGB") for row in rows]
    torch.manual_seed(1)
    return list(torch.rand(count, 3, 64, 64))


def measure(
    checkpoint: Path, folder: Path, repeats: int, speed: Speedometer
) -> tuple[dict[str, dict[str, float]], bool]:
    """Images a second of each way and work; whether all in float32 write the same captions."""
    ours = Captioner.load(checkpoint)
    ways: dict[str, tuple[CaptionWriter, bool]] = {"eager": (ours, False), "kernels": (ours, True)}
    for precision in EXPORTED:
        ways[f"onnxruntime {precision}"] = (OnnxCaptioner.load(folder / precision), True)
    size = ours.config.vision.image_size
    torch.manual_seed(2)
    pictures = [NormalisedImage(torch.randn(3, size, size)) for _ in range(IMAGES)]
    length = 1 + NEW_TOKENS
    greedy = DecodingConfig(kind="greedy", min_length=length, max_length=length)

    def captions(writer: CaptionWriter) -> list[str]:
        return writer.caption(pictures, greedy)

    def encode(writer: CaptionWriter) -> None:
        writer.encode(pictures)

    works: dict[str, Callable[[CaptionWriter], object]] = {"encode": encode, "caption": captions}
    best = {way: dict.fromkeys(works, float("inf")) for way in ways}
    texts: dict[str, list[str]] = {}
    for number in range(repeats + 1):
        speed.measure()
        for way, (writer, fast) in ways.items():
            with nullcontext() if fast else kernels(False):
                texts[way] = captions(writer)
                for name, work in works.items():
                    start = time.perf_counter()
                    work(writer)
                    # The first round warms up.
                    if number:
                        best[way][name] = min(best[way][name], time.perf_counter() - start)
    rates = {w: {n: IMAGES / s for n, s in of_way.items()} for w, of_way in best.items()}
    exact = ("eager", "kernels", "onnxruntime float32")
    return rates, len({tuple(texts[way]) for way in exact}) == 1


def compare_int8(folder: Path, count: int) -> dict[str, Any]:
    """How far captions and probabilities in int8 are from those in float32, on photos."""
    path = COCO / "images.parquet"
    if not path.is_file():
        print(f"captions and probabilities are not compared: no {path} (set BLIP_SHARED)")
        return {}
    rows = pq.read_table(path, columns=["image", "caption"]).slice(0, count).to_pylist()
    photos = [Image.open(io.BytesIO(row["image"])).convert("RGB") for row in rows]
    own = [row["caption"][0] for row in rows]
    texts = [[one, other] for one, other in zip(own, own[1:] + own[:1], strict=True)]
    written, matched = {}, {}
    greedy = DecodingConfig(kind="greedy", max_length=1 + NEW_TOKENS)
    for precision in EXPORTED:
        model = ExportedModel.load(folder / precision)
        model.graphs = Once(model.graphs)
        captioner, matcher = OnnxCaptioner(model), OnnxMatcher(model)
        written[precision], matched[precision] = list[str](), list[float]()
        for start in range(0, len(photos), BATCH):
            some = photos[start : start + BATCH]
            written[precision] += captioner.caption(some, greedy)
            for row in matcher.probability(some, texts[start : start + BATCH]):
                matched[precision] += row
    exact, expected = written["float32"], matched["float32"]
    found: dict[str, Any] = {
        "photos": len(photos),
        "different_captions": len(set(exact)),
        "itm_mean": fmean(expected),
        "itm_deviation": pstdev(expected),
    }
    for precision in EXPORTED[1:]:
        apart = [abs(a - b) for a, b in zip(matched[precision], expected, strict=True)]
        found[precision] = {
            "same_captions": share_of_same(written[precision], exact),
            "same_words": share_of_words(written[precision], exact),
            "itm_mean_difference": fmean(apart),
            "itm_largest_difference": max(apart),
        }
    return found


class Once:
    """Runs graphs; pictures that come twice, one time after the other, are encoded once."""

    def __init__(self, graphs: Runs) -> None:
        self.folder = graphs.folder
        self._graphs = graphs
        self._pixels: Tensor = torch.empty(0)
        self._encoded: dict[str, Tensor] = {}

    def run(self, name: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs of a graph."""
        if name != "image_encoder":
            return self._graphs.run(name, inputs)
        if not torch.equal(inputs["pixels"], self._pixels):
            self._encoded = self._graphs.run(name, inputs)
            self._pixels = inputs["pixels"]
        return self._encoded


def share_of_same(captions: Sequence[str], expected: Sequence[str]) -> float:
    """The share of captions that are the same."""
    return fmean(float(one == other) for one, other in zip(captions, expected, strict=True))


def share_of_words(captions: Sequence[str], expected: Sequence[str]) -> float:
    """The mean share of an expected caption's words that stand at their place."""

    def share(one: str, other: str) -> float:
        words, wanted = one.split(), other.split()
        same = sum(a == b for a, b in zip(words, wanted, strict=False))
        return same / max(len(words), len(wanted), 1)

    return fmean(share(one, other) for one, other in zip(captions, expected, strict=True))


def show(console: Console, result: dict[str, Any]) -> None:
    """The tables."""
    print_machine(result, console)
    table = Table(title=f"images a second, {result['image_size']} pixels")
    for column in ("way", "encode", "caption", "MB", "export, s"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for way, rates in result["images_per_second"].items():
        precision = way.removeprefix("onnxruntime ")
        cells = [f"{rates['encode']:.2f}", f"{rates['caption']:.2f}"]
        for figures in (result["megabytes"], result["export_seconds"]):
            cells.append(f"{figures[precision]:.0f}" if precision in figures else "")
        table.add_row(way, *cells)
    console.print(table)
    found = result["int8"]
    if not found:
        return
    console.print(
        f"{found['photos']} photos, {result['weights']} weights: float32 writes "
        f"{found['different_captions']} different captions; its ITM probabilities have mean "
        f"{found['itm_mean']:.3f} and deviation {found['itm_deviation']:.4f}"
    )
    table = Table(title="int8 beside float32")
    for column in ("int8", "same captions", "same words", "ITM, mean apart", "ITM, most apart"):
        table.add_column(column, justify="left" if column == "int8" else "right")
    for precision in EXPORTED[1:]:
        one = found[precision]
        cells = [f"{one[name]:.1%}" for name in ("same_captions", "same_words")]
        cells += [f"{one[f'itm_{name}_difference']:.4f}" for name in ("mean", "largest")]
        table.add_row(precision, *cells)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
