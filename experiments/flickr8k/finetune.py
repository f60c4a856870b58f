"""Flickr8k from a small ViT and BERT: pre-train, fine-tune for both tasks, judge on dev.

    python -m experiments.flickr8k.finetune --vision_weights FILE --text_weights FILE --out DIR

Resumes where it was stopped; at the end it writes finetune.json and the table in README.md here.
Photos are read from the folder that BLIP_SHARED names (default `../shared`).
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from blip.config.strict import load_json
from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.errors import BlipError, UsageError, plain
from blip.files import write_atomically, write_json
from blip.generation.config import DecodingConfig
from blip.inference.checkpoint import fingerprint
from blip.log import say
from blip.model.config import ModelConfig, TextConfig, VisionConfig
from blip.objectives.config import ContrastiveConfig
from blip.recipes import captioner, filter
from blip.recipes.from_weights import short_training
from blip.tasks import caption, pretrain, retrieval
from blip.tasks.config import CaptionerConfig, FilterConfig, PretrainConfig
from experiments.judge import JudgeOptions, judge
from experiments.results import put_table

HERE = Path(__file__).parent
SIZE = 98
BATCH = 48
PROMPT = "a picture of "
CANDIDATES = 16
STEPS = {"pretrain": 240, "retrieval": 60, "caption": 80}
TABLE = "finetune"
"""Its name in README.md."""
CAPTIONS = DecodingConfig(kind="beam", beams=3, min_length=5, max_length=20)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, judge, write; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vision_weights", required=True, metavar="FILE", help="ViT-S/14, timm")
    parser.add_argument(
        "--text_weights", required=True, metavar="FILE", help="BERT, vocab.txt beside"
    )
    parser.add_argument("--out", type=Path, default=HERE / "finetune", metavar="DIR")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument(
        "--steps_scale", type=float, default=1.0, metavar="X", help="for a trial: times the steps"
    )
    args = parser.parse_args(argv)
    shared = Path(os.environ.get("BLIP_SHARED", "../shared")) / "flickr8k"
    try:
        results = run(args, shared)
    except BlipError as error:
        print(f"finetune: error: {plain(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print("\n".join(page(results)))
    if args.steps_scale == 1.0:
        write_json(HERE / "finetune.json", results)
        readme = HERE / "README.md"
        table = "\n".join(["", *page(results), ""])
        write_atomically(readme, put_table(readme.read_text("utf-8"), TABLE, table))
    return 0


def run(args: argparse.Namespace, shared: Path) -> dict[str, Any]:
    """All stages; those that are done are not done again."""
    for name in ("train.parquet", "dev.parquet"):
        if not (shared / name).is_file():
            raise UsageError(
                f"{shared / name} is absent; BLIP_SHARED must name its folder's parent"
            )
    out: Path = args.out
    configs = configure(args, str(shared / "train.parquet"))
    trainers = {"pretrain": pretrain.train, "retrieval": retrieval.train, "caption": caption.train}
    results: dict[str, Any] = {"seconds": {}, "judged": {}}
    for name, config in configs.items():
        spent = out / f"{name}-seconds.json"
        begun = time.monotonic()
        trainers[name](config, out / name)
        if not spent.exists():
            write_json(spent, {"seconds": round(time.monotonic() - begun)})
        results["seconds"][name] = load_json(spent)["seconds"]
    for name in configs:
        options = judging(name, out / name, shared / "dev.parquet")
        judged = judge_once(options, out / f"{name}-judged.json")
        # Captions are left out, and folders of this machine.
        judged = {n: v for n, v in judged.items() if n not in ("captions", "checkpoint", "data")}
        results["judged"][name] = judged
    return {
        **results,
        "command": describe_command(args),
        "seed": args.seed,
        "steps": {name: config.train.steps for name, config in configs.items()},
        # Of the first judgement: the table may be written again by a later commit.
        **{name: results["judged"]["pretrain"][name] for name in ("commit", "machine", "date")},
    }


def describe_command(args: argparse.Namespace) -> str:
    """The command without the folders of this machine."""
    files = f"--vision_weights {Path(args.vision_weights).name}"
    files += f" --text_weights {Path(args.text_weights).name} --seed {args.seed}"
    return f"python -m experiments.flickr8k.finetune {files}"


def judging(name: str, checkpoint: Path, dev: Path) -> JudgeOptions:
    """How a model is judged: the pre-trained one by all that it can do."""
    prompt = PROMPT if name == "caption" else ""
    return JudgeOptions(
        checkpoint=str(checkpoint),
        data=str(dev),
        tasks=() if name == "pretrain" else (name,),
        candidates=CANDIDATES,
        decoding=replace(CAPTIONS, prompt=prompt),
    )


def judge_once(options: JudgeOptions, path: Path) -> dict[str, Any]:
    """What the judge says of a checkpoint, unless it has said so already."""
    if path.exists():
        before = load_json(path)
        if before["model"] == fingerprint(options.checkpoint):
            say(f"{path} is judged already")
            return before
    begun = time.monotonic()
    found = judge(options) | {"judge_seconds": round(time.monotonic() - begun)}
    write_json(path, found)
    return found


def configure(args: argparse.Namespace, train: str) -> dict[str, Any]:
    """The three trainings, by their names."""
    steps = {name: max(2, math.ceil(args.steps_scale * n)) for name, n in STEPS.items()}
    text_weights = Path(args.text_weights)
    data = DataConfig(
        sources=(SourceConfig(name="flickr8k", shards=(train,)),),
        batch_size=BATCH,
        image=ImageConfig(size=SIZE, crop_scale=(0.6, 1.0), augment_ops=0),
        max_tokens=30,
        seed=args.seed,
    )
    first = PretrainConfig(
        model=ModelConfig(
            vision=VisionConfig(image_size=SIZE, patch_size=14, width=384, depth=10, heads=6),
            text=TextConfig(width=384, depth=6, heads=12, mlp_width=1536, dropout=0.0),
        ),
        tokenizer=str(text_weights.with_name("vocab.txt")),
        data=data,
        train=replace(short_training(steps["pretrain"], 4e-4), seed=args.seed),
        # Momentum encoders need thousands of steps to follow; so few steps want them quick.
        contrastive=ContrastiveConfig(momentum=0.5, queue_size=0, alpha=0.0, positives="image"),
        vision_weights=args.vision_weights,
        text_weights=str(text_weights),
        weights_lr_scale=0.25,
    )
    init = str(args.out / "pretrain")
    matching: FilterConfig = replace(
        filter.flickr8k(),
        init=init,
        data=data,
        train=replace(short_training(steps["retrieval"], 1e-4), seed=args.seed),
        contrastive=first.contrastive,
    )
    writing: CaptionerConfig = replace(
        captioner.flickr8k(),
        init=init,
        data=replace(data, prompt=PROMPT),
        train=replace(short_training(steps["caption"], 1e-4), seed=args.seed),
    )
    return {"pretrain": first, "retrieval": matching, "caption": writing}


def page(results: dict[str, Any]) -> list[str]:
    """Lines of Markdown: what was run, and its figures with their intervals."""
    judged, steps, seconds = results["judged"], results["steps"], results["seconds"]
    recalls = [f"{way}{k}" for way in ("tr", "ir") for k in (1, 5, 10)]
    any_model = judged["pretrain"]
    lines = [
        f"`{results['command']}`, seed {results['seed']}, commit {results['commit']}, "
        f"{results['machine']}, {results['date']}. Steps of {BATCH}: "
        + ", ".join(f"{name} {steps[name]} ({seconds[name]} s)" for name in steps)
        + f". {any_model['images']} photos and {any_model['texts']} captions of dev; 95 % "
        f"intervals of {any_model['resamples']} samples of the photos; k = {CANDIDATES}.",
        "",
        "| model | ranked by | " + " | ".join(f"{n[:2].upper()}@{n[2:]}" for n in recalls) + " |",
        "| --- | --- |" + " --- |" * len(recalls),
    ]
    names = {"itc": "ITC alone", "logit": "ITC + match logit"}
    for model in ("pretrain", "retrieval"):
        for ranking, found in judged[model]["retrieval"].items():
            cells = " | ".join(cell(found[name]) for name in recalls)
            ranked = names.get(ranking, "ITC + log-probability")
            lines.append(f"| {model} | {ranked} | {cells} |")
    lines += ["", "| model | BLEU-4 | CIDEr |", "| --- | --- | --- |"]
    for model in ("pretrain", "caption"):
        found = judged[model]["caption"]
        lines.append(f"| {model} | {cell(found['bleu4'])} | {cell(found['cider'])} |")
    return lines


def cell(figure: list[float | None]) -> str:
    """A figure and its interval."""
    value, low, high = ("-" if number is None else f"{number:.1f}" for number in figure)
    return f"{value} ({low} to {high})"


if __name__ == "__main__":
    sys.exit(main())
