"""Several questions about a picture as one dialogue: each is read after those before it."""

from collections.abc import Sequence

from blip.data.dialogues import Turn
from blip.inference.dialogue_answerer import DialogueAnswerer, RankedAnswer
from blip.inference.pixels import Picture


def discuss(
    answerer: DialogueAnswerer,
    image: Picture,
    caption: str,
    history: Sequence[tuple[str, str]],
    questions: Sequence[str],
    candidates: Sequence[str] | None,
) -> list[list[RankedAnswer] | str]:
    """For each question the candidates, the likeliest first, or the answer that is written.

    The questions make one dialogue: each is read with those before it and the answers they got.
    """
    rounds, found = list(history), list["list[RankedAnswer] | str"]()
    for question in questions:
        turn = Turn(caption, tuple(rounds), question)
        if candidates is None:
            (written,) = answerer.answer([image], [[turn]])[0]
            found.append(written)
            rounds.append((question, written))
        else:
            (ranked,) = answerer.rank([image], [[turn]], [[candidates]])[0]
            found.append(ranked)
            rounds.append((question, ranked[0].answer))
    return found
