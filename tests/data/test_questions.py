"""Questions are cleaned as the released model for VQA was trained."""

import pytest

from blip.data.questions import clean_question


@pytest.mark.parametrize(
    ("question", "cleaned"),
    [
        ("What is the Dog doing?", "what is the dog doing?"),
        ("is it the u.s. flag?  ", "is it the us flag?"),
        ('what does "STOP!" (sign) say: a*b#c;d~e?', "what does stop sign say abcde?"),
        ("it's  a,\tcat -\nreally?", "it's a, cat - really?"),
        (" . ! ", ""),
    ],
)
def test_marks_leave_no_blank_and_the_question_mark_stays(question: str, cleaned: str) -> None:
    assert clean_question(question) == cleaned


def test_fifty_words_at_most() -> None:
    words = [f"w{n}" for n in range(60)]
    assert clean_question(" ".join(words)) == " ".join(words[:50])
    assert clean_question(" ".join(words), max_words=3) == "w0 w1 w2"
