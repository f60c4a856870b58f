"""Small files in VisDial's official layout, and stand-in pictures for their image numbers."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.pictures import photo

NAME = "visdial_1.0_val"
QUESTIONS = ["is it red", "how many are there", "what is it"]
ANSWERS = ["yes", "no", "2", "a cat", *(f"answer {number}" for number in range(120))]


def official_round(number: int, **changes: Any) -> dict[str, Any]:
    """Round `number` (from 0): answer `number`, which stands at option 5."""
    options = [option for option in range(100) if option != number][:99]
    options.insert(5, number)
    one = {"question": number % 3, "answer": number, "answer_options": options, "gt_index": 5}
    return {name: value for name, value in (one | changes).items() if value is not None}


def official_dialog(image_id: Any, rounds: int = 3, **changes: Any) -> dict[str, Any]:
    dialog = [official_round(number) for number in range(rounds)]
    return {"image_id": image_id, "caption": "a photo of a cat.", "dialog": dialog} | changes


def write_official(folder: Path, dialogs: list[Any], name: str = NAME, **changes: Any) -> Path:
    """The file `name`.json of these dialogs."""
    data = {"questions": QUESTIONS, "answers": ANSWERS, "dialogs": dialogs}
    content = {"version": "1.0", "split": "val2018", "data": data} | changes
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_dense(folder: Path, entries: list[Any], name: str = NAME) -> Path:
    path = folder / f"{name}_dense_annotations.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def stand_in_pictures(folder: Path, image_ids: Iterable[int]) -> Path:
    """A picture for each number, under the names that VisDial gives its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for image_id in image_ids:
        name = f"VisualDialog_val2018_{image_id:012d}.jpg"
        (folder / name).write_bytes(photo(image_id, "JPEG"))
    return folder
