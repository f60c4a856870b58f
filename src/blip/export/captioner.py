"""Pictures in, captions out, by an exported model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from blip.export.predictor import ExportedPredictor
from blip.generation.config import DecodingConfig
from blip.inference.captioner import CaptionWriter
from blip.inference.decoding import decode_rows, rows_of_each
from blip.inference.likelihood import Likelihood, log_likelihoods
from blip.nn.mode import Mode


class OnnxCaptioner(CaptionWriter, ExportedPredictor):
    """Writes captions as `blip.Captioner` does, in onnxruntime on the CPU.

    >>> import blip
    >>> from pathlib import Path
    >>> manifest = blip.export_onnx("runs/captioner", Path("runs/captioner-onnx"))
    >>> blip.OnnxCaptioner.load("runs/captioner-onnx").caption(["photo.jpg"])
    ['a dog on a beach']
    """

    @classmethod
    def _needs(cls) -> Mode:
        return "causal"

    def _decode_ids(
        self,
        states: Tensor,
        count: int,
        decoding: DecodingConfig,
        seeds: Sequence[int],
        start: Sequence[int],
    ) -> list[list[int]]:
        kv = self.model.project_image(states, "causal")
        session = self.model.begin_decoding(kv, rows_of_each(decoding, count))
        prompt = torch.tensor([list(start)]).expand(len(states), -1)
        eos_id = self.tokenizer.sep_id
        return decode_rows(session, prompt, eos_id, decoding, count=count, seeds=seeds)

    def _likelihoods(
        self, states: Tensor, start: Sequence[int], texts: Sequence[Sequence[int]], max_length: int
    ) -> list[Likelihood]:
        kv, logits = self.model.project_image(states, "causal"), self.model.next_token_logits
        return log_likelihoods(logits, kv, start, texts, self.tokenizer.sep_id, max_length)
