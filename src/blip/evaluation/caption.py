"""Captions: what a model writes about test images, and its CIDEr and BLEU-4 (BLIP, section 5.2)."""

from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.scenes.check import judge
from blip.data.scenes.scene import Scene
from blip.data.tokenizer import Tokenizer
from blip.generation.config import DecodingConfig
from blip.inference.captioner import Captioner
from blip.inference.pixels import NormalisedImage
from blip.metrics.captions import caption_scores
from blip.model.blip import Blip


def write_captions(
    model: Blip,
    tokenizer: Tokenizer,
    data: EvaluationSet,
    decoding: DecodingConfig,
    batch_size: int,
) -> list[str]:
    """One caption for each image of `data`, in its order."""
    captioner = Captioner(model, tokenizer)
    captions: list[str] = []
    for start in range(0, len(data), batch_size):
        images = [*map(NormalisedImage, data.images(start, min(start + batch_size, len(data))))]
        captions += captioner.caption(images, decoding, seeds=range(start, start + len(images)))
    return captions


def evaluate_captions(captions: list[str], data: EvaluationSet) -> dict[str, float]:
    """CIDEr and BLEU-4, times 100, against all captions of each image.

    These are whole and as they were written: the measure's own tokenizer drops case and marks.
    """
    return caption_scores(captions, data.texts)


def share_correct(texts: list[str], data: EvaluationSet) -> float | None:
    """Share of texts of which every stated fact is true; None without scenes to judge by."""
    scenes = [Scene.of(meta) for meta in data.metas]
    known = [(text, scene) for text, scene in zip(texts, scenes, strict=True) if scene is not None]
    if len(known) < len(texts):
        return None
    return sum(judge(text, scene).correct for text, scene in known) / len(known)
