"""Captions: what a model writes about test images, and the scores of that (BLIP, section 5.2)."""

import math
import re
from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from blip import dist
from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.sample import DOMAIN, OFFICIAL_ID
from blip.data.scenes.check import check_facts
from blip.data.scenes.scene import Scene
from blip.data.tokenizer import Tokenizer
from blip.evaluation.batches import in_batches
from blip.evaluation.subject import Subject
from blip.generation.config import DecodingConfig
from blip.inference.base import naming_batch
from blip.inference.captioner import Captioner
from blip.inference.pixels import NormalisedImage
from blip.metrics.captions import caption_scores, meteor_score
from blip.metrics.spice import spice_score
from blip.model.blip import Blip

_COCO_NAME = re.compile(r"(?:COCO_[a-z]+\d{4}_)?(\d{12})", re.ASCII)
"""COCO's names of pictures, with and without their split."""


def measure(subject: Subject[EvaluationSet]) -> dict[str, Any]:
    """`caption`: its scores and correct, each None where undefined; `captions`: text by key.

    With METEOR where the configuration asks for it. `correct` is the share of captions that state
    something of their scene and nothing wrong; it is None where the data are not of the built-in
    scenes. Where images have domains, as those of NoCaps have, `cider/in-domain` and so on are the
    scores of each domain alone. Images without true captions have no scores.
    """
    model, config, data = subject.model, subject.config, subject.data
    assert isinstance(model, Blip)
    write = partial(
        *(write_captions, model, subject.tokenizer, data, config.captioning, config.batch_size),
        show_progress=True,
    )
    texts = dist.share_out(len(data), write)
    if texts is None:
        return {}
    captions = dict(zip(data.keys, texts, strict=True))
    if not any(data.texts):
        return {"caption": {"cider": None}, "captions": captions}
    scores: dict[str, float | None] = {**evaluate_captions(texts, data), **_by_domain(texts, data)}
    scores["correct"] = share_correct(texts, data)
    if config.meteor:
        scores["meteor"] = meteor_score(texts, data.texts)
    if config.spice:
        scores["spice"] = spice_score(texts, data.texts)
    return {
        "caption": {name: _finite(value) for name, value in scores.items()},
        "captions": captions,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def write_captions(
    model: Blip,
    tokenizer: Tokenizer,
    data: EvaluationSet,
    decoding: DecodingConfig,
    batch_size: int,
    places: range | None = None,
    *,
    show_progress: bool = False,
) -> list[str]:
    """One caption for each image of `data`, or of those at `places`, in their order."""
    places = range(len(data)) if places is None else places
    captioner = Captioner(model, tokenizer)
    captions: list[str] = []
    for seeds in in_batches(places, batch_size, "caption", "images", show_progress=show_progress):
        images = [*map(NormalisedImage, data.images(seeds.start, seeds.stop))]
        with naming_batch(data.keys[seeds.start]):
            captions += captioner.caption(images, decoding, seeds=seeds, batch_size=batch_size)
    return captions


def evaluate_captions(captions: list[str], data: EvaluationSet) -> dict[str, float]:
    """`caption_scores` against all captions of each image.

    These are used as they were written: the metrics' own tokenizer drops case and punctuation.
    """
    return caption_scores(captions, data.texts)


def _by_domain(captions: list[str], data: EvaluationSet) -> dict[str, float]:
    """`NAME/DOMAIN`: the scores of the images of each domain; nothing where none has one."""
    of_domain: dict[str, list[int]] = {}
    for place, meta in enumerate(data.metas):
        if isinstance(domain := meta.get(DOMAIN), str):
            of_domain.setdefault(domain, []).append(place)
    found: dict[str, float] = {}
    for domain, places in sorted(of_domain.items()):
        scores = caption_scores([captions[i] for i in places], [data.texts[i] for i in places])
        found |= {f"{name}/{domain}": score for name, score in scores.items()}
    return found


def share_correct(texts: list[str], data: EvaluationSet) -> float | None:
    """Share of texts of which every stated fact is true; None without scenes."""
    correct = find_correct(texts, data)
    return None if correct is None else sum(correct) / len(correct)


def find_correct(texts: list[str], data: EvaluationSet) -> list[bool] | None:
    """Whether every fact that each text states is true; None without scenes."""
    scenes = [Scene.of(meta) for meta in data.metas]
    known = [(text, scene) for text, scene in zip(texts, scenes, strict=True) if scene is not None]
    if len(known) < len(texts):
        return None
    return [check_facts(text, scene).correct for text, scene in known]


def rows(subject: Subject[EvaluationSet], captions: Mapping[str, str]) -> list[dict[str, Any]]:
    """captions.json, as the servers of COCO and NoCaps take it, of captions by key.

    A row is `{"image_id": 391895, "caption": "..."}`.
    """
    return [
        {"image_id": image_id(key, meta), "caption": captions[key]}
        for key, meta in zip(subject.data.keys, subject.data.metas, strict=True)
    ]


def image_id(key: str, meta: Mapping[str, Any]) -> int | str:
    """The official id of an image: that of its annotation file, else the number in its COCO name.

    Of any other name the key itself, as text.
    """
    own = meta.get(OFFICIAL_ID)
    if isinstance(own, int) and not isinstance(own, bool):
        return own
    number = _COCO_NAME.fullmatch(PurePosixPath(key).stem)
    return int(number[1]) if number else key
