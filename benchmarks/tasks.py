"""Answers chosen a second, beside the plain way of doing the same with the same weights.

    python benchmarks/tasks.py [--device cuda --dtype bfloat16] [--small] [--save]

ViT-B/16 at 384 pixels and BERT-base with random weights; nothing is downloaded. VQA: ranking of
3 128 answers for each of some questions that were read already (k = 128); the plain way is a
forward pass for each of the k candidates, with the question's states repeated; a second row has one
pass over all k of them, as in the original release. VisDial: the 100 candidates of a round after
nine earlier ones, picture included; the plain way scores each candidate alone; a second row keeps
the picture and reads the dialogue again for each. Ours and the plain way take turns; the best of
the rounds counts. The last line is one JSON object.
"""

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from machine import Speedometer, describe, seconds
from report import print_and_save, print_machine
from rich.console import Console
from rich.table import Table
from torch import Tensor

from blip.data.dialogue_tokens import ANSWER_TOKENS, encode_answers, encode_captions, encode_turns
from blip.data.dialogues import Turn
from blip.data.tokenizer import Tokenizer
from blip.inference.answerer import best_candidates
from blip.inference.dialogue_answerer import DialogueAnswerer
from blip.inference.pixels import NormalisedImage
from blip.model.config import ModelConfig
from blip.model.dialogue import DialogueModel
from blip.model.question import QuestionModel
from blip.objectives.dialogues import answer_scores
from inference import BASE, SMALL, draw, make_text, make_tokenizer

ANSWERS, K, QUESTIONS, QUESTION_TOKENS = 3128, 128, 2, 10
OPTIONS, ALONE, ROUNDS = 100, 8, 9
"""Of VisDial; how many the plain way scores, as each of them takes equally long."""


@dataclass(slots=True)
class Case:
    """The same answers, chosen in one way."""

    name: str
    task: str
    amount: int
    """Candidates in `work`."""
    work: Callable[[], Tensor]
    """Their scores, the first ones of the same candidates in every case of a task."""
    rates: list[float] = field(default_factory=list)


def main() -> int:
    """Measure, print, write."""
    args = parse()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    config = SMALL if args.small else BASE
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = make_tokenizer(config.text.vocabulary_size, Path(folder))
    with torch.inference_mode():
        cases = [*Vqa(config, tokenizer, device, dtype).cases()]
        cases += Visdial(config, tokenizer, device, dtype).cases()
        agree = {task: agreeing(cases, task) for task in ("vqa", "visdial")}
        speed = Speedometer(device, dtype)
        for _ in range(args.repeats):
            speed.measure()
            for case in cases:
                case.rates.append(case.amount / seconds(case.work, device))
    result = summary(cases, agree, speed, describe(device, dtype, ("torch",)))
    console = Console(width=118, record=True)
    show(console, result)
    print_and_save(result, console, f"tasks-{args.device}-{args.dtype}.txt" if args.save else None)
    return 0 if all(agree.values()) or dtype != torch.float32 else 1


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help="rounds of each")
    parser.add_argument("--small", action="store_true", help="tiny models: does it run, and agree?")
    parser.add_argument(
        "--save", action="store_true", help="write the result to benchmarks/results"
    )
    return parser.parse_args()


class Vqa:
    """Questions that were read, and candidate answers."""

    def __init__(
        self, config: ModelConfig, tokenizer: Tokenizer, device: torch.device, dtype: torch.dtype
    ) -> None:
        model = draw(QuestionModel(replace(config, architecture="vqa"))).to(device, dtype)
        self.model = model
        words = config.text.vocabulary_size - 300
        answers = [f"w{200 + n % words} w{201 + n // 7 % words}" for n in range(ANSWERS)]
        self.answers = tokenizer.encode(answers, 8).start_with(tokenizer.dec_id).to(device)
        questions = [make_text(number, QUESTION_TOKENS) for number in range(QUESTIONS)]
        texts = tokenizer.encode(questions, 35).start_with(tokenizer.enc_id).to(device)
        size = config.vision.image_size
        states = model.encode_image(torch.randn(1, 3, size, size).to(device, dtype))
        self.states = model.ground(*texts, model.project_image(states, "bidirectional"))
        self.visible = texts.visible

    def cases(self) -> list[Case]:
        """Ours, then the plain ways."""
        amount = QUESTIONS * K
        return [
            Case("vqa", "vqa", amount, self.rank),
            Case("vqa_k_forwards", "vqa", amount, lambda: self.plain(1)),
            Case("vqa_repeated_states", "vqa", amount, lambda: self.plain(K)),
        ]

    def rank(self) -> Tensor:
        """Log-probabilities of the K candidates of every question, the best first."""
        questions = self.model.project_questions(self.states, self.visible)
        best = best_candidates(self.model, self.answers, questions, K, K)
        return best.log_probabilities.sort(dim=1, descending=True).values.flatten()

    def plain(self, together: int) -> Tensor:
        """The same with the question's states repeated for each candidate, `together` a pass."""
        model, answers, found = self.model, self.answers, list[Tensor]()
        for states, visible in zip(self.states.split(1), self.visible.split(1), strict=True):
            question = model.project_questions(states, visible)
            start = answers.ids[:1, :1]
            first = model.language_logits(start, torch.ones_like(start).bool(), question)[0, 0]
            chosen = first[answers.ids[:, 1]].sort(descending=True, stable=True).indices[:K]
            scores = [self._score(states, visible, some) for some in chosen.split(together)]
            found.append(torch.cat(scores).sort(descending=True).values)
        return torch.cat(found)

    def _score(self, states: Tensor, visible: Tensor, chosen: Tensor) -> Tensor:
        ids, seen = self.answers.ids[chosen], self.answers.visible[chosen]
        rows = len(chosen)
        repeated = self.model.project_questions(
            states.repeat_interleave(rows, 0), visible.repeat_interleave(rows, 0)
        )
        logits = self.model.language_logits(ids[:, :-1], seen[:, :-1], repeated)
        of_tokens = logits.log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
        return (of_tokens * seen[:, 1:]).sum(dim=1)


class Visdial:
    """A round after earlier ones, with its candidates."""

    def __init__(
        self, config: ModelConfig, tokenizer: Tokenizer, device: torch.device, dtype: torch.dtype
    ) -> None:
        sizes = replace(config, architecture="visdial", modes=("bidirectional",))
        model = draw(DialogueModel(sizes)).to(device, dtype)
        self.answerer = DialogueAnswerer(model, tokenizer)
        # As long as those of VisDial: questions of seven tokens, answers of four.
        history = tuple((make_text(n, 9), make_text(20 + n, 5)) for n in range(ROUNDS))
        self.turn = Turn(make_text(5, 14), history, make_text(9, 9))
        self.options = [make_text(number % 40, 4 + number % 4) for number in range(OPTIONS)]
        size = config.vision.image_size
        self.image = NormalisedImage(torch.randn(3, size, size))
        self.kv = model.project_with_captions(
            self.answerer.encode([self.image]),
            *encode_captions(tokenizer, [self.turn.caption]).to(device),
        )

    def cases(self) -> list[Case]:
        """Ours, then the plain ways."""
        return [
            Case("visdial", "visdial", OPTIONS, lambda: self.rank(self.options)),
            Case("visdial_alone", "visdial", ALONE, self.rank_each_with_its_picture),
            Case("visdial_dialogue_again", "visdial", ALONE, self.rank_each_with_its_dialogue),
        ]

    def rank(self, options: list[str]) -> Tensor:
        """Scores of some candidates, picture and dialogue read once."""
        ((scores,),) = self.answerer.scores([self.image], [[self.turn]], [[options]])
        return torch.tensor(scores)

    def rank_each_with_its_picture(self) -> Tensor:
        """Each candidate with picture and dialogue of its own."""
        return torch.cat([self.rank([option]) for option in self.options[:ALONE]])

    def rank_each_with_its_dialogue(self) -> Tensor:
        """Each candidate with the dialogue of its own, about one picture."""
        model, tokenizer, found = self.answerer.model, self.answerer.tokenizer, list[Tensor]()
        for option in self.options[:ALONE]:
            texts = encode_turns(tokenizer, [self.turn], self.answerer.max_tokens)
            dialogue = model.encode_dialogues(texts.ids.to(model.device), texts.visible, self.kv)
            answer = encode_answers(tokenizer, [option], ANSWER_TOKENS)
            ids, visible = answer.start_with(tokenizer.enc_id)
            logits = model.answer_logits(ids.to(model.device), visible, dialogue, self.kv)
            found.append(answer_scores(logits.float()))
        return torch.cat(found).cpu()


def agreeing(cases: list[Case], task: str) -> bool:
    """Whether all ways of a task give the same scores; it also warms them up."""
    scores = [case.work().float().cpu() for case in cases if case.task == task]
    shared = min(map(len, scores))
    return all(
        torch.allclose(one[:shared], scores[0][:shared], rtol=1e-4, atol=1e-3) for one in scores
    )


def summary(
    cases: list[Case], agree: dict[str, bool], speed: Speedometer, machine: dict[str, Any]
) -> dict[str, Any]:
    """What the last line says."""
    best = {case.name: max(case.rates) for case in cases}

    def ratio(task: str, plain: str) -> float:
        return round(best[task] / best[f"{task}_{plain}"], 2)

    return {
        "ratios": {
            "vqa_vs_k_forwards": ratio("vqa", "k_forwards"),
            "visdial_vs_each_alone": ratio("visdial", "alone"),
        },
        "more_ratios": {
            "vqa_vs_repeated_states_in_one_pass": ratio("vqa", "repeated_states"),
            "visdial_vs_dialogue_again": ratio("visdial", "dialogue_again"),
        },
        "candidates_per_second": {
            case.name: [round(rate, 2) for rate in case.rates] for case in cases
        },
        "same_results": agree,
        "gflop_per_second": round(speed.operations_per_second / 1e9, 1),
        "gbyte_per_second": round(speed.bytes_per_second / 1e9, 1),
        **machine,
    }


def show(console: Console, result: dict[str, Any]) -> None:
    """The table."""
    print_machine(result, console)
    table = Table("", "best of the rounds, candidates/s", "ours / this")
    rates = {name: max(values) for name, values in result["candidates_per_second"].items()}
    for name, rate in rates.items():
        ours = rates[name.partition("_")[0]]
        table.add_row(name, f"{rate:.2f}", f"{ours / rate:.2f}")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
