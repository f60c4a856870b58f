"""The stages of the experiment on real photos; those that are done are not done again."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blip.capfilt import job
from blip.capfilt.config import CapFiltConfig
from blip.capfilt.report.quality import measure_capfilt
from blip.config.strict import load_json, save
from blip.errors import BlipError
from blip.files import CHECKSUMS, write_json
from blip.generation.config import DecodingConfig
from blip.log import say
from blip.outputs import TRAINING_STATE
from blip.tasks import caption, retrieval
from blip.tasks.config import PretrainConfig
from experiments.blip_command import training_seconds
from experiments.judge import JudgeOptions, judge
from experiments.photos import filtering, settings
from experiments.photos.settings import Places

SYNTHESIS = DecodingConfig(kind="nucleus", top_p=0.9, min_length=5, max_length=20)
CAPTIONS = DecodingConfig(kind="beam", beams=3, min_length=5, max_length=20)
CANDIDATES = 10
JUDGED_FOLDER = "judged"

Results = dict[str, Any]


def run(places: Places, seed: int, scale: float, *, anew: bool = True) -> Results:
    """All stages in turn; returns what was measured. Without `anew` the filter is the end."""
    out, web, shards = places.out, places.data / "web", places.out / "capfilt/shards"
    pretrain(settings.pretraining(places, web, seed, scale), out / "baseline")
    baseline = out / "baseline" / JUDGED_FOLDER
    caption.train(settings.captioning(places, baseline, seed, scale), out / "captioner")
    retrieval.train(settings.filtering(places, baseline, seed, scale), out / "filter")
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
    if anew:
        pretrain(settings.pretraining(places, shards, seed, scale), out / "bootstrapped")
        results["judged"]["bootstrapped"] = judge_once(places, "bootstrapped")
        trained.append("bootstrapped")
    return results | {"seconds": {name: round(training_seconds(out / name)) for name in trained}}


def pretrain(config: PretrainConfig, out: Path) -> None:
    """Pre-train until the step of `settings.CUT`, whose model lies in `out/judged`."""
    judged, cut = out / JUDGED_FOLDER, min(settings.CUT, config.train.steps)
    if judged.is_dir():
        say(f"{judged} was made before")
        return
    settled = out.with_suffix(".json")
    save(config, settled)
    command = [sys.executable, "-m", "blip", "pretrain", str(settled), "--out", str(out)]
    whole = out / f"checkpoints/step-{cut:08d}"
    finished = cut == config.train.steps
    with subprocess.Popen(command) as process:
        while process.poll() is None and (finished or not (whole / CHECKSUMS).is_file()):
            time.sleep(1)
        process.terminate()
    if finished and process.returncode == 0:
        whole = out / "checkpoint"
    if not whole.is_dir():
        raise BlipError(f"{out}: the pre-training stopped; run the same command again to resume")
    shutil.copytree(whole, judged, ignore=shutil.ignore_patterns(TRAINING_STATE, CHECKSUMS))


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
        checkpoint=str(places.out / name / JUDGED_FOLDER),
        data=str(places.data / "judged.parquet"),
        candidates=CANDIDATES,
        decoding=CAPTIONS,
    )
    judged = once(places, f"{name}-judged", lambda: judge(options))
    # Captions are left out, and folders of this machine.
    left_out = ("captions", "checkpoint", "data")
    return {key: value for key, value in judged.items() if key not in left_out}
