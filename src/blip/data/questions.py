"""How a question is cleaned before a model reads it."""

_DROPPED = str.maketrans("", "", '.!"()*#:;~')
MAX_WORDS = 50


def clean_question(text: str, max_words: int = MAX_WORDS) -> str:
    """Lower case, without `. ! " ( ) * # : ; ~`, single blanks, at most `max_words` words.

    This is what the released model for VQA was trained on. Unlike a caption's, these marks leave no
    blank behind: "u.s." becomes "us". The question mark stays; the result may be empty.
    """
    return " ".join(text.lower().translate(_DROPPED).split()[:max_words])
