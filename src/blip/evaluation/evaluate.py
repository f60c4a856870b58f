"""One checkpoint on one split: its figures, and the file that holds them."""

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from blip import dist
from blip.config.history import describe_changes, find_changes, holds_config, load_config
from blip.config.strict import load_json, save
from blip.data.readers.video_places import refuse_only_videos
from blip.errors import UsageError
from blip.evaluation.choose import Evaluation, choose_evaluations
from blip.evaluation.config import EvaluateConfig
from blip.evaluation.subject import Subject, describe_data
from blip.files import json_text, write_atomically
from blip.inference.checkpoint import Checkpoint, open_checkpoint
from blip.model.checkpoint.locate import find_weights
from blip.nn.device import choose_device, choose_dtype, choose_format
from blip.outputs import (
    EVALUATION,
    check_unchanged,
    claim,
    refuse_inputs_as_output,
    remove_known,
)
from blip.stage import exclusive_lock

CONFIG, RESULT = "config.json", "evaluation.json"
FREE_TO_CHANGE = ("device",)
"""Keys that may differ when an evaluation is made again: the same figures, computed elsewhere."""


def evaluate(
    config: EvaluateConfig,
    evaluations: Sequence[Evaluation],
    *,
    checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:
    """The figures of those `evaluations` that the checkpoint can do, or of the chosen one.

    Each has its figures under its name, None where it was not measured, and `not_measured` says
    why. `model` is the fingerprint of the checkpoint, whatever becomes of its folder later.
    A `checkpoint` that is given is that of `config`, opened already.
    Processes that torchrun started share the samples, and the first one has the figures.
    `left_out` counts what was bad in the data by its reason, `left_out_samples` names it.

    Raises UsageError for a task that is unknown or that the checkpoint cannot do, and for a device
    that is not there.
    """
    return _measure(config, evaluations, checkpoint)[0]


def _measure(
    config: EvaluateConfig, evaluations: Sequence[Evaluation], checkpoint: Checkpoint | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """The figures, and the files for servers that go with them, by name."""
    device = choose_device(config.device)
    number_format = choose_format(config.precision, device)
    checkpoint = checkpoint or open_checkpoint(config.checkpoint)
    sizes = checkpoint.contents.config
    chosen, not_measured = choose_evaluations(evaluations, config, sizes)
    for evaluation in chosen:
        if evaluation.check is not None:
            evaluation.check(config, sizes)
    if not any(one.only_when_chosen for one in chosen):
        refuse_only_videos(config.data)
    loaded = checkpoint.load(device, precision=number_format)
    readers = {evaluation.reader: evaluation for evaluation in chosen}
    sets = {reader: evaluation.read(config, sizes) for reader, evaluation in readers.items()}
    result: dict[str, Any] = {
        "model": checkpoint.fingerprint(),
        "not_measured": not_measured,
        **describe_data(list(sets.values())),
    }
    for evaluation in evaluations:
        if evaluation.architecture == sizes.architecture and (
            evaluation in chosen or not evaluation.only_when_chosen
        ):
            result[evaluation.name] = None
            if evaluation.outputs is not None:
                result[evaluation.outputs] = {}
    files: dict[str, str] = {}
    for evaluation in chosen:
        subject = Subject(
            loaded.model,
            loaded.tokenizer,
            sets[evaluation.reader],
            config,
            checkpoint.contents.origin,
        )
        # Only the main process has the figures of what all of them have done.
        result |= evaluation.measure(subject)
        if not dist.is_main():
            continue
        if evaluation.result_file is not None and evaluation.outputs is not None:
            rows = evaluation.rows(subject, result[evaluation.outputs])
            files[evaluation.result_file] = _format(rows, evaluation.result_file)
    return result, files


def _format(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    """Rows as a JSON list, or as CSV without a header, by the end of the file's name."""
    if not name.endswith(".csv"):
        return json_text(rows, indent=1) + "\n"
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(row.values() for row in rows)
    return text.getvalue()


def evaluate_into(
    config: EvaluateConfig,
    evaluations: Sequence[Evaluation],
    out: Path,
    *,
    overwrite: bool = False,
    checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:
    """Write config.json, evaluation.json and what servers take into `out`; returns the second.

    config.json has the number format that `auto` has become. Of several processes the first looks
    at the folder and writes. Raises UsageError if another evaluation lies there, unless asked to
    `overwrite` it.
    """
    config = _resolve_auto(config, config.device)
    with ExitStack() as held:
        dist.on_main(lambda: _prepare(config, out, held, overwrite=overwrite))
        result, files = _measure(config, evaluations, checkpoint)
        if not dist.is_main():
            return result
        # The figures last: they say that the evaluation is done.
        files[RESULT] = json_text(result, indent=2, sort_keys=True) + "\n"
        # Where there are no figures, an evaluation was stopped while it wrote the rest.
        replaces = overwrite or not (out / RESULT).exists()
        for name, content in files.items():
            check_unchanged(out / name, content, overwrite=replaces)
        # Of the evaluation that this one replaces; first the figures, which say that it is done.
        (out / RESULT).unlink(missing_ok=True)
        remove_known(out, [name for name in EVALUATION.files if name not in files])
        save(config, out / CONFIG)
        for name, content in files.items():
            write_atomically(out / name, content)
        return result


def _prepare(config: EvaluateConfig, out: Path, held: ExitStack, *, overwrite: bool) -> None:
    """Claim and lock a folder for an evaluation, and compare it with the one that lies there."""
    path = out / CONFIG
    refuse_inputs_as_output([config.checkpoint, *config.data], out, EVALUATION)
    # Before the folder is marked: a mistyped checkpoint must leave nothing behind.
    find_weights(config.checkpoint)
    claim(out, EVALUATION, is_ours=lambda: holds_config(EvaluateConfig, path))
    held.enter_context(exclusive_lock(out))
    if not ((out / RESULT).exists() and path.exists()) or overwrite:
        return
    before = _resolve_auto(load_config(EvaluateConfig, path), config.device)
    changes = find_changes(before, config, FREE_TO_CHANGE)
    if changes:
        raise UsageError(
            f"{out} holds another evaluation ({describe_changes(changes)}); --overwrite "
            "replaces it, another --out keeps both"
        )


def _resolve_auto(config: EvaluateConfig, device: str) -> EvaluateConfig:
    """The configuration with the number format that `auto` means on a device."""
    if config.precision != "auto":
        return config
    is_float32 = choose_dtype("auto", choose_device(device)) == torch.float32
    return replace(config, precision="float32" if is_float32 else "bfloat16")


def read_evaluation(folder: Path) -> dict[str, Any]:
    """What `evaluate_into` wrote."""
    return load_json(folder / RESULT)
