"""The stages of a seed, by name: what trains on what, for how long, and how it is judged."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blip.capfilt.config import CapFiltConfig
from blip.data.config import DataConfig, SourceConfig
from blip.data.scenes.config import ScenesConfig
from blip.evaluation.config import EvaluateConfig
from blip.generation.config import DecodingConfig
from blip.jobs import KINDS, Job, JobConfig
from blip.model.config import ModelConfig, Sharing
from blip.recipes.bootstrap import scenes_demo
from blip.recipes.config import BootstrapConfig
from blip.tasks.config import CaptionerConfig, FilterConfig, PretrainConfig, TokenizerConfig
from blip.train.config import TrainConfig
from experiments.tables.cut import CUT, Cut, CutConfig, Rule
from experiments.tables.graph import Node, make_node
from experiments.tables.work import SPEED, Planned, Pretraining, Speed, SpeedConfig


def sizes() -> BootstrapConfig:
    """Half the demo's human pairs, a quarter of its web pairs, and about half its steps."""
    demo = scenes_demo()
    assert isinstance(demo.data, ScenesConfig)
    return replace(
        demo,
        data=replace(demo.data, human=1000, web=2000, val=1),
        pretrain=replace(demo.pretrain, steps=1200, evaluate_every=None),
        next_pretrain=replace(demo.next_pretrain, steps=1200, evaluate_every=None),
        captioner=replace(demo.captioner, steps=350),
        filter=replace(demo.filter, steps=350),
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What can be made of one seed's scenes; equal stages of several plans are the same stage."""

    out: Path
    sizes: BootstrapConfig
    seed: int

    def drawn(self, **changes: Any) -> "Plan":
        """With other scenes."""
        data = replace(self.scenes_config, **changes)
        return replace(self, sizes=replace(self.sizes, data=data))

    def sized(self, model: ModelConfig) -> "Plan":
        """With models of another size."""
        return replace(self, sizes=replace(self.sizes, model=model))

    def lengthened(self, times: int) -> "Plan":
        """With pre-trainings from random weights of that many times the steps."""
        budget = self.sizes.pretrain
        longer = replace(budget, steps=times * budget.steps)
        return replace(self, sizes=replace(self.sizes, pretrain=longer))

    @property
    def scenes_config(self) -> ScenesConfig:
        """How the scenes are drawn, but for the seed."""
        assert isinstance(self.sizes.data, ScenesConfig)
        return self.sizes.data

    @property
    def scenes(self) -> Node:
        """The splits human, web and test."""
        return self._job(replace(self.scenes_config, seed=self.seed))

    @property
    def tokenizer(self) -> Node:
        """Learnt from the texts of the scenes."""
        texts = (self._split("human"), self._split("web"))
        size = self.sizes.vocabulary_size
        config = TokenizerConfig(source=None, texts=texts, vocabulary_size=size)
        return self._job(config, self.scenes)

    def pretrain(
        self, cut: Node | None = None, *, init: Node | None = None, equal_epochs: bool = False
    ) -> Node:
        """A model trained on the human pairs, and on all web pairs or those of a cut.

        From random weights, or on from those of `init`. With `equal_epochs` it sees its pairs as
        often as a model that is trained on all web pairs sees those.
        """
        web = self._split("web") if cut is None else str(cut.folder / "kept/shards")
        budget = self.sizes.pretrain if init is None else self.sizes.next_pretrain
        planned = self._planned(budget, web, init)
        if equal_epochs:
            human = round(
                self.scenes_config.human * self.scenes_config.captions * self.sizes.human_weight
            )
            epochs = budget.steps * self.sizes.batch_size / (human + self.scenes_config.web)
            planned = replace(planned, epochs=epochs)
        return self._pretraining(planned, *(node for node in (cut, init) if node is not None))

    def coupled(self, model: Node) -> Node:
        """One model for both: fine-tuned with all losses for as long as the captioner."""
        planned = self._planned(self.sizes.captioner, None, model)
        contrastive = replace(self.sizes.contrastive, positives="image")
        config = replace(planned.config, contrastive=contrastive)
        return self._pretraining(replace(planned, config=config), model)

    def captioner(self, model: Node) -> Node:
        """Fine-tuned with LM on the human pairs."""
        config = CaptionerConfig(
            init=str(model.folder),
            data=self._pairs(None),
            train=replace(self.sizes.captioner, seed=self.seed),
            language=self.sizes.language,
        )
        return self._job(config, self.scenes, model)

    def filter(self, model: Node) -> Node:
        """Fine-tuned with ITC and ITM on the human pairs."""
        config = FilterConfig(
            init=str(model.folder),
            data=self._pairs(None),
            train=replace(self.sizes.filter, seed=self.seed),
            contrastive=replace(self.sizes.contrastive, positives="image"),
        )
        return self._job(config, self.scenes, model)

    def written(
        self, model: Node, *, decoding: DecodingConfig | None = None, captions: int = 1
    ) -> Node:
        """CapFilt by the captioner and the filter of a model."""
        pair = self.captioner(model), self.filter(model)
        return self.capfilt(*pair, decoding=decoding, captions=captions)

    def capfilt(
        self,
        captioner: Node,
        matcher: Node,
        *,
        decoding: DecodingConfig | None = None,
        captions: int = 1,
    ) -> Node:
        """All texts and scores: what is kept is decided by cuts."""
        config = CapFiltConfig(
            captioner=str(captioner.folder),
            filter=str(matcher.folder),
            data=(self._split("web"),),
            out=str(self.out / "job"),
            threshold=0.0,
            seed=self.seed,
            captions=captions,
            decoding=decoding or self.sizes.synthesis,
            batch_size=64,
            write="texts",
            workers=1,
        )

        def work(folder: Path) -> Job:
            return Job(replace(config, out=str(folder)), folder)

        after = (self.scenes, captioner, matcher)
        return make_node(self.out, KINDS[CapFiltConfig], config, work, *after)

    def cut(self, job: Node, rule: Rule = "itm", threshold: float | None = None) -> Node:
        """The texts of a job that a rule keeps."""
        config = CutConfig(
            job=str(job.folder),
            web=(self._split("web"),),
            rule=rule,
            threshold=self.sizes.threshold if threshold is None else threshold,
            seed=self.seed,
        )
        return make_node(self.out, CUT, config, lambda folder: Cut(config, folder), job)

    def judge(self, model: Node) -> Node:
        """Retrieval by both scores, and captions, on the test scenes."""
        config = EvaluateConfig(
            checkpoint=str(model.folder),
            data=(self._split("test"),),
            retrieval=self.sizes.retrieval,
            captioning=self.sizes.captioning,
        )
        return self._job(config, self.scenes, model)

    def speed(self, sharings: tuple[Sharing, ...], steps: int) -> Node:
        """Parameters and seconds a step of models that share other parameters."""
        planned = self._planned(self.sizes.pretrain, self._split("web"), None)
        config = SpeedConfig(planned=planned, sharings=sharings, steps=steps)
        after = (self.scenes, self.tokenizer)
        return make_node(self.out, SPEED, config, lambda folder: Speed(config, folder), *after)

    def _split(self, name: str) -> str:
        return str(self.scenes.folder / name)

    def _pairs(self, web: str | None) -> DataConfig:
        weight = 1.0 if web is None else self.sizes.human_weight
        human = SourceConfig(name="human", shards=(self._split("human"),), weight=weight)
        more = () if web is None else (SourceConfig(name="web", shards=(web,)),)
        return DataConfig(
            sources=(human, *more),
            batch_size=self.sizes.batch_size,
            image=self.sizes.image,
            max_tokens=self.sizes.max_tokens,
            seed=self.seed,
        )

    def _planned(self, budget: TrainConfig, web: str | None, init: Node | None) -> Planned:
        config = PretrainConfig(
            model=self.sizes.model,
            tokenizer=str(self.tokenizer.folder),
            data=self._pairs(web),
            train=replace(budget, seed=self.seed),
            contrastive=self.sizes.contrastive,
            language=self.sizes.language,
            init=None if init is None else str(init.folder),
        )
        return Planned(config=config)

    def _pretraining(self, planned: Planned, *after: Node) -> Node:
        def work(folder: Path) -> Pretraining:
            return Pretraining(planned, folder)

        first = (self.scenes, self.tokenizer)
        return make_node(self.out, PretrainConfig.kind, planned, work, *first, *after)

    def _job(self, config: JobConfig, *after: Node) -> Node:
        kind = KINDS[type(config)]
        return make_node(self.out, kind, config, lambda folder: Job(config, folder), *after)
