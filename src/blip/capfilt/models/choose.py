"""From a configuration to its models, and to all that the output depends on."""

from dataclasses import replace
from typing import Literal

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.models.checkpoints import (
    CheckpointModels,
    ModelSource,
    check_precision,
    choose_precision,
)
from blip.capfilt.progress.plan import plan_anew, resume_settings
from blip.capfilt.shards.layout import Layout
from blip.capfilt.shards.settings import Settings
from blip.config.ranges import InferencePrecision


def resolve_auto(
    config: CapFiltConfig, layout: Layout, *, overwrite: bool = False
) -> CapFiltConfig:
    """Replace auto by the precision and batch size of the job in the folder, if one has begun.

    Otherwise the devices decide on the precision, and later the models on the batch size. Raises
    UsageError if this machine is to compute in int8 and cannot, and if compiled passes are
    asked for and the job computes in int8, or the reverse; then `overwrite` clears the folder.
    """
    config = plan_anew(lambda: resume_settings(config, layout), layout, overwrite=overwrite)
    if config.precision == "auto":
        return replace(config, precision=choose_precision(config.devices))
    if config.engine == "local":
        # Before any worker starts; on a cluster the workers' machines may be others.
        check_precision(config.precision, config.devices)
    return config


def checkpoint_models(config: CapFiltConfig) -> CheckpointModels:
    """The models that a configuration names; its precision is not auto."""
    captioner_device, filter_device = config.devices
    return CheckpointModels(
        captioner=config.captioner,
        filter=config.filter,
        decoding=config.decoding,
        captions=config.captions,
        captioner_device=captioner_device,
        filter_device=filter_device,
        precision=_resolved_precision(config),
        compile=_compiled(config),
    )


def choose_settings(config: CapFiltConfig, models: ModelSource) -> Settings:
    """All that the output depends on; the precision of the configuration is not auto."""
    captioner, matcher = models.fingerprints()
    return Settings(
        captioner=captioner,
        filter=matcher,
        threshold=config.threshold,
        seed=config.seed,
        captions=config.captions,
        decoding=config.decoding,
        batch_size=models.batch_size() if config.batch_size == "auto" else config.batch_size,
        precision=_resolved_precision(config),
        compile=_compiled(config),
        write=config.write,
        max_pixels=config.max_pixels,
        rules=config.rules,
        job_rules=config.job_rules,
    )


def _compiled(config: CapFiltConfig) -> Literal["on", "off"]:
    return "on" if config.compile == "on" else "off"


def _resolved_precision(config: CapFiltConfig) -> InferencePrecision:
    assert config.precision != "auto", "call `resolve_auto` first"
    return config.precision
