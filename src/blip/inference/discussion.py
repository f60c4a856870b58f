"""Several questions about a picture as one dialogue: each is asked after those before it."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext

from blip.data.dialogues import Turn
from blip.inference.base import BATCH_SIZE, naming_batch
from blip.inference.dialogue_answerer import DialogueAnswerer, RankedAnswer
from blip.inference.dialogue_inputs import check_turns
from blip.inference.inputs import check_batch_size
from blip.inference.pixels import Picture, picture_name


def discuss(
    answerer: DialogueAnswerer,
    images: Iterable[Picture],
    caption: str,
    history: Sequence[tuple[str, str]],
    questions: Sequence[str],
    candidates: Sequence[str] | None,
    *,
    batch_size: int = BATCH_SIZE,
) -> list[list[list[RankedAnswer] | str]]:
    """For each picture and question the candidates, the likeliest first, or a written answer.

    The questions about a picture make one dialogue: each is read with those before it and the
    answers they got. Each picture is encoded once; at most `batch_size` go through the model
    together. Errors are those of `DialogueAnswerer.scores`.
    """
    check_batch_size(batch_size)
    pictures = list(images)
    turns = [Turn(caption, tuple(history), question) for question in questions]
    check_turns(pictures, [turns] * len(pictures))
    found: list[list[list[RankedAnswer] | str]] = []
    for start in range(0, len(pictures) if turns else 0, batch_size):
        some = pictures[start : start + batch_size]
        states = answerer.encode(some, start)
        answers: list[list[list[RankedAnswer] | str]] = [[] for _ in some]
        rounds = [list(history) for _ in some]
        # Errors count the pictures of one call.
        with naming_batch(picture_name(start + 1, some[0])) if start else nullcontext():
            for question in questions:
                asked = [[Turn(caption, tuple(before), question)] for before in rounds]
                if candidates is None:
                    written = answerer.answer(some, asked, batch_size=batch_size, states=states)
                    best = [text for (text,) in written]
                else:
                    listed = [[candidates]] * len(some)
                    ranked = answerer.rank(
                        some, asked, listed, batch_size=batch_size, states=states
                    )
                    best = [answer for (answer,) in ranked]
                for of_picture, before, answer in zip(answers, rounds, best, strict=True):
                    of_picture.append(answer)
                    chosen = answer if isinstance(answer, str) else answer[0].answer
                    before.append((question, chosen))
        found += answers
    return found if turns else [[] for _ in pictures]
