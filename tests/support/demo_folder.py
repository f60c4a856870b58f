"""A folder as it is after the demo and a few trainings, as far as the documentation uses it."""

from dataclasses import replace
from pathlib import Path

from PIL import Image

from blip.data.tokenizer import Tokenizer
from blip.inference.checkpoint import save_model
from blip.model.blip import Blip
from blip.model.checkpoint.from_med import start_dialogues, start_pairs
from blip.model.make import Model
from blip.model.question import QuestionModel
from blip.nn.mode import BOTH_MODES
from tests.support.tiny import TINY
from tests.support.videos import numbered


def save_demo(folder: Path) -> Path:
    """Write checkpoints, whose models know nothing, pictures and a video into `folder`."""
    tokenizer = Tokenizer.train(["a red circle", "two blue stars"], vocabulary_size=80)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    config = replace(TINY, text=text)
    model = Blip(config)
    places: dict[str, Model]
    places = {f"runs/demo/round-1/{name}": model for name in ("captioner", "filter")}
    places["runs/captioner"] = Blip(replace(config, modes=("causal",)))
    places["runs/filter"] = Blip(replace(config, modes=("bidirectional",)))
    places["runs/vqa"] = QuestionModel(replace(config, architecture="vqa"))
    places["runs/nlvr"], _ = start_pairs(model)
    places["runs/visdial"], _ = start_dialogues(model, BOTH_MODES, positions=64)
    for place, saved in places.items():
        (folder / place).mkdir(parents=True)
        save_model(saved, tokenizer, folder / place)
    Image.new("RGB", (48, 48), "red").save(folder / "picture.png")
    Image.new("RGB", (64, 48), "green").save(folder / "photo.jpg")
    (folder / "clip.mp4").write_bytes(numbered(8))
    return folder
