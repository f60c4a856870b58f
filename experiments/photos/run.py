"""The stages of the experiment on real photos; those that are done are not done again."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from blip.capfilt import job
from blip.capfilt.config import CapFiltConfig
from blip.capfilt.ledger.columns import booleans
from blip.capfilt.report.findings import is_source
from blip.capfilt.report.quality import measure_capfilt
from blip.config.strict import load_json
from blip.files import write_json
from blip.generation.config import DecodingConfig
from blip.log import say
from blip.tasks import caption, pretrain, retrieval
from experiments.blip_command import training_seconds
from experiments.judge import JudgeOptions, judge
from experiments.photos import filtering, settings
from experiments.photos.gains import find_gains
from experiments.photos.settings import Places
from experiments.tables.cut import cut_job

SYNTHESIS = DecodingConfig(kind="nucleus", top_p=0.9, min_length=5, max_length=20)
CAPTIONS = DecodingConfig(kind="beam", beams=3, min_length=5, max_length=20)
CANDIDATES = 10
MODELS = ("filtered", "bootstrapped")
"""Trained anew: on the kept web texts, and on all kept texts."""

Results = dict[str, Any]


def run(places: Places, seed: int, scale: float, models: Sequence[str] = MODELS) -> Results:
    """All stages in turn, the last of them these `models`; returns what was measured."""
    web = places.data / "web"
    baseline = pretrain_on(places, "baseline", web, seed, scale)
    caption.train(settings.captioning(places, baseline, seed, scale), places.out / "captioner")
    retrieval.train(settings.filtering(places, baseline, seed, scale), places.out / "filter")
    found = once(places, "threshold", lambda: filtering.choose_threshold(places))
    cleaning = configure(places, "capfilt", (str(web),), found, seed)
    alt = (str(places.shared / "webalt/train.parquet"), str(places.data / "unlabelled.parquet"))
    results = {
        "threshold": found,
        "labelled": once(places, "labelled", lambda: filtering.judge_labels(places, found)),
        "capfilt": clean(cleaning),
        "planted": once(places, "planted", lambda: filtering.judge_planted(cleaning, found)),
        "synthetic": once(places, "synthetic", lambda: filtering.judge_synthetic(places, cleaning)),
        "capfilt_webalt": clean(configure(places, "capfilt-webalt", alt, found, seed)),
        "judged": {"baseline": judge_once(places, "baseline")},
    }
    trained = ["baseline", "captioner", "filter"]
    kept = write_kept(cleaning, places.out) if models else {}
    for name in models:
        pretrain_on(places, name, kept[name], seed, scale)
        results["judged"][name] = judge_once(places, name)
        trained.append(name)
    if models:
        gains = partial(find_gains, places, models, CANDIDATES)
        results["gains"] = once(places, "-".join(("gains", *models)), gains)
    return results | {
        "seconds": {name: round(training_seconds(places.out / name)) for name in trained}
    }


def pretrain_on(places: Places, name: str, web: Path, seed: int, scale: float) -> Path:
    """Pre-train on the human pairs and these web pairs, from the weights of a ViT and a BERT."""
    return pretrain.train(settings.pretraining(places, web, seed, scale), places.out / name)


def write_kept(cleaning: CapFiltConfig, out: Path) -> dict[str, Path]:
    """The shards of each of `MODELS`."""
    whole = cut_job(Path(cleaning.out), out / "kept-web", cleaning.data, kept_of_web)
    return dict(zip(MODELS, (whole / "shards", Path(cleaning.out) / "shards"), strict=True))


def kept_of_web(ledger: pa.Table) -> np.ndarray:
    """Which rows are web texts that the filter kept."""
    return booleans(ledger["kept"]) & is_source(ledger, "web")


def once(places: Places, name: str, make: Callable[[], Results]) -> Results:
    """What `make` gave when it was first called, from the file of that name."""
    path = places.out / f"{name}.json"
    if path.is_file():
        say(f"{path} was made before")
        return load_json(path)
    made = make()
    write_json(path, made)
    return made


def configure(
    places: Places, name: str, data: tuple[str, ...], found: Results, seed: int
) -> CapFiltConfig:
    """A job of CapFilt by captioner and filter, with the score and the threshold of val."""
    return CapFiltConfig(
        captioner=str(places.out / "captioner"),
        filter=str(places.out / "filter"),
        data=data,
        out=str(places.out / name),
        **filtering.rules(found),
        decoding=SYNTHESIS,
        seed=seed,
        batch_size=64,
        workers=1,
    )


def clean(config: CapFiltConfig) -> Results:
    """Do the job, or what is left of it; how much was kept of the texts that there are."""
    job.run(config)
    return measure_capfilt(filtering.ledger_of(config), config.data)


def judge_once(places: Places, name: str) -> Results:
    """The judgement of a pre-trained model: retrieval by both scores, and captions."""
    options = JudgeOptions(
        checkpoint=str(places.out / name),
        data=str(places.data / "judged.parquet"),
        candidates=CANDIDATES,
        decoding=CAPTIONS,
    )
    judged = once(places, f"{name}-judged", lambda: judge(options))
    # Captions are left out, and folders of this machine.
    left_out = ("captions", "checkpoint", "data")
    return {key: value for key, value in judged.items() if key not in left_out}
