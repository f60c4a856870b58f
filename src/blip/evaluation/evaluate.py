"""One checkpoint on one split: retrieval, captions, and how many captions are true."""

import math
from pathlib import Path
from typing import Any

from blip.config.history import describe_changes, find_changes, holds_config, load_config
from blip.config.strict import load_json, save
from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.tokenizer import Tokenizer
from blip.errors import UsageError
from blip.evaluation.caption import evaluate_captions, share_correct, write_captions
from blip.evaluation.config import EvaluateConfig
from blip.evaluation.retrieval import evaluate_retrieval
from blip.files import json_text, write_atomically
from blip.inference.checkpoint import open_checkpoint
from blip.model.blip import Blip
from blip.model.checkpoint.locate import find_weights
from blip.model.config import check_length
from blip.outputs import EVALUATION, check_unchanged, claim, refuse_inputs_as_output
from blip.stage import exclusive_lock

RESULT = "evaluation.json"


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """`retrieval` (tr1 ... ir10, per cent), `caption` (cider, bleu4, correct), `captions` by key.

    `correct` is the share of captions that state something of their scene and nothing wrong; it is
    None where the data is not of the built-in scenes. A model that has one half of a MED is
    measured by what that half does; the other part is None, and `not_measured` says why.
    `model` is the fingerprint of the checkpoint, whatever becomes of its folder later.
    `left_out` counts what was bad in the data by its reason, `left_out_samples` names it.
    """
    checkpoint = open_checkpoint(config.checkpoint)
    loaded = checkpoint.load_as(Blip)
    modes = loaded.config.modes
    if "causal" in modes:
        check_length(loaded.config.text, "captioning.max_length", config.captioning.max_length)
    size = loaded.config.vision.image_size
    data = EvaluationSet(config.data, size, max_pixels=config.max_pixels)
    result: dict[str, Any] = {
        "model": checkpoint.fingerprint(),
        "retrieval": None,
        "caption": None,
        "captions": {},
        "images": len(data),
        "texts": sum(map(len, data.texts)),
        "left_out": dict(sorted(data.bad.counts.items())),
        "left_out_samples": [
            {"shard": shard, "key": key, "reason": reason} for shard, key, reason in data.bad.first
        ],
        "not_measured": {},
    }
    if "bidirectional" in modes:
        found = evaluate_retrieval(loaded.model, loaded.tokenizer, data, config.retrieval)
        result["retrieval"] = found
    else:
        result["not_measured"]["retrieval"] = "this model has no text encoder, only a text decoder"
    if "causal" in modes:
        result |= _write_and_judge(loaded.model, loaded.tokenizer, data, config)
    else:
        result["not_measured"]["caption"] = "this model has no text decoder, only a text encoder"
    return result


def _write_and_judge(
    model: Blip, tokenizer: Tokenizer, data: EvaluationSet, config: EvaluateConfig
) -> dict[str, Any]:
    texts = write_captions(model, tokenizer, data, config.captioning, config.batch_size)
    scores = {**evaluate_captions(texts, data), "correct": share_correct(texts, data)}
    return {
        "caption": {name: _finite(value) for name, value in scores.items()},
        "captions": dict(zip(data.keys, texts, strict=True)),
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def evaluate_into(config: EvaluateConfig, out: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Write config.json and evaluation.json into `out`; returns what the latter holds.

    Raises UsageError where another evaluation lies there, unless asked to `overwrite` it.
    """
    path = out / "config.json"
    refuse_inputs_as_output([config.checkpoint, *config.data], out, EVALUATION)
    # Before the folder is marked: a mistyped checkpoint must leave nothing behind.
    find_weights(config.checkpoint)
    claim(out, EVALUATION, is_ours=lambda: holds_config(EvaluateConfig, path))
    with exclusive_lock(out):
        if (out / RESULT).exists() and path.exists() and not overwrite:
            changes = find_changes(load_config(EvaluateConfig, path), config)
            if changes:
                raise UsageError(
                    f"{out} holds another evaluation ({describe_changes(changes)}); --overwrite "
                    "replaces it, another --out keeps both"
                )
        result = evaluate(config)
        content = json_text(result, indent=2, sort_keys=True) + "\n"
        check_unchanged(out / RESULT, content, overwrite=overwrite)
        save(config, path)
        write_atomically(out / RESULT, content)
        return result


def read_evaluation(folder: Path) -> dict[str, Any]:
    """What `evaluate_into` wrote."""
    return load_json(folder / RESULT)
