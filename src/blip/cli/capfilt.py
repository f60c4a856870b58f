"""`blip capfilt`: clean image-text shards with a captioner and a filter."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from blip.capfilt.config import CapFiltConfig
from blip.cli.from_dataclass import Options
from blip.cli.options import (
    DECODING_GROUP,
    DECODING_HIDDEN,
    DECODING_NAMES,
    Renamed,
    unused_by,
)

EXAMPLES = """\
examples:
  blip capfilt --captioner runs/captioner --filter runs/filter --data 'web/*.tar' --out clean
  blip capfilt --captioner original:model_base_caption_capfilt_large \\
    --filter original:model_base_retrieval_coco --prompt 'a picture of ' \\
    --data web.parquet --out clean --dry-run
  blip capfilt --captioner C --filter F --data 'web/{00000..00099}.tar' --out clean --workers 8
  blip capfilt --captioner C --filter F --data web --out texts --write texts --captions 3
  blip capfilt --captioner C --filter F --data web --out clean --decode beam --max-bad 5%
  blip capfilt --captioner C --filter F --data web --out clean --engine ray --ray-address auto
  blip capfilt --captioner C --filter F --data web --out clean --unique-images 3 --max-repeats 100
  blip capfilt clean/config.json --out clean-strict --threshold 0.8

If a job is stopped or killed, run the same command again to resume it; it ends with the same bytes.
Repeated texts and images are found over the whole job, once all shards are done, and the first in
the order of shards stays.
OUT/shards has a sample for every kept text (OUT/texts a row, with --write texts), OUT/ledger a row
for every text and bad sample, OUT/report.html shows both, OUT/summary.json has the totals, and
OUT/status.json says, while the job runs, how far it is."""

ACTIONS = {
    "recut": "make another data set of a finished job by other rules, without a model",
    "calibrate": "choose the threshold that reaches a precision, by labelled texts",
    "report": "draw report.html of a finished job",
}
"""What else is done with the output of a job: `blip capfilt ACTION` is in capfilt_ACTION.py."""

RENAMED = (Renamed("--search", "--decode"),)

RULES = {
    "what else a text has to obey, off by default": ("rules",),
    "what it has to obey beside all others of the job": ("job_rules",),
}
THE_JOB = "the job"
WHERE = (
    *("engine", "workers", "device", "captioner_device", "filter_device", "precision", "compile"),
    *("batch_size", "ray_address", "gpus_per_worker"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class CapFiltOptions:
    """Options of `blip capfilt`, beside the job's configuration."""

    config: Path | None = None
    """The config.json of a job; what is typed wins."""
    overwrite: bool = False
    """Replace what a job of other settings left in DIR (else it is refused)."""
    dry_run: bool = False
    """Print how much work, disk and time it is, by a few images, and stop."""
    json: bool = False
    """Print a JSON object."""


USE_DATA = "--data takes what is to be cleaned"
OPTIONS = Options(
    of=CapFiltOptions,
    arguments=("config",),
    groups={THE_JOB: ("overwrite",)},
    either=("dry_run", "json"),
)
JOB = Options(
    of=CapFiltConfig,
    names=DECODING_NAMES,
    groups={THE_JOB: ("",), "where": WHERE, **DECODING_GROUP, **RULES},
    hidden=DECODING_HIDDEN,
    from_file=True,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; a config.json may give any of them, and what is typed wins."""
    JOB.declare(parser)
    OPTIONS.declare(parser)


def run(args: argparse.Namespace) -> int:
    """Do the job; 130 where it was interrupted."""
    options = OPTIONS.read(args)
    with JOB.naming(args, has_file=options.config is not None):
        return _run(read_config(args), options)


def _run(config: CapFiltConfig, options: CapFiltOptions) -> int:
    _say_where_fine_tuned_for_the_other(config)
    if options.dry_run:
        from blip.capfilt.forecast import forecast

        sys.stdout.write(forecast(config))
        return 0
    from blip.capfilt.job import Summary
    from blip.capfilt.job import run as run_job
    from blip.cli.totals import run_and_print

    def work() -> Summary:
        return run_job(config, overwrite=options.overwrite)

    return run_and_print(work, config, json=options.json)


def _say_where_fine_tuned_for_the_other(config: CapFiltConfig) -> None:
    """Say so where a captioner is to filter, or a filter to write: it has the parts for both."""
    from blip.config.history import holds_config
    from blip.log import say
    from blip.tasks.config import CaptionerConfig, FilterConfig

    for option, name, other, losses in (
        ("--captioner", config.captioner, FilterConfig, "a filter, with ITC and ITM"),
        ("--filter", config.filter, CaptionerConfig, "a captioner, with LM alone"),
    ):
        place = Path(name)
        run = place.parent if place.name == "checkpoint" else place
        if holds_config(other, run / "config.json"):
            say(f"capfilt: {option} {name} was fine-tuned as {losses}")


def read_config(args: argparse.Namespace) -> CapFiltConfig:
    """The configuration that file and options describe; raises UsageError."""
    from blip.config.strict import load_json
    from blip.errors import UsageError

    path = OPTIONS.read(args).config
    try:
        base = load_json(path) if path else {}
    except UsageError as error:
        if path is None or path.suffix.lower() == ".json" or not path.exists():
            raise
        raise UsageError(f"{path} is not the config.json of a job; {USE_DATA}") from error
    if not isinstance(base, dict):
        raise UsageError(f"{path} must hold a JSON object, as the config.json of a job; {USE_DATA}")
    config = JOB.read(args, base)
    JOB.refuse_unused(args, unused_by(config.decoding.kind))
    return config
