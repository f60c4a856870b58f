"""Pictures and questions in, answers out: written freely, or the best of given candidates."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip.data.questions import clean_question
from blip.data.tokenizer import Texts, Tokenizer
from blip.errors import ArgumentError, NotFiniteError
from blip.generation.config import DecodingConfig
from blip.generation.decoder import check_nan
from blip.inference.base import BATCH_SIZE, PaddedTexts, Result, TextPredictor
from blip.inference.decoding import decode_texts, start_of_text
from blip.inference.inputs import (
    check_decoding,
    check_pictures,
    check_texts,
    check_texts_of_pictures,
)
from blip.inference.likelihood import log_likelihoods, next_token_logits
from blip.inference.pixels import Picture
from blip.model.grounded import EncoderDecoder
from blip.model.question import QuestionModel
from blip.nn.device import send
from blip.nn.kv import ImageKV
from blip.nn.mode import Mode
from blip.nn.precision import at_least_float32

PUBLISHED_DECODING = DecodingConfig(kind="beam", beams=3, min_length=1, max_length=10)
"""As the original release writes answers."""
RANKED_SMOOTHING = 0.1
"""The original ranks by its training loss, which smooths labels by this much."""
QUESTION_FRAMES = 16
"""Frames of a video that is asked about (BLIP, section 5.6)."""
ROWS = 512
"""Candidates that are read at a time, over all questions."""
TOKENS = 16_384
"""Tokens of candidates, padding included, that are read at a time, over all questions."""
SCORED = 2048
"""Tokens whose logits over the vocabulary are held at a time: 250 MB in float32."""


class Written(NamedTuple):
    """An answer that the decoder wrote."""

    answer: str
    probability: float
    """Probability that the decoder writes exactly this answer, 0 to 1."""


class Ranked(NamedTuple):
    """A candidate answer and how likely it is."""

    answer: str
    probability: float
    """Probability that the decoder writes exactly this answer, 0 to 1."""
    score: float
    """What candidates are ranked by: the label-smoothed log-probability, summed over tokens."""


class Answerer(TextPredictor[QuestionModel]):
    """Answers questions about pictures with a model for VQA (BLIP, section 5.3).

    Questions are cleaned as in training and cut to `max_tokens`. The answer to a question does not
    depend on its neighbours in the batch: the decoder does not see a question's padding. The
    original release lets it see that padding when it writes answers, not when it ranks them.
    """

    frames = QUESTION_FRAMES

    @classmethod
    def _needs(cls) -> tuple[type[QuestionModel], Mode]:
        return QuestionModel, "bidirectional"

    def answer(
        self,
        images: Iterable[Picture],
        questions: Iterable[Iterable[str]],
        decoding: DecodingConfig = PUBLISHED_DECODING,
        *,
        batch_size: int = BATCH_SIZE,
    ) -> list[list[str]]:
        """An answer to each question about each picture (`questions[i]` are about `images[i]`).

        A picture is whatever `blip.read_image` takes, and encoded once for all its questions; at
        most `batch_size` pictures, and as many questions, go through the model together. Raises
        ArgumentError (a ValueError) unless there is a list of questions for each picture, for a
        question without words and for nucleus sampling; BadImageError for a picture that
        cannot be used; NotFiniteError if the model gives NaN.

        >>> import blip
        >>> answerer = blip.Answerer.load("runs/vqa")
        >>> answerer.answer(["photo.jpg"], [["what is on the beach?", "how many?"]])
        [['a dog', 'one']]
        """
        start = start_of_answer(self.model, self.tokenizer, decoding)

        def write(kv: ImageKV) -> list[str]:
            texts = decode_texts(self.model, kv, start, self.tokenizer.sep_id, decoding)
            return [self.tokenizer.decode(ids).strip() for ids in texts]

        return self._answer(images, questions, batch_size, write)

    def answer_several(
        self,
        images: Iterable[Picture],
        questions: Iterable[Iterable[str]],
        count: int,
        decoding: DecodingConfig = PUBLISHED_DECODING,
        *,
        batch_size: int = BATCH_SIZE,
    ) -> list[list[list[Written]]]:
        """The best `count` answers that beam search writes to each question, the best first.

        There are fewer where beam search ends with fewer. The first is that of `answer`, whose
        arguments and errors these are; raises ArgumentError, too, if `count` is greater than the
        number of beams.
        """
        start = start_of_answer(self.model, self.tokenizer, decoding, count)
        eos_id = self.tokenizer.sep_id

        def write(kv: ImageKV) -> list[list[Written]]:
            texts = decode_texts(self.model, kv, start, eos_id, decoding, count=count)
            likelihoods = log_likelihoods(
                next_token_logits(self.model), kv, start, texts, eos_id, decoding.max_length
            )
            # Where beam search ends with fewer texts it repeats the last one.
            best: list[dict[str, Written]] = [{} for _ in range(len(kv))]
            for number, (ids, likelihood) in enumerate(zip(texts, likelihoods, strict=True)):
                text = self.tokenizer.decode(ids).strip()
                answer = Written(text, math.exp(likelihood.log_likelihood))
                best[number // count].setdefault(text, answer)
            return [list(answers.values()) for answers in best]

        return self._answer(images, questions, batch_size, write)

    def rank(
        self,
        images: Iterable[Picture],
        questions: Iterable[Iterable[str]],
        candidates: Iterable[str],
        *,
        top_k: int = 128,
        batch_size: int = BATCH_SIZE,
    ) -> list[list[Ranked]]:
        """The best of `candidates` for each question about each picture.

        The probability of a candidate's first token chooses `top_k` of them; of those the likeliest
        as a whole is the answer. Pictures and batches as in `answer`. Raises ArgumentError (a
        ValueError) for no candidates and for a `top_k` below 1.

        >>> answerer = blip.Answerer.load("runs/vqa")
        >>> answerer.rank(["photo.jpg"], [["what colour is it?"]], ["red", "blue"])
        [[Ranked(answer='red', probability=0.61, score=-0.72)]]
        """
        rows = self.rank_several(
            images, questions, candidates, 1, top_k=top_k, batch_size=batch_size
        )
        return [[best[0] for best in row] for row in rows]

    def rank_several(
        self,
        images: Iterable[Picture],
        questions: Iterable[Iterable[str]],
        candidates: Iterable[str],
        count: int,
        *,
        top_k: int = 128,
        batch_size: int = BATCH_SIZE,
    ) -> list[list[list[Ranked]]]:
        """The best `count` of `candidates` for each question, the best first.

        There are fewer where `top_k` or the number of candidates is smaller. Otherwise as `rank`.
        """
        answers = check_texts("candidates", candidates)
        if not answers:
            raise ArgumentError("an answer must be chosen from candidates, got none")
        if top_k < 1:
            raise ArgumentError(f"top_k must be positive, got {top_k}")
        if count < 1:
            raise ArgumentError(f"count must be positive, got {count}")
        encoded = self.tokenizer.encode(answers, self.model.config.text.positions)
        texts = encoded.start_with(self.tokenizer.dec_id).to(self.model.device)
        chosen = min(top_k, len(answers))
        most = min(ROWS // chosen, TOKENS // (chosen * texts.ids.shape[1]))

        def choose(kv: ImageKV) -> list[list[Ranked]]:
            ranked: list[list[Ranked]] = []
            for rows in torch.arange(len(kv), device=self.model.device).split(max(1, most)):
                some = kv if len(rows) == len(kv) else kv.select(rows)
                best = best_candidates(self.model, texts, some, chosen, min(count, chosen))
                columns = (column.tolist() for column in best)
                for question in zip(*columns, strict=True):
                    ranked.append(
                        [
                            Ranked(answers[place], math.exp(log_probability), score)
                            for place, log_probability, score in zip(*question, strict=True)
                        ]
                    )
            return ranked

        return self._answer(images, questions, batch_size, choose)

    def _answer(
        self,
        images: Iterable[Picture],
        questions: Iterable[Iterable[str]],
        batch_size: int,
        answer: Callable[[ImageKV], Sequence[Result]],
    ) -> list[list[Result]]:
        """One result for each question; `answer` gets what the decoder reads of some questions."""
        pictures = check_pictures(images)
        rows = check_texts_of_pictures("questions", questions, len(pictures), clean=clean_question)

        def encode(states: Tensor) -> ImageKV:
            return self.model.project_image(states, "bidirectional")

        def read(kv: ImageKV, padded: PaddedTexts) -> Sequence[Result]:
            return answer(self._read_questions(kv, padded))

        together = max(1, min(batch_size, len(pictures)))
        batches = self._read_texts(
            pictures, rows, batch_size, encode, read, texts_of_each=max(1, batch_size // together)
        )
        answered: list[list[Result]] = []
        try:
            for batch in batches:
                answered += batch
        except NotFiniteError as error:
            first = len(answered)
            some = pictures[first : first + batch_size]
            raise self._name_picture(error, some, first) from error
        return answered

    def _read_questions(self, kv: ImageKV, padded: PaddedTexts) -> ImageKV:
        """The decoder's keys and values of each real question."""
        cleaned = [clean_question(text) for text in padded.texts]
        encoded = self.tokenizer.encode(cleaned, self.max_tokens)
        texts = encoded.start_with(self.tokenizer.enc_id).send_ids(self.model.device)
        states = self.model.ground(texts.ids, texts.visible, kv)
        real = torch.tensor(padded.real).nonzero().squeeze(1)
        of_questions = states.index_select(0, send(real, states.device))
        return self.model.project_questions(of_questions, texts.visible[real])


def start_of_answer(
    model: EncoderDecoder, tokenizer: Tokenizer, decoding: DecodingConfig, count: int = 1
) -> list[int]:
    """The ids that every answer starts with.

    Raises ArgumentError for nucleus sampling, and for more answers than there are beams.
    """
    check_decoding(decoding)
    if decoding.kind == "nucleus":
        raise ArgumentError("answers are decoded by beam or greedy, got nucleus")
    most = decoding.beams if decoding.kind == "beam" else 1
    if not 1 <= count <= most:
        raise ArgumentError(f"count must lie in 1..beams ({most}), got {count}")
    return start_of_text(model, tokenizer, decoding)


class BestCandidates(NamedTuple):
    """The best candidates for each question, the best first; each is `(questions, best)`."""

    places: Int[Tensor, "questions best"]
    """Where in the list of candidates they stand."""
    log_probabilities: Float[Tensor, "questions best"]
    """Log-probability of the whole text."""
    scores: Float[Tensor, "questions best"]
    """What they are ranked by, as in `Ranked`."""


def _log_probabilities(
    model: QuestionModel,
    states: Float[Tensor, "tokens width"],
    following: Int[Tensor, " tokens"],
) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
    """Log-probabilities of the token that follows each, and the mean over the vocabulary."""
    logits = at_least_float32(model.next_token_logits(states))
    normaliser = logits.logsumexp(dim=1)
    of_following = logits.gather(1, following[:, None]).squeeze(1)
    return of_following - normaliser, logits.mean(dim=1) - normaliser


def best_candidates(
    model: QuestionModel, candidates: Texts, questions: ImageKV, count: int, best: int = 1
) -> BestCandidates:
    """Choose `count` candidates by their first token, and among these the `best` likeliest texts.

    Candidates start with `[DEC]`. Of two equally likely candidates the earlier is chosen. Raises
    NotFiniteError if the model gives NaN.
    """
    start = candidates.ids[:1, :1].expand(len(questions), 1)
    logits = model.language_logits(start, torch.ones_like(start, dtype=torch.bool), questions)
    first_tokens = at_least_float32(logits[:, 0])[:, candidates.ids[:, 1]]
    chosen = first_tokens.sort(dim=1, descending=True, stable=True).indices[:, :count]
    visible = candidates.visible[chosen.flatten()]
    longest = int(visible.sum(dim=1).max())
    ids, visible = candidates.ids[chosen.flatten(), :longest], visible[:, :longest]
    # Nothing follows the last token, so it is not read; padding is not scored.
    states = model.decode(ids[:, :-1], visible[:, :-1], questions)
    scored = visible[:, 1:]
    parts = zip(states[scored].split(SCORED), ids[:, 1:][scored].split(SCORED), strict=True)
    both = [_log_probabilities(model, *part) for part in parts]
    of_tokens, of_all_tokens = (torch.cat(column) for column in zip(*both, strict=True))

    def sum_over_text(values: Tensor) -> Tensor:
        filled = values.new_zeros(scored.shape).masked_scatter(scored, values)
        return filled.sum(dim=1).view(-1, count)

    log_probabilities = sum_over_text(of_tokens)
    smoothed = RANKED_SMOOTHING * sum_over_text(of_all_tokens)
    scores = (1 - RANKED_SMOOTHING) * log_probabilities + smoothed
    check_nan(scores)
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :best]
    return BestCandidates(
        *(column.gather(1, order) for column in (chosen, log_probabilities, scores))
    )
