"""A tokenizer for a run: opened, or learnt from the texts that the run trains on."""

from pathlib import Path

from blip.data.captions import clean_caption
from blip.data.readers.sources import find_sources, read_sources
from blip.data.tokenizer import Tokenizer, find_tokenizer
from blip.errors import UsageError
from blip.files import write_json
from blip.model.checkpoint.start_sizes import find_start
from blip.tasks.config import TokenizerConfig


def make_tokenizer(config: TokenizerConfig, out: Path) -> Tokenizer:
    """Write tokenizer.json and vocabulary.json (a list of the tokens) into `out`.

    Raises UsageError if the source holds no tokenizer, or the texts name no shards.
    """
    if config.source is not None:
        tokenizer = Tokenizer.load(config.source)
    else:
        texts = (
            clean_caption(text)
            for _, sample in read_sources(find_sources(config.texts))
            for text in sample.texts
        )
        tokenizer = Tokenizer.train(texts, vocabulary_size=config.vocabulary_size)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(out)
    vocabulary = tokenizer.backend.get_vocab(with_added_tokens=True)
    write_json(out / "vocabulary.json", sorted(vocabulary, key=lambda token: vocabulary[token]))
    return tokenizer


def find_beside(weights: str) -> str:
    """The tokenizer in the folder of a BERT's weights; raises UsageError if there is none."""
    found = find_tokenizer(find_start("text_weights", weights).parent)
    if found is None:
        raise UsageError(
            f"text_weights: there is neither tokenizer.json nor vocab.txt beside {weights}; put "
            "one there, or give --tokenizer"
        )
    return str(found)
