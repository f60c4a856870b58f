"""The main job: pre-train, fine-tune captioner and filter, CapFilt, pre-train on what is left."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blip.capfilt.config import CapFiltConfig
from blip.config.history import without
from blip.config.strict import load_json, to_json
from blip.data.config import DataConfig, SourceConfig
from blip.data.readers.sources import find_sources, list_files
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.write import SPLITS
from blip.evaluation.config import EvaluateConfig, ValidationConfig
from blip.files import fingerprint_files, fingerprint_json, write_json
from blip.generation.config import DecodingConfig
from blip.job_folder import JobFolder
from blip.jobs import KINDS, Job, JobConfig, run_together
from blip.log import say
from blip.outputs import BOOTSTRAP, refuse_inputs_as_output
from blip.recipes.config import BootstrapConfig
from blip.stage import Stage, exclusive_lock
from blip.tasks.config import (
    FREE_TO_CHANGE,
    CaptionerConfig,
    FilterConfig,
    PretrainConfig,
    TokenizerConfig,
)
from blip.tasks.table import find_task
from blip.train.config import TrainConfig

if TYPE_CHECKING:
    from blip.reports.bootstrap import ShownImage

SHOWN = 24
"""Test images in the report."""


def bootstrap(
    config: BootstrapConfig, out: Path, *, overwrite: bool = False, allow_change: bool = False
) -> dict[str, Any]:
    """Run or resume the main job in `out`; returns the content of `out/summary.json`.

    Every stage writes its result into `out`, and is skipped if its result already exists and was
    made from the same inputs. Raises BlipError if a stage fails or is stopped; the same call
    resumes. Raises UsageError if `out` was made with another configuration: `overwrite` repeats
    the stages that it changes, `allow_change` resumes unfinished trainings with it.
    """
    run = _Bootstrap(config, out, overwrite=overwrite, allow_change=allow_change)
    run.check_places()
    with exclusive_lock(out):
        run.prepare()
        first = model = run.pretrain(1, cleaned=None, init=None)
        run.run_stages(model)
        for number in range(1, config.rounds + 1):
            captioner = run.captioner(number, model)
            matcher = run.filter(number, model)
            run.run_stages(captioner, matcher)
            cleaned = run.capfilt(number, captioner, matcher)
            run.run_stages(cleaned)
            model = run.pretrain(number + 1, cleaned=cleaned, init=model)
            if number < config.rounds:
                run.run_stages(model)
        baseline = run.baseline(first)
        run.run_stages(model, baseline)
        # In this process: to load torch in others would take as long as to evaluate small models.
        for trained in (baseline, model):
            run.run_stages(run.evaluation(trained))
        return run.summary(baseline, model)


MEASURED = ("retrieval", "retrieval_score", "retrieval_by_score", "caption")
"""Of an evaluation, what summary.json repeats; a folder of an earlier version may lack some."""
_DOING = {
    "data": "draw the scenes",
    "tokenizer": "open the tokenizer, or learn one from the training texts",
    "pretrain": "pre-train with ITC, ITM and LM",
    "captioner": "fine-tune with LM on the human pairs",
    "filter": "fine-tune with ITC and ITM on the human pairs",
    "capfilt": "write a text for every web image, drop texts that do not match",
    "baseline": "pre-train as long on the human and all web pairs",
    "evaluation": "measure retrieval and captions on the test images",
}
"""What a stage does, by the last part of its name."""
_OF_THE_TRAINING = ("device", "precision")
"""Keys of an evaluation that it takes from the training; the model's stage is an input already."""


class _Bootstrap:
    """The stages of a run; each reads the results of those before it."""

    def __init__(
        self,
        config: BootstrapConfig,
        out: Path,
        *,
        overwrite: bool = False,
        allow_change: bool = False,
    ) -> None:
        self.config, self.out = config, out
        self.folder = JobFolder(out, overwrite=overwrite, allow_change=allow_change)
        self.stages: list[Stage] = []
        self.vocabulary_size = 0
        self.splits: dict[str, tuple[str, ...]] = {}
        self.data_inputs: Any = None

    def check_places(self) -> None:
        """Raise UsageError where the run would overwrite its inputs."""
        data = self.config.data
        config = self.config
        named = (config.tokenizer, config.vision_weights, config.text_weights)
        read = [place for place in named if place is not None]
        if not isinstance(data, ScenesConfig):
            for split in SPLITS:
                patterns = getattr(data, split)
                read += [*patterns, *map(str, find_sources(patterns))]
        refuse_inputs_as_output(read, self.out, BOOTSTRAP)
        self.folder.claim()

    def prepare(self) -> None:
        """Check the configuration; make the data and the tokenizer, which every stage reads."""
        self.folder.compare(self.config)
        self._prepare_data()
        self._prepare_tokenizer()

    def run_stages(self, *stages: Stage) -> None:
        """Run stages that do not depend on one another; skip those that are done."""
        for stage in stages:
            if not stage.is_done():
                # Before any stage begins, and before config.json names this configuration.
                stage.check()
                self.folder.write_config(self.config, stage)
        run_together(stages, self.config.parallel)

    def pretrain(self, number: int, *, cleaned: Stage | None, init: Stage | None) -> Stage:
        """Pre-training of a round: on all web texts first, later on those that CapFilt kept."""
        web = self.splits["web"] if cleaned is None else _kept(cleaned.folder / "shards")
        continues = init is not None and self.config.init == "previous"
        budget = self.config.next_pretrain if continues else self.config.pretrain
        name = f"round-{number}/pretrain"
        return self._pretrain(name, web, budget, init if continues else None, number, cleaned)

    def baseline(self, first: Stage) -> Stage:
        """A training as long as the last round's, on the human and all web texts."""
        config = self.config
        if config.init == "fresh":
            return self._pretrain("baseline", self.splits["web"], config.pretrain, None, 2, None)
        steps = config.next_pretrain.steps * config.rounds
        budget = replace(config.next_pretrain, steps=steps)
        return self._pretrain("baseline", self.splits["web"], budget, first, 2, None)

    def captioner(self, number: int, model: Stage) -> Stage:
        """The captioner of a round: LM on the human pairs."""
        # It is trained, and so validated, without the prompt that the evaluation may have.
        decoding = replace(self.config.captioning, prompt="")
        config = CaptionerConfig(
            init=str(model.folder),
            data=self._data(number, human_only=True),
            train=self._budget(self.config.captioner, number),
            language=self.config.language,
            validation=self._validation(self.config.captioner, decoding),
        )
        return self._stage(f"round-{number}/captioner", config, model)

    def filter(self, number: int, model: Stage) -> Stage:
        """The filter of a round: ITC and ITM on the human pairs."""
        config = FilterConfig(
            init=str(model.folder),
            data=self._data(number, human_only=True),
            train=self._budget(self.config.filter, number),
            contrastive=replace(self.config.contrastive, positives="image"),
            validation=self._validation(self.config.filter, self.config.captioning),
        )
        return self._stage(f"round-{number}/filter", config, model)

    def capfilt(self, number: int, captioner: Stage, matcher: Stage) -> Stage:
        """Write a synthetic text for every web image; drop all texts that do not match."""
        name = f"round-{number}/capfilt"
        config = CapFiltConfig(
            captioner=str(captioner.folder),
            filter=str(matcher.folder),
            data=self.splits["web"],
            out=str(self.out / name),
            threshold=self.config.threshold,
            rules=self.config.rules,
            # Other texts than those of the round before.
            seed=self.config.seed + number - 1,
            captions=self.config.captions,
            decoding=self.config.synthesis,
            precision=self.config.capfilt_precision,
        )
        return self._stage(name, config, captioner, matcher)

    def evaluation(self, model: Stage) -> Stage:
        """All figures of a model on the test split, on the device and in the format of the run."""
        goes_on = self.config.init == "previous"
        budget = self.config.next_pretrain if goes_on else self.config.pretrain
        config = EvaluateConfig(
            checkpoint=str(model.folder),
            data=self.splits["test"],
            retrieval=self.config.retrieval,
            captioning=self.config.captioning,
            max_pixels=self.config.image.max_pixels,
            device=budget.device,
            precision=budget.precision,
        )
        return self._stage(f"{model.name}/evaluation", config, model)

    def summary(self, baseline: Stage, model: Stage) -> dict[str, Any]:
        """Figures of both models and of CapFilt, written to summary.json and report.html."""
        from blip.capfilt.report.quality import measure_capfilt
        from blip.evaluation.evaluate import read_evaluation
        from blip.reports.bootstrap import write_report

        results = {
            name: read_evaluation(stage.folder / "evaluation")
            for name, stage in (("baseline", baseline), ("bootstrapped", model))
        }
        rounds = [
            measure_capfilt(self.out / f"round-{n}/capfilt/ledger", self.splits["web"])
            for n in range(1, self.config.rounds + 1)
        ]
        summary = {
            **{
                name: {key: result.get(key) for key in MEASURED} for name, result in results.items()
            },
            "capfilt": rounds[-1],
            "rounds": rounds,
            "seconds": {stage.name: stage.seconds for stage in self.stages},
            "seed": self.config.seed,
            "config": fingerprint_json(to_json(self.config, for_fingerprint=True)),
        }
        self.folder.write_config(self.config, None)
        write_json(self.out / "summary.json", summary)
        write_report(self.out, summary, results, self._shown_images())
        return summary

    def _shown_images(self) -> "Iterator[ShownImage]":
        """The first test images, for the report."""
        from blip.data.examples.evaluation_set import EvaluationSet
        from blip.reports.bootstrap import ShownImage

        image = self.config.image
        shards = self.splits["test"]
        data = EvaluationSet(shards, image.size, most=SHOWN, max_pixels=image.max_pixels)
        for place, (key, texts) in enumerate(zip(data.keys, data.texts, strict=True)):
            yield ShownImage(key, data.picture(place), texts[0])

    def _prepare_data(self) -> None:
        config = self.config
        if isinstance(config.data, ScenesConfig):
            stage = self._stage("data", replace(config.data, seed=config.seed))
            self.run_stages(stage)
            self.splits = {split: (str(stage.folder / split),) for split in SPLITS}
            self.data_inputs = stage.fingerprint
            return
        self.splits = {split: getattr(config.data, split) for split in SPLITS}
        # Sizes and times instead of contents, which may be terabytes.
        self.data_inputs = [
            [path.name, path.stat().st_size, path.stat().st_mtime_ns]
            for split in SPLITS
            for place in find_sources(self.splits[split])
            for path in list_files(place)
        ]

    def _prepare_tokenizer(self) -> None:
        source, text_weights = self.config.tokenizer, self.config.text_weights
        if source is None and text_weights is not None:
            from blip.tasks.vocabulary import find_beside

            source = find_beside(text_weights)
        # Every later stage depends on what these files hold.
        for place in (source, self.config.vision_weights, text_weights):
            if place is not None:
                self.data_inputs = [self.data_inputs, _fingerprint_named(place)]
        texts = () if source else (*self.splits["human"], *self.splits["web"])
        size = self.config.vocabulary_size
        config = TokenizerConfig(source=source, texts=texts, vocabulary_size=size)
        stage = self._stage("tokenizer", config)
        self.run_stages(stage)
        self.vocabulary_size = len(load_json(stage.folder / "vocabulary.json"))

    def _pretrain(
        self,
        name: str,
        web: tuple[str, ...],
        budget: TrainConfig,
        init: Stage | None,
        number: int,
        cleaned: Stage | None,
    ) -> Stage:
        text = replace(self.config.model.text, vocabulary_size=self.vocabulary_size)
        given = self.config if init is None else None
        config = PretrainConfig(
            model=replace(self.config.model, text=text),
            tokenizer=str(self.out / "tokenizer"),
            data=self._data(number, web=web),
            train=self._budget(budget, number),
            contrastive=self.config.contrastive,
            language=self.config.language,
            init=None if init is None else str(init.folder),
            vision_weights=given and given.vision_weights,
            text_weights=given and given.text_weights,
            weights_lr_scale=given.weights_lr_scale if given else 1.0,
            validation=self._validation(budget, self.config.captioning),
        )
        return self._stage(name, config, *(stage for stage in (init, cleaned) if stage))

    def _data(
        self, number: int, *, web: tuple[str, ...] = (), human_only: bool = False
    ) -> DataConfig:
        weight = 1.0 if human_only else self.config.human_weight
        sources = [SourceConfig(name="human", shards=self.splits["human"], weight=weight)]
        if not human_only and web:
            sources.append(SourceConfig(name="web", shards=web))
        return DataConfig(
            sources=tuple(sources),
            batch_size=self.config.batch_size,
            image=self.config.image,
            max_tokens=self.config.max_tokens,
            seed=self.config.seed + number,
        )

    def _validation(self, budget: TrainConfig, decoding: DecodingConfig) -> ValidationConfig | None:
        """Validation on the `val` split during a training, if it is enabled."""
        if budget.evaluate_every is None:
            return None
        return ValidationConfig(
            shards=self.splits["val"],
            decoding=decoding,
            max_pixels=self.config.image.max_pixels,
        )

    def _budget(self, budget: TrainConfig, number: int) -> TrainConfig:
        return replace(budget, seed=self.config.seed + number)

    def _stage(self, name: str, config: JobConfig, *after: Stage) -> Stage:
        folder = self.out / name
        if find_task(config) is not None:
            free = FREE_TO_CHANGE
        else:
            free = _OF_THE_TRAINING if isinstance(config, EvaluateConfig) else ()
        inputs = [
            _make_relative(self.out, without(config, free)),
            self.data_inputs,
            [stage.fingerprint for stage in after],
        ]
        number = len(self.stages) + 1
        title = f"[{number}/{self._num_stages}] {name}: {_DOING[name.rpartition('/')[2]]}"
        stage = Stage(
            name,
            folder,
            inputs,
            Job(config, folder),
            KINDS[type(config)],
            title,
            overwrite=self.folder.overwrite,
            allow_change=self.folder.allow_change,
        )
        self.stages.append(stage)
        return stage

    @property
    def _num_stages(self) -> int:
        """Data, tokenizer, first pre-training, four stages per round, baseline, two evaluations."""
        return int(isinstance(self.config.data, ScenesConfig)) + 5 + 4 * self.config.rounds


def _kept(shards: Path) -> tuple[str, ...]:
    """The folder of CapFilt's shards; empty, with a message, where it dropped every text."""
    if any(shards.glob("*.tar")):
        return (str(shards),)
    say(f"{shards}: CapFilt kept no text; training on the human pairs alone")
    return ()


def _fingerprint_named(source: str) -> str:
    """The fingerprint of a tokenizer, or of a file of weights; for one on the hub, its name."""
    path = Path(source)
    inside = [path / name for name in ("tokenizer.json", "vocab.txt")]
    files = [file for file in (path, *inside) if file.is_file()]
    return fingerprint_files(files) if files else source


def _make_relative(out: Path, value: Any) -> Any:
    """A JSON value with paths relative to `out`, so that a run folder may be moved."""
    if isinstance(value, dict):
        return {key: _make_relative(out, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_make_relative(out, item) for item in value]
    if isinstance(value, str):
        return value.removeprefix(f"{out}/")
    return value
