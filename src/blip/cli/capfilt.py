"""`blip capfilt`: clean image-text shards with a captioner and a filter."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blip.cli import options
from blip.cli.filter_rules import add_job_rules, add_rules, read_job_rules, read_rules

if TYPE_CHECKING:
    from blip.capfilt.config import CapFiltConfig
    from blip.capfilt.job import Summary
    from blip.capfilt.ledger.records import Counts

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

A job that was stopped, or killed, goes on with the same command, to the same bytes. Repeated
texts and images are found over the whole job, once all shards are done, and the first in the order
of shards stays.
OUT/shards has a sample for every kept text (OUT/texts a row, with --write texts), OUT/ledger a row
for every text and bad sample, OUT/report.html shows both, OUT/summary.json has the totals, and
OUT/status.json says, while the job runs, how far it is."""

ACTIONS = {
    "recut": "make another data set of a finished job by other rules, without a model",
    "calibrate": "choose the threshold that reaches a precision, by labelled texts",
    "report": "draw report.html of a finished job",
}
"""What else is done with the output of a job: `blip capfilt ACTION` is in capfilt_ACTION.py."""

_DECODING = {
    "decode": "kind",
    "beams": "beams",
    "top_p": "top_p",
    "top_k": "top_k",
    "temperature": "temperature",
    "min_length": "min_length",
    "max_length": "max_length",
    "repetition_penalty": "repetition_penalty",
    "prompt": "prompt",
}
"""Options of decoding, and the field of each."""

RENAMED = (options.Renamed("--search", "--decode"),)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; a config.json may give any of them, and what is typed wins."""
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="config.json of a job")
    job = parser.add_argument_group("the job")
    _add_job(job)
    _add_limits(job)
    _add_place(parser.add_argument_group("where"))
    _add_decoding(parser.add_argument_group("how captions are written"))
    add_rules(parser)
    add_job_rules(parser)


def _add_job(job: argparse._ArgumentGroup) -> None:
    job.add_argument(
        "--captioner",
        type=options.path_text,
        metavar="CKPT",
        help="folder, file, hf:ORG/NAME or original:NAME",
    )
    job.add_argument(
        "--filter",
        type=options.path_text,
        metavar="CKPT",
        help="likewise, a model fine-tuned with ITC and ITM",
    )
    job.add_argument(
        "--data",
        nargs="+",
        metavar="DATA",
        help=".tar shards, .parquet, .csv, .tsv, .json tables, folders, globs, brace ranges",
    )
    job.add_argument(
        "--out", type=options.path_text, metavar="DIR", help="folder for shards, ledger and report"
    )
    job.add_argument(
        "--threshold",
        type=options.finite_float,
        metavar="T",
        help="least match probability kept (0.5)",
    )
    job.add_argument(
        "--seed", type=options.whole_number, metavar="S", help="seed of the sampled captions (0)"
    )
    job.add_argument(
        "--captions",
        type=options.whole_number,
        metavar="N",
        help="synthetic texts an image (1); 0 only filters",
    )
    job.add_argument(
        "--max-bad", metavar="SHARE", help="stop if more samples are bad, such as 5%% (never)"
    )
    job.add_argument(
        "--write", choices=("shards", "texts"), help="images and texts, or texts alone (shards)"
    )


def _add_limits(job: argparse._ArgumentGroup) -> None:
    job.add_argument(
        "--rows",
        type=options.whole_number,
        metavar="N",
        help="rows of a table that make a shard (1000)",
    )
    job.add_argument(
        "--max-pixels",
        type=options.whole_number,
        metavar="N",
        help="largest picture that is read: width times height (100000000)",
    )
    job.add_argument(
        "--overwrite",
        action="store_true",
        help="replace what a job of other settings left in DIR (else it is refused)",
    )
    job.add_argument(
        "--dry-run",
        action="store_true",
        help="say how much work, disk and time it is, by a few images, and stop",
    )


def _add_place(place: argparse._ArgumentGroup) -> None:
    place.add_argument(
        "--engine", choices=("local", "ray"), help="processes here, or actors on Ray (local)"
    )
    place.add_argument(
        "--workers",
        type=options.whole_number,
        metavar="N",
        help="processes or actors (one a CPU, or a GPU)",
    )
    place.add_argument(
        "--device", type=options.device, metavar="D", help="auto, cpu, cuda or cuda:N (auto)"
    )
    place.add_argument(
        "--captioner-device",
        type=options.device,
        metavar="D",
        help="device of the captioner (that of --device)",
    )
    place.add_argument(
        "--filter-device",
        type=options.device,
        metavar="D",
        help="device of the filter (that of --device)",
    )
    place.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        help="number format of both models (auto: bfloat16 on a GPU that has it, else float32)",
    )
    place.add_argument(
        "--batch-size",
        type=options.batch_size_or_auto,
        metavar="N",
        help="images at a time, or auto (auto)",
    )
    place.add_argument(
        "--ray-address", metavar="A", help="HOST:PORT or auto (none: one is started here)"
    )
    place.add_argument(
        "--gpus-per-worker",
        type=options.finite_float,
        metavar="G",
        help="Ray: such as 0.5 (1, if there are any)",
    )


def _add_decoding(decoding: argparse._ArgumentGroup) -> None:
    decoding.add_argument(
        "--decode",
        choices=("nucleus", "beam", "greedy"),
        help="how a caption is chosen, token by token (nucleus)",
    )
    decoding.add_argument(
        "--top-p",
        type=options.finite_float,
        metavar="P",
        help="nucleus: probability mass drawn from (0.9)",
    )
    decoding.add_argument(
        "--top-k",
        type=options.whole_number,
        metavar="K",
        help="nucleus: so many of the likeliest tokens at most (no bound)",
    )
    decoding.add_argument(
        "--temperature",
        type=options.finite_float,
        metavar="T",
        help="nucleus: divides the logits (1.0)",
    )
    decoding.add_argument(
        "--beams", type=options.whole_number, metavar="N", help="beam: hypotheses (3)"
    )
    decoding.add_argument(
        "--min-length",
        type=options.whole_number,
        metavar="N",
        help="fewest tokens, start and prompt included (5)",
    )
    decoding.add_argument(
        "--max-length", type=options.whole_number, metavar="N", help="most tokens (20)"
    )
    decoding.add_argument(
        "--repetition-penalty",
        type=options.finite_float,
        metavar="P",
        help="divides scores of repeated tokens (1.0, none)",
    )
    decoding.add_argument(
        "--prompt", type=options.plain_text, metavar="TEXT", help="start of every caption"
    )


def run(args: argparse.Namespace) -> int:
    """Do the job; 130 where it was interrupted."""
    with options.naming_options(options.given_options(args)):
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    config = read_config(args)
    if args.dry_run:
        from blip.capfilt.forecast import forecast

        sys.stdout.write(forecast(config))
        return 0
    from blip.capfilt.job import run as run_job
    from blip.log import say

    try:
        summary = run_job(config, overwrite=args.overwrite)
    except KeyboardInterrupt:
        say(f"\nstopped; finished shards are kept in {config.out}, the same command goes on")
        return 130
    sys.stdout.write(describe(summary))
    return 0


def read_config(args: argparse.Namespace) -> "CapFiltConfig":
    """The configuration that file and options describe; raises UsageError."""
    from dataclasses import fields

    from blip.capfilt.config import NUCLEUS, CapFiltConfig
    from blip.config import strict
    from blip.errors import UsageError

    data: Any = strict.load_json(Path(args.config)) if args.config else {}
    if not isinstance(data, dict):
        raise UsageError(f"{args.config} must hold a JSON object")
    typed = {name: value for name, value in vars(args).items() if value is not None}
    for field in fields(CapFiltConfig):
        name = field.name
        if name in typed and name != "rules":
            data[name] = typed[name]
    for name, given in (("rules", read_rules(args)), ("job_rules", read_job_rules(args))):
        rules = data.get(name) or {}
        if isinstance(rules, dict):
            data[name] = {**rules, **given}
    decoding = {field: typed[name] for name, field in _DECODING.items() if name in typed}
    data = strict.with_current_names(CapFiltConfig, data)
    base = data.get("decoding", {})
    if isinstance(base, dict):
        data["decoding"] = {**strict.to_json(NUCLEUS), **base, **decoding}
    missing = [name for name in ("captioner", "filter", "data", "out") if name not in data]
    if missing:
        listed = ", ".join(f"--{name}" for name in missing)
        raise UsageError(f"{listed} missing: give it, or a config.json that has it")
    return strict.from_json(CapFiltConfig, data)


def describe(summary: "Summary") -> str:
    """The totals of a job as text."""
    return describe_counts(summary.counts, summary.out, summary.settings.write)


def describe_counts(counts: "Counts", out: Path, write: str) -> str:
    """The totals as text, and where things lie."""
    rows = [
        ("images", counts.images, ""),
        ("  kept", counts.images_kept, "with a text or more"),
        ("  dropped", counts.images_dropped, "no text matched"),
        ("  bad", counts.images_bad, "the ledger says why"),
        ("web texts kept", counts.web_kept, _of(counts.web_kept, counts.web_dropped)),
        (
            "synthetic texts kept",
            counts.synthetic_kept,
            _of(counts.synthetic_kept, counts.synthetic_dropped),
        ),
    ]
    lines = [f"{name:<22}{number:>10}  {note}".rstrip() for name, number, note in rows]
    lines += [f"{write:<9}{out}/{write}", f"ledger   {out}/ledger", f"report   {out}/report.html"]
    return "\n".join(lines) + "\n"


def _of(kept: int, dropped: int) -> str:
    return f"{kept / (kept + dropped):.1%} of {kept + dropped}" if kept + dropped else ""
