"""Case 19: capitals and marks, which training takes out of texts, change no figure."""

from pathlib import Path

from blip.data.readers.sources import read_samples
from blip.data.writers.shards import write_shards
from blip.evaluation.config import EvaluateConfig
from blip.evaluation.evaluate import evaluate
from blip.tasks.table import EVALUATIONS
from tests.support.generators import run_generator
from tests.support.saved_models import tiny_checkpoint


def test_bare_and_marked_texts_give_equal_figures(tmp_path: Path) -> None:
    folder = run_generator("19-evaluate-reads-raw-texts", tmp_path)
    words = ["a large small red blue green yellow circle square number 0 1 2 3 4 5 6 7 8 9"]
    # Marks are words of the tokenizer, too, so that a text that is not cleaned reads differently.
    checkpoint = tiny_checkpoint(tmp_path / "model", [*words, '" ! ( : .'])
    found = []
    for name in ("bare", "marked"):
        write_shards(read_samples(str(folder / f"{name}.json")), folder / name)
        config = EvaluateConfig(checkpoint=str(checkpoint), data=(str(folder / name),))
        found.append(evaluate(config, EVALUATIONS))
    bare, marked = found
    assert marked["retrieval"] == bare["retrieval"]
    # Measures of captions have a tokenizer of their own, to which a bracket is a token.
    assert marked["captions"] == bare["captions"]
    assert marked["caption"]["bleu1"] == bare["caption"]["bleu1"]
