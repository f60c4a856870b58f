"""What the documented commands of `blip` become, so that they run in seconds on one CPU."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from blip.data.scenes.config import ScenesConfig
from blip.recipes import bootstrap
from blip.recipes.config import BootstrapConfig
from tests.support.tiny import TINY

RELEASED = re.compile(r"(?:hf:Salesforce/|original:)[\w-]+")
TRAINING = {
    "--data.image.size": "48",
    "--data.batch_size": "2",
    "--data.max_tokens": "30",
    "--data.workers": "0",
    "--train.steps": "2",
    "--train.log_every": "1",
    "--train.optimizer.warmup_steps": "0",
    "--train.precision": "float32",
    "--train.device": "cpu",
}
"""What a training is given, whatever the documentation says."""
FRESH = {
    "--model.vision.image_size": "48",
    "--model.vision.patch_size": "16",
    "--model.vision.width": "24",
    "--model.vision.depth": "2",
    "--model.vision.heads": "3",
    "--model.text.vocabulary_size": str(TINY.text.vocabulary_size),
    "--model.text.width": "16",
    "--model.text.depth": "2",
    "--model.text.heads": "2",
    "--model.text.mlp_width": "32",
    "--model.text.positions": "32",
    "--contrastive.queue_size": "4",
    "--tokenizer": "bert",
}
"""What a pre-training is given, too: the sizes of the stand-ins for a ViT and a BERT."""
STAGES = [f"--{name}.steps" for name in ("pretrain", "next_pretrain", "captioner", "filter")]
"""Of the main job where it takes its sizes from weights; its other recipes are small."""
WITHOUT_WEIGHTS = {"--vision_weights": "none", "--text_weights": "none"}
ELSEWHERE = (
    (re.compile(r"^hf:google-bert/[\w-]+$"), "bert"),
    (re.compile(r"^s3://bucket/"), ""),
    # Of a range of numbered shards the first two are there.
    (re.compile(r"\{(0+)\.\.\d+\}"), lambda found: f"{{{found[1]}..{found[1][:-1]}1}}"),
)
CLUSTER = {"--engine": 1, "--ray-address": 1, "--replicas": 1, "--host": 1}
"""Options of other machines, and how many words follow each; one process here does the work."""


def stand_in(name: str) -> str:
    """The tiny checkpoint that is read in place of a released one."""
    for kind in ("vqa", "nlvr"):
        if kind in name:
            return f"runs/{kind}"
    return "runs/captioner" if "caption" in name else "runs/base"


def replaced(words: Sequence[str], options: dict[str, str]) -> list[str]:
    """With these values: in place of those that are given, else at the end."""
    words = list(words)
    for option, value in options.items():
        if option in words:
            words[words.index(option) + 1] = value
        else:
            words += [option, value]
    return words


def without(words: Sequence[str], options: dict[str, int]) -> list[str]:
    """Without these options and the words that follow each."""
    words = list(words)
    for option, count in options.items():
        if option in words:
            place = words.index(option)
            del words[place : place + 1 + count]
    return words


def small(words: list[str], server: str) -> list[str]:
    """A documented command as it runs here: with tiny models and data, on one CPU."""
    words = [RELEASED.sub(lambda name: stand_in(name[0]), word) for word in words]
    words = [re.sub(r"^https://example\.org/", server, word) for word in words]
    for what, there in ELSEWHERE:
        words = [what.sub(there, word) for word in words]
    words = without(words, CLUSTER)
    if "--device" in words:
        words = replaced(words, {"--device": "cpu"})
    if {"--list", "--keys", "--help"} & {*words}:
        return words
    return replaced(words, _sizes(words))


def _sizes(words: list[str]) -> dict[str, str]:
    """The options that make a command small."""
    if words[0] == "pretrain":
        weights = {} if "--vision_weights" in words else WITHOUT_WEIGHTS
        return TRAINING | FRESH | weights | _evaluation(words)
    if words[0] == "finetune":
        return TRAINING | _evaluation(words)
    if words[0] == "bootstrap" and "--vision_weights" in words:
        steps = dict.fromkeys(STAGES, "2")
        return steps | {"--batch_size": "4", "--model.vision.heads": FRESH["--model.vision.heads"]}
    if words[0] == "bootstrap":
        return {option: "2" for option in ("--pretrain.steps", "--rounds") if option in words}
    if words[0] == "capfilt" and "--captioner" in words and "--threshold" not in words:
        # Filters that know nothing may drop every text.
        return {"--threshold": "0"}
    if words[:2] == ["data", "scenes"] and "--like" not in words:
        return {"--human": "8", "--web": "8", "--val": "2", "--test": "4"}
    return {"--clips": "4"} if "--clips" in words else {}


def _evaluation(words: list[str]) -> dict[str, str]:
    return {"--train.evaluate_every": "1"} if "--train.evaluate_every" in words else {}


def made_by(words: list[str]) -> Path | None:
    """What a command makes, and expects not to be there."""
    if words[:2] == ["data", "pack"]:
        return Path(words[3])
    if words[:2] == ["data", "scenes"]:
        return Path(words[2])
    # Without a checkpoint it adds to an index.
    if "--out" in words and (words[0] != "index" or "--checkpoint" in words):
        return Path(words[words.index("--out") + 1])
    return None


def run_small_recipes() -> None:
    """Put a recipe still smaller than the tests' in place of the two of `blip bootstrap`."""
    smallest, photos = bootstrap.scenes_test(), bootstrap.flickr8k()
    assert isinstance(smallest.data, ScenesConfig)
    smallest = replace(smallest, data=replace(smallest.data, human=8, web=8, val=2, test=4))

    def demo() -> BootstrapConfig:
        """Smallest."""
        return smallest

    def flickr8k() -> BootstrapConfig:
        """Smallest, on the photos of its own."""
        return replace(smallest, data=photos.data)

    for name, recipe in (("scenes_demo", demo), ("flickr8k", flickr8k)):
        recipe.__module__ = bootstrap.__name__
        setattr(bootstrap, name, recipe)
