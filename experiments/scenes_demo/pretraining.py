"""What the demo's pre-training learns with other settings of its losses and its optimiser.

    python -m experiments.scenes_demo.pretraining --run runs/demo --out runs/pretraining

Repeats the pre-training of `--run`, a finished `blip demo`, with every variant (`--variants`
chooses some), and ranks 300 scenes that none of its splits holds. A training that is done is not
repeated, and one that was stopped resumes. Prints the table, and writes pretraining.json beside
this file.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blip.config import strict
from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.write import write_splits
from blip.evaluation.config import RetrievalEvaluationConfig
from blip.evaluation.ranking import ScoredPairs, score_candidates
from blip.evaluation.retrieval import figures_of, truth_of
from blip.files import write_json
from blip.inference.checkpoint import open_checkpoint
from blip.model.blip import Blip
from blip.reports.origin import origin
from blip.tasks import pretrain
from blip.tasks.config import PretrainConfig

HERE = Path(__file__).parent
SCENES_SEED = 1000
"""Added to the run's seed for the scenes that are ranked."""
CANDIDATES = 32

Change = Callable[[PretrainConfig], PretrainConfig]


def contrast(config: PretrainConfig, **changes: Any) -> PretrainConfig:
    """Other settings of the contrastive loss."""
    return replace(config, contrastive=replace(config.contrastive, **changes))


def optimise(config: PretrainConfig, **changes: Any) -> PretrainConfig:
    """Other settings of the optimiser."""
    optimizer = replace(config.train.optimizer, **changes)
    return replace(config, train=replace(config.train, optimizer=optimizer))


QUEUE = partial(contrast, queue_size=1024)
NO_QUEUE = partial(contrast, queue_size=0)


def both(*changes: Change) -> Change:
    """One change after the other."""

    def change(config: PretrainConfig) -> PretrainConfig:
        for one in changes:
            config = one(config)
        return config

    return change


VARIANTS: dict[str, Change] = {
    "queue of 1024": QUEUE,
    "queue, gradients clipped to norm 1": both(QUEUE, partial(optimise, clip_norm=1.0)),
    "queue, half the learning rate": both(QUEUE, partial(optimise, lr=1e-3)),
    "queue, alpha 0": both(QUEUE, partial(contrast, alpha=0.0)),
    "queue, momentum 0.9": both(QUEUE, partial(contrast, momentum=0.9)),
    "no queue": NO_QUEUE,
    "no queue, clipped": both(NO_QUEUE, partial(optimise, clip_norm=1.0)),
    "no queue, alpha 0": both(NO_QUEUE, partial(contrast, alpha=0.0)),
    "no queue, momentum 0.5": both(NO_QUEUE, partial(contrast, momentum=0.5)),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is not there, rank, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--steps", type=int, metavar="N", help="of each (those of the run)")
    args = parser.parse_args(argv)
    first = read_config(args.run, args.steps)
    data = draw_scenes(args.run, args.out / "scenes", first.model.vision.image_size)
    rows: dict[str, Any] = {}
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    for name in args.variants:
        folder = args.out / name.replace(",", "").replace(" ", "-")
        pretrain.train(VARIANTS[name](first), folder)
        rows[name] = judge(folder / "checkpoint", data) | last_losses(folder)
        print(row(name, rows[name]), flush=True)
    found = {"steps": first.train.steps, "seed": first.train.seed, "variants": rows}
    write_json(HERE / "pretraining.json", {**found, **origin(HERE)})
    return 0


def read_config(run: Path, steps: int | None) -> PretrainConfig:
    """The first pre-training of a run, its places found from here, without validation."""
    written = strict.load_json(run / "round-1/pretrain/config.json")
    config = strict.from_json(PretrainConfig, written)
    sources = tuple(
        replace(source, shards=(str(run / "data" / source.name),)) for source in config.data.sources
    )
    return replace(
        config,
        tokenizer=str(run / "tokenizer"),
        data=replace(config.data, sources=sources),
        train=replace(config.train, steps=steps or config.train.steps, evaluate_every=None),
        validation=None,
    )


def draw_scenes(run: Path, out: Path, size: int) -> EvaluationSet:
    """Scenes like those of the run, of another seed."""
    config = strict.from_json(ScenesConfig, strict.load_json(run / "data/config.json"))
    if not (out / "test").is_dir():
        write_splits(replace(config, seed=config.seed + SCENES_SEED, human=1, web=1, val=1), out)
    return EvaluationSet((str(out / "test"),), size)


def judge(checkpoint: Path, data: EvaluationSet) -> dict[str, Any]:
    """Recalls by the cosine of ITC, and after ITM's log-probability has ranked the best again."""
    loaded = open_checkpoint(str(checkpoint)).load("cpu", precision=torch.float32)
    assert isinstance(loaded.model, Blip)
    config = RetrievalEvaluationConfig(candidates=CANDIDATES)
    scored = score_candidates(loaded.model, loaded.tokenizer, data, config)
    is_true = truth_of(data)
    return {
        "by_itc": figures_of(scored.rank_by_cosine(), is_true),
        "by_log_probability": figures_of(scored.rank("log_probability"), is_true),
        "most_frequent_text": most_frequent(scored),
    }


def most_frequent(scored: ScoredPairs) -> float:
    """Per cent of images that have the same text among their candidates; 2.1 if all were equal."""
    return 100.0 * int(np.bincount(scored.of_images.columns).max()) / len(scored.of_images)


def last_losses(folder: Path) -> dict[str, float]:
    """Means of what was logged in the last tenth of a training; the largest gradient of all."""
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    rows = [one for line in lines if "contrastive" in (one := json.loads(line))]
    last = rows[-max(1, len(rows) // 10) :]
    return {
        **{
            name: sum(one[name] for one in last) / len(last)
            for name in ("contrastive", "matching", "language", "temperature")
        },
        "largest_gradient": max(one["gradient_norm"] for one in rows),
    }


COLUMNS = (
    *("", "ITC loss", "temperature", "largest gradient", "most frequent text %"),
    *("ITC: TR@10 / IR@10", "re-ranked: R@1 / R@10, image to text", "text to image"),
)


def row(name: str, found: dict[str, Any]) -> str:
    """A line of the table."""
    itc, ranked = found["by_itc"], found["by_log_probability"]
    cells = (
        name,
        f"{found['contrastive']:.2f}",
        f"{found['temperature']:.3f}",
        f"{found['largest_gradient']:.0f}",
        f"{found['most_frequent_text']:.0f}",
        f"{itc['tr10']:.1f} / {itc['ir10']:.1f}",
        *(f"{ranked[f'{way}1']:.1f} / {ranked[f'{way}10']:.1f}" for way in ("tr", "ir")),
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
