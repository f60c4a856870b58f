"""Pictures and questions in, answers out: written freely, or the best of given candidates."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from blip.data.questions import clean_question
from blip.data.tokenizer import Texts, Tokenizer
from blip.errors import ArgumentError
from blip.generation.config import DecodingConfig
from blip.generation.decoder import refuse_nan
from blip.inference.checkpoint import load_model
from blip.inference.decoding import decode_texts, start_of_text
from blip.inference.inputs import check_batch_size, check_lists, check_pictures, check_texts
from blip.inference.likelihood import log_likelihoods
from blip.inference.pixels import Picture, to_pixels
from blip.model.question import QuestionModel
from blip.nn.kernels.packed_weight import pack_weights
from blip.nn.kv import ImageKV
from blip.nn.precision import at_least_float32

PUBLISHED_DECODING = DecodingConfig(kind="beam", beams=3, min_length=1, max_length=10)
"""As the original release writes answers."""
RANKED_SMOOTHING = 0.1
"""The original ranks by its training loss, whose labels are smoothed by this much."""
ROWS = 512
"""Candidates that are read at a time, over all questions."""

Found = TypeVar("Found")


class Written(NamedTuple):
    """An answer that the decoder wrote."""

    answer: str
    probability: float
    """That the decoder writes just this answer, 0 to 1."""


class Ranked(NamedTuple):
    """The best candidate for a question."""

    answer: str
    probability: float
    """That the decoder writes just this answer, 0 to 1."""
    score: float
    """What candidates are ranked by: the label-smoothed log-probability, the sum over tokens."""


class Answerer:
    """Answers questions about pictures with a model for VQA (BLIP, section 5.3).

    Questions are cleaned as in training and cut to `max_tokens`. The answer to a question does not
    depend on its neighbours in the batch: the decoder does not see a question's padding. The
    original release lets it see that padding when it writes answers, not when it ranks them.
    """

    def __init__(self, model: QuestionModel, tokenizer: Tokenizer, max_tokens: int = 35) -> None:
        self.model = model.eval()
        pack_weights(self.model)
        self.tokenizer = tokenizer
        self.max_tokens = min(max_tokens, model.config.text.positions)

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: torch.device | str = "cpu",
        *,
        dtype: torch.dtype = torch.float32,
    ) -> "Answerer":
        """Open a checkpoint; raises UsageError where there is none for questions."""
        loaded = load_model(path, device, of=QuestionModel, dtype=dtype)
        return cls(loaded.model, loaded.tokenizer)

    def answer(
        self,
        images: Iterable[Picture],
        questions: Iterable[Iterable[str]],
        decoding: DecodingConfig = PUBLISHED_DECODING,
        *,
        batch_size: int = 32,
    ) -> list[list[str]]:
        """An answer to each question about each picture (`questions[i]` are about `images[i]`).

        A picture is whatever `blip.read_image` takes, and encoded once for all its questions; at
        most `batch_size` questions go through together. Raises ArgumentError (a ValueError) unless
        there is a list of questions for each picture, and for nucleus sampling: an answer is not
        drawn.
        """
        start = self._start(decoding, 1)

        def write(kv: ImageKV) -> list[str]:
            found = decode_texts(self.model, kv, start, self.tokenizer.sep_id, decoding)
            return [self.tokenizer.decode(ids).strip() for ids in found]

        return self._each(images, questions, write, batch_size)

    def answer_several(
        self,
        images: Iterable[Picture],
        questions: Iterable[Iterable[str]],
        count: int,
        decoding: DecodingConfig = PUBLISHED_DECODING,
        *,
        batch_size: int = 32,
    ) -> list[list[list[Written]]]:
        """The best `count` answers that beam search finds to each question, as it orders them.

        There are fewer where it ends with fewer. The first is that of `answer`; everything else is
        as there. Raises ArgumentError where `count` is more than there are beams.
        """
        start, eos_id = self._start(decoding, count), self.tokenizer.sep_id

        def write(kv: ImageKV) -> list[list[Written]]:
            found = decode_texts(self.model, kv, start, eos_id, decoding, count=count)
            likely = log_likelihoods(self.model, kv, start, found, eos_id, decoding.max_length)
            # Where fewer are found the last one comes again.
            best: list[dict[str, Written]] = [{} for _ in range(len(kv))]
            for number, (ids, one) in enumerate(zip(found, likely, strict=True)):
                text = self.tokenizer.decode(ids).strip()
                best[number // count].setdefault(text, Written(text, math.exp(one.log_likelihood)))
            return [list(of.values()) for of in best]

        return self._each(images, questions, write, batch_size)

    def rank(
        self,
        images: Iterable[Picture],
        questions: Iterable[Iterable[str]],
        candidates: Iterable[str],
        *,
        top_k: int = 128,
        batch_size: int = 32,
    ) -> list[list[Ranked]]:
        """The best of `candidates` for each question about each picture.

        The probability of a candidate's first token chooses `top_k` of them; of those the likeliest
        as a whole is the answer. Pictures and batches as in `answer`. Raises ArgumentError (a
        ValueError) for no candidates and for a `top_k` below 1.
        """
        several = self.rank_several(
            images, questions, candidates, 1, top_k=top_k, batch_size=batch_size
        )
        return [[best[0] for best in row] for row in several]

    def rank_several(
        self,
        images: Iterable[Picture],
        questions: Iterable[Iterable[str]],
        candidates: Iterable[str],
        count: int,
        *,
        top_k: int = 128,
        batch_size: int = 32,
    ) -> list[list[list[Ranked]]]:
        """The best `count` of `candidates` for each question, the best first; else as `rank`.

        There are fewer where `top_k` or the candidates are.
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

        def choose(kv: ImageKV) -> list[list[Ranked]]:
            found: list[list[Ranked]] = []
            step = max(1, ROWS // chosen)
            for rows in torch.arange(len(kv), device=self.model.device).split(step):
                some = kv if len(rows) == len(kv) else kv.select(rows)
                best = best_candidates(self.model, texts, some, chosen, min(count, chosen))
                of_questions = (part.tolist() for part in best)
                for places, told, scores in zip(*of_questions, strict=True):
                    found.append(
                        [
                            Ranked(answers[place], math.exp(log_probability), score)
                            for place, log_probability, score in zip(
                                places, told, scores, strict=True
                            )
                        ]
                    )
            return found

        return self._each(images, questions, choose, batch_size)

    def _start(self, decoding: DecodingConfig, count: int) -> list[int]:
        if decoding.kind == "nucleus":
            raise ArgumentError("answers are decoded by beam or greedy, got nucleus")
        most = decoding.beams if decoding.kind == "beam" else 1
        if not 1 <= count <= most:
            raise ArgumentError(f"count must lie in 1..beams ({most}), got {count}")
        return start_of_text(self.model, self.tokenizer, decoding)

    @torch.inference_mode()
    def _each(
        self,
        images: Iterable[Picture],
        questions: Iterable[Iterable[str]],
        work: Callable[[ImageKV], list[Found]],
        batch_size: int,
    ) -> list[list[Found]]:
        """`work(what the decoder reads of some questions) -> one result for each`, sorted back."""
        check_batch_size(batch_size)
        pictures = check_pictures(images)
        asked = check_lists("questions", questions, len(pictures))
        found: list[list[Found]] = [[] for _ in pictures]
        size = self.model.config.vision.image_size
        device, dtype = self.model.device, self.model.dtype
        for start in range(0, len(pictures), batch_size):
            rows = asked[start : start + batch_size]
            most = max(map(len, rows))
            if most == 0:
                continue
            pixels = to_pixels(pictures[start : start + batch_size], size, device, dtype)
            kv = self.model.project_image(self.model.encode_image(pixels))
            step = max(1, batch_size // len(rows))
            for first in range(0, most, step):
                some = [row[first : first + step] for row in rows]
                results = iter(work(self._read(some, kv)))
                for place, row in enumerate(some, start):
                    found[place] += [next(results) for _ in row]
        return found

    def _read(self, questions: list[list[str]], kv: ImageKV) -> ImageKV:
        """What the decoder reads of the questions, row after row."""
        most = max(map(len, questions))
        # All pictures get as many questions; the fillers are the shortest there can be.
        padded = [[*map(clean_question, row), *[""] * (most - len(row))] for row in questions]
        encoded = self.tokenizer.encode([t for row in padded for t in row], self.max_tokens)
        texts = encoded.start_with(self.tokenizer.enc_id).to(self.model.device)
        states = self.model.ground(texts.ids, texts.visible, kv)
        real = [n < len(row) for row in questions for n in range(most)]
        kept = torch.tensor(real, device=states.device)
        return self.model.project_questions(states[kept], texts.visible[kept])


class BestCandidates(NamedTuple):
    """For each question the places of its best candidates, the best first, and how they did.

    All are `(questions, best)`.
    """

    places: Tensor
    log_probabilities: Tensor
    scores: Tensor


def best_candidates(
    model: QuestionModel, candidates: Texts, questions: ImageKV, count: int, best: int = 1
) -> BestCandidates:
    """Choose `count` candidates by their first token, and of those the `best` likeliest texts.

    Candidates start with `[DEC]`. Of equally likely ones the earlier is taken. Raises
    NotFiniteError where the model gives NaN.
    """
    start = candidates.ids[:1, :1].expand(len(questions), 1)
    logits = model.answer_logits(start, torch.ones_like(start, dtype=torch.bool), questions)
    first_tokens = at_least_float32(logits[:, 0])[:, candidates.ids[:, 1]]
    chosen = first_tokens.sort(dim=1, descending=True, stable=True).indices[:, :count]
    visible = candidates.visible[chosen.flatten()]
    longest = int(visible.sum(dim=1).max())
    ids, visible = candidates.ids[chosen.flatten(), :longest], visible[:, :longest]
    # The last token of all is read by nobody; padding is not scored.
    states = model.decode(ids[:, :-1], visible[:, :-1], questions)
    scored = visible[:, 1:]
    logits = at_least_float32(model.next_token_logits(states[scored]))
    whole = logits.logsumexp(dim=1)
    told = logits.gather(1, ids[:, 1:][scored][:, None]).squeeze(1) - whole
    evenly = logits.mean(dim=1) - whole

    def of_texts(of_tokens: Tensor) -> Tensor:
        filled = of_tokens.new_zeros(scored.shape).masked_scatter(scored, of_tokens)
        return filled.sum(dim=1).view(-1, count)

    log_probabilities = of_texts(told)
    scores = (1 - RANKED_SMOOTHING) * log_probabilities + RANKED_SMOOTHING * of_texts(evenly)
    refuse_nan(scores)
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :best]
    return BestCandidates(
        *(found.gather(1, order) for found in (chosen, log_probabilities, scores))
    )
