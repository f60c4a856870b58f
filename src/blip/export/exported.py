"""An exported model: graphs, sizes and tokenizer of a folder that needs no checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from blip.data.tokenizer import Tokenizer
from blip.export.manifest import Manifest, read_manifest
from blip.export.names import decoder_kv, kv_names
from blip.export.sessions import Graphs, Runs
from blip.model.config import ModelConfig
from blip.model.decoding import CachedSession
from blip.model.grounded import require_mode
from blip.nn.kv import ImageKV
from blip.nn.mode import Mode


class ExportedModel:
    """What `Blip` computes, by the graphs of a folder; on the CPU."""

    def __init__(self, manifest: Manifest, graphs: Runs, tokenizer: Tokenizer) -> None:
        self.manifest = manifest
        self.graphs = graphs
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Open an exported folder; graphs are opened when they are first run.

        Raises UsageError if this is none or onnxruntime is missing, and BlipError for a folder
        that is broken or that a later version wrote.
        """
        manifest = read_manifest(folder)
        return cls(manifest, Graphs(Path(folder)), Tokenizer.load(folder))

    @property
    def config(self) -> ModelConfig:
        """Sizes of the model."""
        return self.manifest.model

    def require(self, mode: Mode) -> None:
        """Raise UsageError where the model was exported without `mode`."""
        require_mode(self.config, mode, f"{self.graphs.folder}: ")

    def encode_pixels(
        self, pixels: Float[Tensor, "batch *frames 3 height width_pixels"]
    ) -> Float[Tensor, "batch tokens width"]:
        """States of images, or of videos, those of one frame after another."""
        if pixels.ndim == 5:
            states = self.encode_pixels(pixels.flatten(0, 1))
            return states.unflatten(0, pixels.shape[:2]).flatten(1, 2)
        return self.graphs.run("image_encoder", {"pixels": pixels})["states"]

    def image_features(
        self, states: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch projection"]:
        """Unit vectors to compare with `text_features`."""
        return self.graphs.run("image_features", {"states": states})["features"]

    def text_features(
        self, ids: Int[Tensor, "texts length"], visible: Bool[Tensor, "texts length"]
    ) -> Float[Tensor, "texts projection"]:
        """Unit vectors to compare with `image_features`, of texts that start with `[CLS]`."""
        return self.graphs.run("text_encoder", {"ids": ids, "visible": visible})["features"]

    def project_image(self, states: Float[Tensor, "images tokens width"], mode: Mode) -> ImageKV:
        """Cross-attention keys and values of every layer, once for all texts of these images."""
        name = decoder_kv(self.config) if mode == "causal" else "image_kv"
        found = self.graphs.run(name, {"states": states})
        depth = range(self.config.text.depth)
        keys, values = (
            tuple(found[f"{kind}.{layer}"] for layer in depth) for kind in ("key", "value")
        )
        return ImageKV(keys, values)

    def match_logits(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        image_kv: ImageKV,
    ) -> Float[Tensor, "texts 2"]:
        """Image-text matching, of texts that start with `[ENC]`, as many for each image."""
        images = len(image_kv)
        texts = {"ids": _of_images(ids, images), "visible": _of_images(visible, images)}
        logits = self.graphs.run("matching", {**texts, **name_image_kv(image_kv)})["logits"]
        return logits.flatten(0, 1)

    def begin_decoding(self, image_kv: ImageKV, copies: int = 1) -> "ExportedSession":
        """A session that decodes `copies` texts of each image."""
        return ExportedSession(self, image_kv, copies)

    def next_token_logits(
        self, ids: Tensor, visible: Tensor, image_kv: ImageKV, wanted: Tensor
    ) -> Tensor:
        """As `blip.inference.likelihood.NextTokenLogits`; padding is at the right, never seen."""
        step = self.begin_decoding(image_kv, len(ids) // len(image_kv))
        return step.read(ids)[wanted]


class ExportedSession(CachedSession):
    """Decoding by the graph of one step, whose cache it holds."""

    def __init__(self, model: ExportedModel, image_kv: ImageKV, copies: int) -> None:
        super().__init__(image_kv, copies)
        self.graphs = model.graphs
        text = model.config.text
        # (rows, heads, tokens, head width), layer by layer, keys and values.
        self.names = kv_names("", text.depth)
        shape = (len(image_kv) * copies, text.heads, 0, text.width // text.heads)
        self.cache: Sequence[Tensor] = [torch.empty(shape)] * len(self.names)

    def read(self, ids: Int[Tensor, "rows new"]) -> Float[Tensor, "rows new vocabulary"]:
        """Read new tokens after the earlier ones; the logits after each."""
        images = len(self.image_kv)
        if self._length() == 0:
            self.cache = [one[:1].expand(len(ids), -1, -1, -1) for one in self.cache]
        past = {
            f"past_{name}": _of_images(one, images)
            for name, one in zip(self.names, self.cache, strict=True)
        }
        given = {"ids": _of_images(ids, images), **past, **name_image_kv(self._projected())}
        found = self.graphs.run("decoder", given)
        self.cache = [found[name].flatten(0, 1) for name in self.names]
        return found["logits"].flatten(0, 1)

    def _projected(self) -> ImageKV:
        assert isinstance(self.image_kv, ImageKV)
        return self.image_kv

    def _length(self) -> int:
        return self.cache[0].shape[2]

    def _continue(self, ids: Int[Tensor, "rows new"]) -> Float[Tensor, "rows vocabulary"]:
        return self.read(ids)[:, -1]

    def _reorder_cache(self, index: Int[Tensor, " kept"]) -> None:
        self.cache = [one.index_select(0, index) for one in self.cache]


def name_image_kv(image_kv: ImageKV) -> dict[str, Tensor]:
    """Keys and values of images by the names that graphs give them."""
    parts = [part for pair in zip(image_kv.keys, image_kv.values, strict=True) for part in pair]
    return dict(zip(kv_names("image_", len(image_kv.keys)), parts, strict=True))


def _of_images(rows: Tensor, images: int) -> Tensor:
    """Rows grouped by image, as many for each."""
    return rows.view(images, len(rows) // max(images, 1), *rows.shape[1:])
