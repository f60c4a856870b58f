"""Work of the tables that no verb of `blip` does as it is."""

import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

from blip.config.strict import load_json
from blip.files import write_json
from blip.log import say
from blip.model.config import Sharing
from blip.outputs import Kind
from blip.tasks.config import PretrainConfig, RunOptions
from experiments.tables.cut import FIGURES

SPEED = Kind("speed", "python -m experiments.tables.sharing", (FIGURES,))


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A pre-training, of which some sizes follow from what earlier stages make."""

    config: PretrainConfig
    """With the vocabulary's size still to be put in."""
    epochs: float | None = None
    """In place of the number of steps, which then follows from the number of texts."""

    def complete(self) -> PretrainConfig:
        """The whole configuration, once tokenizer and data are there."""
        config = self.config
        size = len(load_json(Path(config.tokenizer) / "vocabulary.json"))
        model = replace(config.model, text=replace(config.model.text, vocabulary_size=size))
        sources = tuple(s for s in config.data.sources if any(map(_holds_tars, s.shards)))
        if len(sources) < len(config.data.sources):
            say("CapFilt kept no text; training on the human pairs alone")
        config = replace(config, model=model, data=replace(config.data, sources=sources))
        if self.epochs is None:
            return config
        steps = max(1, round(self.epochs * _steps_per_epoch(config)))
        return replace(config, train=replace(config.train, steps=steps))


@dataclass(frozen=True, slots=True)
class Pretraining:
    """Pre-trains as planned."""

    planned: Planned
    out: Path

    def __call__(self) -> None:
        """Train, or resume."""
        from blip.tasks import pretrain

        pretrain.train(self.planned.complete(), self.out, RunOptions(allow_change=True))


def _holds_tars(folder: str) -> bool:
    return any(Path(folder).glob("*.tar"))


def _steps_per_epoch(config: PretrainConfig) -> int:
    from blip.data.examples.pairs import PairExamples
    from blip.data.loader import Loader
    from blip.data.tokenizer import Tokenizer

    examples = PairExamples(config.data, Tokenizer.load(config.tokenizer))
    return Loader(config.data, examples).steps_per_epoch


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedConfig:
    """Models that are timed side by side."""

    planned: Planned
    sharings: tuple[Sharing, ...]
    """The others are compared with the first."""
    steps: int


@dataclass(frozen=True, slots=True)
class Speed:
    """Times steps of pre-training in turns, so that whatever else is busy slows all alike."""

    config: SpeedConfig
    out: Path

    def __call__(self) -> None:
        """Write `parameters` and `step_ratio` of each: the median of its seconds by the first's."""
        import torch

        from blip.data.examples.pairs import PairExamples
        from blip.data.loader import Loader
        from blip.data.tokenizer import Tokenizer
        from blip.model.blip import Blip
        from blip.objectives.itc import MomentumContrast
        from blip.tasks.pretrain import PretrainStep
        from blip.train.optim import make_optimizer

        config, sharings = self.config.planned.complete(), self.config.sharings
        tokenizer = Tokenizer.load(config.tokenizer)
        batch = next(Loader(config.data, PairExamples(config.data, tokenizer)).batches(0))
        models = [Blip(replace(config.model, sharing=sharing)) for sharing in sharings]
        steps = [PretrainStep(model, tokenizer, config.language) for model in models]
        states = [MomentumContrast(model, config.contrastive) for model in models]
        optimizers = [make_optimizer(step, config.train.optimizer) for step in steps]
        torch.manual_seed(config.train.seed)
        ratios: list[list[float]] = [[] for _ in models]
        for turn in range(self.config.steps):
            seconds = []
            for step, state, optimizer in zip(steps, states, optimizers, strict=True):
                started = time.perf_counter()
                optimizer.zero_grad()
                context = state.context(batch, 1.0)
                step(batch, context).loss.backward()
                optimizer.step()
                state.after_update(context)
                seconds.append(time.perf_counter() - started)
            # The first turn fills caches.
            if turn > 0:
                for found, one in zip(ratios, seconds, strict=True):
                    found.append(one / seconds[0])
        found = {
            sharing: {
                "parameters": sum(p.numel() for p in model.parameters()),
                "step_ratio": statistics.median(ratio),
            }
            for sharing, model, ratio in zip(sharings, models, ratios, strict=True)
        }
        write_json(self.out / FIGURES, found)
