"""One checkpoint on one split: retrieval, captions, and how many captions are true."""

from pathlib import Path
from typing import Any

from blip.config.strict import load_json, save
from blip.data.loader import EvaluationSet
from blip.data.scenes.check import judge
from blip.data.scenes.scene import Scene
from blip.files import write_json
from blip.inference.checkpoint import load_model
from blip.model.config import check_length
from blip.reports.config import EvaluateConfig
from blip.tasks import caption, retrieval

RESULT = "evaluation.json"


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """`retrieval` (tr1 ... ir10, per cent), `caption` (cider, bleu4, correct), `captions` by key.

    `correct` is the share of captions that state something of their scene and nothing wrong; it is
    None where the data is not of the built-in scenes.
    """
    loaded = load_model(config.checkpoint)
    check_length(loaded.config.text, "captioning.max_length", config.captioning.max_length)
    data = EvaluationSet(config.data, loaded.config.vision.image_size)
    ranking = retrieval.evaluate(loaded.model, loaded.tokenizer, data, config.retrieval)
    texts = caption.write_captions(
        loaded.model, loaded.tokenizer, data, config.captioning, config.batch_size
    )
    scores: dict[str, float | None] = dict(caption.evaluate(texts, data))
    scores["correct"] = share_correct(texts, data)
    return {
        "retrieval": ranking,
        "caption": scores,
        "captions": dict(zip(data.keys, texts, strict=True)),
        "images": len(data),
    }


def evaluate_into(config: EvaluateConfig, out: Path) -> None:
    """Write config.json and evaluation.json into `out`."""
    save(config, out / "config.json")
    write_json(out / RESULT, evaluate(config))


def read_evaluation(folder: Path) -> dict[str, Any]:
    """What `evaluate_into` wrote."""
    return load_json(folder / RESULT)


def share_correct(texts: list[str], data: EvaluationSet) -> float | None:
    """Share of texts of which every stated fact is true; None without scenes to judge by."""
    if not all("scene" in meta for meta in data.metas):
        return None
    verdicts = [
        judge(text, Scene.from_json(meta["scene"]))
        for text, meta in zip(texts, data.metas, strict=True)
    ]
    return sum(verdict.correct for verdict in verdicts) / len(verdicts)
