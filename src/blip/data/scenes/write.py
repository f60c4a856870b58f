"""Writes the built-in data set: shards of the splits human, web, val and test."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from blip.config.history import describe_changes, find_changes, is_earlier_run, load_config
from blip.config.strict import save
from blip.data.dialogues import DIALOGUE, Dialogue, Round
from blip.data.questions import QUESTIONS, AskedQuestion
from blip.data.sample import Sample
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.dialogues import dialogue
from blip.data.scenes.draw import paint
from blip.data.scenes.film import QUESTIONS as QA
from blip.data.scenes.film import VIDEOS, film_clips
from blip.data.scenes.language import captions
from blip.data.scenes.noise import web_text
from blip.data.scenes.questions import questions
from blip.data.scenes.scene import Scene
from blip.data.scenes.split import SPLITS, Split, draw_scene_for, random_source
from blip.data.scenes.statements import statement
from blip.data.statements import STATEMENTS, PairStatement
from blip.data.writers.shards import write_shards
from blip.errors import UsageError
from blip.files import atomic_folder
from blip.installed import need
from blip.log import progress
from blip.outputs import SCENES, claim, remove_known
from blip.stage import exclusive_lock

PER_SHARD = 500
ENOUGH = 3
"""Annotators who have to agree for an answer to count whole in VQA accuracy."""
TRIES = 20
SECOND_PICTURE = 1000
"""Added to the attempts of a picture, for the random stream of the one on its right."""


def draw_sample(
    config: ScenesConfig, split: Split, number: int, attempt: int = 0
) -> tuple[Scene, Sample]:
    """Sample `number` of a split: human, val and test have true captions, web has one text.

    Another `attempt` gives another sample.
    """
    rng = random_source(config, split, number, attempt)
    scene = draw_scene_for(config, split, rng)
    image = _png(paint(scene, config.image_size, rng, config.object_scale))
    meta: dict[str, object] = {"scene": scene.to_json()}
    if split == "web":
        web = web_text(scene, config, rng)
        # Only for evaluation: training and filtering do not read it.
        meta["truth"] = {"matches": web.matches, "noise": web.noise}
        texts = (web.text,)
    else:
        texts = tuple(captions(scene, config.captions, rng))
        if config.questions:
            meta[QUESTIONS] = _ask(scene, config, rng, f"{split}-{number:06d}")
        if config.dialogues:
            meta[DIALOGUE] = _discuss(scene, config, rng)
    more_images: tuple[bytes, ...] = ()
    if config.statements and split != "web":
        rng = random_source(config, split, number, SECOND_PICTURE + attempt)
        other = draw_scene_for(config, split, rng)
        more_images = (_png(paint(other, config.image_size, rng, config.object_scale)),)
        meta["right_scene"] = other.to_json()
        meta[STATEMENTS] = _state(scene, other, config, rng, f"{split}-{number}-0")
    key = f"{split}-{number:06d}"
    return scene, Sample(key, image, texts, meta, extension="png", more_images=more_images)


def _ask(
    scene: Scene, config: ScenesConfig, rng: np.random.Generator, key: str
) -> list[dict[str, Any]]:
    """Questions about a scene; where several answers are right, any of them has full accuracy."""
    asked: list[dict[str, Any]] = []
    for number, question in enumerate(questions(scene, config.questions, config, rng)):
        right = (question.answer, *question.also_right)
        answers = right if len(right) == 1 else right * (ENOUGH + 1)
        asked.append(
            AskedQuestion(f"{key}-{number}", question.text, answers, question.kind).to_json()
        )
    return asked


def _state(
    left: Scene, right: Scene, config: ScenesConfig, rng: np.random.Generator, pair: str
) -> list[dict[str, Any]]:
    """Different statements about two scenes, or fewer where so many are not found."""
    made: dict[str, bool] = {}
    for _ in range(TRIES * config.statements):
        if len(made) == config.statements:
            break
        one = statement(left, right, config, rng)
        made.setdefault(one.text, one.truth)
    return [
        PairStatement(f"{pair}-{number}", text, truth).to_json()
        for number, (text, truth) in enumerate(made.items())
    ]


def _discuss(scene: Scene, config: ScenesConfig, rng: np.random.Generator) -> dict[str, Any]:
    """A dialogue about a scene, as VisDial's samples hold one."""
    drawn = dialogue(scene, config, rng, rounds=config.dialogues)
    rounds = (
        Round(one.question, one.answer, one.candidates, one.answer_index, one.relevance)
        for one in drawn.rounds
    )
    return Dialogue(drawn.caption, tuple(rounds)).to_json()


def draw_split(config: ScenesConfig, split: Split) -> Iterator[tuple[Scene, Sample]]:
    """All samples of a split, in order.

    Scenes of val, and of test, show different objects (as long as a few tries find some), so that
    captions distinguish the pictures. Human and web scenes may repeat.
    """
    seen: set[str] = set()
    for number in range(getattr(config, split)):
        scene, sample = draw_sample(config, split, number)
        if split in ("val", "test"):
            for attempt in range(1, TRIES):
                if scene.identity not in seen:
                    break
                scene, sample = draw_sample(config, split, number, attempt)
            seen.add(scene.identity)
        yield scene, sample


def write_splits(
    config: ScenesConfig, folder: Path, *, overwrite: bool = False
) -> dict[Split, int]:
    """Write `folder/{human,web,val,test}/*.tar`; returns the number of images of each.

    A split is written completely or not at all, and its bytes depend only on the configuration,
    which is saved in config.json. Raises UsageError if the folder holds scenes of another
    configuration, unless `overwrite` is true.
    """
    if config.clips:
        need("av", "PyAV", "video")
    path = folder / "config.json"
    claim(folder, SCENES, is_ours=lambda: is_earlier_run(ScenesConfig, folder, SCENES))
    with exclusive_lock(folder):
        changes = find_changes(load_config(ScenesConfig, path), config) if path.exists() else {}
        if changes and not overwrite:
            raise UsageError(
                f"{folder} holds scenes of other settings ({describe_changes(changes)}); "
                "--overwrite replaces them, another folder keeps both"
            )
        if changes:
            remove_known(folder, SCENES.files)
        save(config, path)
        counts: dict[Split, int] = {split: getattr(config, split) for split in SPLITS}
        with progress(sum(counts.values()), "draw scenes", "images") as bar:
            for split in SPLITS:

                def samples(split: Split = split) -> Iterator[Sample]:
                    for _, sample in draw_split(config, split):
                        yield sample
                        bar.advance()

                with atomic_folder(folder / split, replaces=("*.tar",)) as part:
                    write_shards(samples(), part, PER_SHARD)
        if config.clips:
            with atomic_folder(folder / "clips", replaces=(VIDEOS, QA)) as part:
                film_clips(config, part)
        return counts


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
