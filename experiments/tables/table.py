"""What a table is: its variants, what they are compared by, and their figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from blip.config.strict import load_json
from blip.evaluation.evaluate import RESULT
from experiments.tables.cut import FIGURES
from experiments.tables.graph import ORIGIN, Node
from experiments.tables.plan import Plan

Figures = dict[str, float]

RECALLS = tuple(f"{way}{k}" for way in ("tr", "ir") for k in (1, 5, 10))
TITLES = {
    "r1": "R@1",
    **{name: f"{name[:2].upper()}@{name[2:]}" for name in RECALLS},
    "logit_r1": "R@1, logit",
    **{f"logit_{name}": f"{name[:2].upper()}@{name[2:]}, logit" for name in RECALLS},
    "cider": "CIDEr",
    "bleu4": "BLEU-4",
    "correct": "true captions %",
    "steps": "steps",
    "web_dropped": "web dropped %",
    "synthetic_dropped": "synthetic dropped %",
    "filter_precision": "right of the kept web %",
    "filter_recall": "kept of the right web %",
    "synthetic_correct_before": "true synthetic %",
    "synthetic_correct_after": "true of the kept %",
    "vocabulary": "words",
    **{f"distinct{n}": f"distinct {n}-grams %" for n in (1, 2, 3)},
    "parameters": "parameters",
    "step_ratio": "seconds a step, ratio",
}
"""Figures as they are titled. `r1` is the mean of TR@1 and IR@1 by the log-probability of a match;
what begins with `logit` ranks by the published score."""
MAIN = ("r1", "cider")
"""Figures by which claims about trained models are tried."""
TRAINED = ("r1", *RECALLS, "logit_r1", "cider", "bleu4", "correct")
DROPPED = ("web_dropped", "synthetic_dropped", "synthetic_correct_before")


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A row of a table, for one seed."""

    judged: Node
    """An evaluation, of the model that its only training made."""
    cut: Node | None = None
    """The data set that it was trained on."""
    speed: tuple[Node, str] | None = None
    """What was timed, and the key of this variant in it."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """What has to be made."""
        more = () if self.speed is None else (self.speed[0],)
        return (self.judged, *more)

    @property
    def is_done(self) -> bool:
        """Whether all that its figures are read from is there."""
        cut = () if self.cut is None else (self.cut,)
        return all(node.is_done for node in (*self.nodes, self.judged.after[-1], *cut))

    @property
    def name(self) -> str:
        """The names of its stages, which say all that its figures depend on."""
        return " ".join(node.stage.name for node in self.nodes)

    def read(self) -> tuple[Figures, dict[str, str]]:
        """Its figures, and the origin of its evaluation."""
        folder = self.judged.folder
        found = figures_of(load_json(folder / RESULT))
        trained = load_json(self.judged.after[-1].folder / "config.json")
        found["steps"] = trained["train"]["steps"]
        if self.cut is not None:
            found |= of_cut(load_json(self.cut.folder / FIGURES))
        if self.speed is not None:
            node, key = self.speed
            found |= load_json(node.folder / FIGURES)[key]
        return found, load_json(folder / ORIGIN)


def figures_of(result: Mapping[str, Any]) -> Figures:
    """Figures of an evaluation by the keys of `TITLES`, shares in per cent."""
    found: Figures = {}
    for score, start in (("log_probability", ""), ("logit", "logit_")):
        recalls = result["retrieval_by_score"][score]
        found |= {f"{start}{name}": recalls[name] for name in RECALLS}
        found[f"{start}r1"] = (recalls["tr1"] + recalls["ir1"]) / 2
    captions = result["caption"]
    correct = 100.0 * captions["correct"]
    return found | {"cider": captions["cider"], "bleu4": captions["bleu4"], "correct": correct}


def of_cut(measured: Mapping[str, Any]) -> Figures:
    """Figures of a cut by the keys of `TITLES`; those that are undefined are left out."""
    found: Figures = {}
    for source in ("web", "synthetic"):
        kept, dropped = measured[f"{source}_kept"], measured[f"{source}_dropped"]
        found[f"{source}_kept"] = kept
        found[f"{source}_dropped"] = 100.0 * dropped / max(kept + dropped, 1)
    for name, value in measured.items():
        if name in TITLES and value is not None and name not in found:
            is_share = name.startswith(("filter", "synthetic"))
            found[name] = 100.0 * value if is_share else value
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A claim that one variant is better than another."""

    better: str
    than: str
    figures: tuple[str, ...] = MAIN
    """By which; more is better."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of the paper, or one beyond it."""

    name: str
    """Of its module, of its results, and of its place on the page."""
    number: int
    """Of the paper, or beyond it; tables of one number belong together."""
    title: str
    claim: str
    paper: str
    """What the paper reports."""
    comparisons: tuple[Comparison, ...]
    """What the claim says, tried within each seed."""
    columns: tuple[str, ...]
    """Figures on the page; all others are in the results alone."""
    variants: Callable[[Plan], dict[str, Variant]]


def trained(
    plan: Plan, cut: Node | None = None, *, init: Node | None = None, equal_epochs: bool = False
) -> Variant:
    """A model that is trained on all web texts or those of a cut, and judged."""
    model = plan.pretrain(cut, init=init, equal_epochs=equal_epochs)
    return Variant(judged=plan.judge(model), cut=cut)
