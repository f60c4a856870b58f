"""Fine-tuning on Flickr8k: three trainings that fit together, and a table that is replaced."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from blip.errors import BlipError
from experiments.flickr8k.finetune import (
    HERE,
    PROMPT,
    STEPS,
    TABLE,
    configure,
    describe_command,
    judging,
    page,
)
from experiments.results import put_table


def arguments(**changes: Any) -> Namespace:
    given = {
        "vision_weights": "here/vit.safetensors",
        "text_weights": "here/model.safetensors",
        "out": Path("out"),
        "seed": 3,
        "steps_scale": 1.0,
    }
    return Namespace(**(given | changes))


def test_trainings_continue_the_pretraining_and_have_its_budget() -> None:
    configs = configure(arguments(), "train.parquet")
    assert {name: config.train.steps for name, config in configs.items()} == STEPS
    assert configs["pretrain"].tokenizer == "here/vocab.txt"
    for name in ("retrieval", "caption"):
        assert configs[name].init == "out/pretrain"
    assert {config.data.image.size for config in configs.values()} == {98}
    # A captioner is judged with the prompt that it was trained with.
    assert configs["caption"].data.prompt == PROMPT
    judged = judging("caption", Path("out/caption"), Path("dev.parquet"))
    assert (judged.decoding.prompt, judged.tasks) == (PROMPT, ("caption",))
    assert configure(arguments(steps_scale=0.01), "t")["retrieval"].train.steps == 2


def results() -> dict[str, Any]:
    recalls = {f"{way}{k}": [1.0 * k, 0.5, None] for way in ("tr", "ir") for k in (1, 5, 10)}
    rankings = dict.fromkeys(("itc", "logit", "log_probability"), recalls)
    caption = {"bleu4": [12.34, 11.0, 13.0], "cider": [30.0, 25.0, 35.0]}
    origin = {"commit": "abc", "machine": "2 cores", "date": "2026-01-01"}
    counts = {"images": 1000, "texts": 5000, "resamples": 2000}
    return {
        "command": describe_command(arguments()),
        "seed": 3,
        "steps": STEPS,
        "seconds": dict.fromkeys(STEPS, 60),
        "judged": {
            "pretrain": {**counts, "retrieval": rankings, "caption": caption},
            "retrieval": {"retrieval": rankings},
            "caption": {"caption": caption},
        },
        **origin,
    }


def test_the_table_shows_both_scores_with_intervals_and_no_folders() -> None:
    text = "\n".join(page(results()))
    assert "| retrieval | ITC + log-probability | 1.0 (0.5 to -) |" in text
    assert "| caption | 12.3 (11.0 to 13.0) | 30.0 (25.0 to 35.0) |" in text
    assert "--vision_weights vit.safetensors --text_weights model.safetensors --seed 3" in text
    assert "commit abc, 2 cores" in text


def test_the_table_of_a_page_is_replaced_and_nothing_else() -> None:
    whole = (HERE / "README.md").read_text("utf-8")
    again = put_table(put_table(whole, TABLE, "one"), TABLE, "two")
    assert again == put_table(whole, TABLE, "two")
    made = put_table("before\n<!-- finetune -->\nold\n<!-- end -->\nafter\n", TABLE, "| new |")
    assert made == "before\n<!-- finetune -->\n| new |\n<!-- end -->\nafter\n"
    with pytest.raises(BlipError, match="lacks the lines"):
        put_table("no table", TABLE, "")
