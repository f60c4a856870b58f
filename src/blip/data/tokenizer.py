"""BERT's WordPiece through the `tokenizers` library, with the two start tokens that BLIP adds."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Int
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from blip.errors import UsageError, first_line
from blip.nn.device import send

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
DEC, ENC = "[DEC]", "[ENC]"
FILE, WORDS = "tokenizer.json", "vocab.txt"

TEXTS_AT_A_TIME = 4096
_TIDY = [(f" {mark}", mark) for mark in ".?!,"]
_TIDY += [(" ' ", "'")]
_TIDY += [(f" {ending}", ending) for ending in ("n't", "'m", "'s", "'ve", "'re")]
"""What is put together in a decoded text, one after the other: the order matters."""


class Texts(NamedTuple):
    """Token ids, padded at the right, and which of them are real."""

    ids: Int[Tensor, "texts tokens"]
    visible: Bool[Tensor, "texts tokens"]

    def lengths(self) -> list[int]:
        """Real tokens of each text, both ends included; waits for a GPU that holds `visible`."""
        return self.visible.sum(dim=1).tolist()

    def start_with(self, token_id: int) -> "Texts":
        """The same texts with another start token."""
        ids = self.ids.clone()
        ids[:, 0] = token_id
        return Texts(ids, self.visible)

    def to(self, device: torch.device | str) -> "Texts":
        """The same texts on another device."""
        return Texts(
            self.ids.to(device, non_blocking=True), self.visible.to(device, non_blocking=True)
        )

    def send_ids(self, device: torch.device | str) -> "Texts":
        """The same texts with `ids` alone on another device.

        Every step reads the lengths of texts from `visible`, and would have to wait for a GPU.
        """
        return self._replace(ids=send(self.ids, torch.device(device)))

    def pin_memory(self) -> "Texts":
        """The same texts in pinned memory, from which a GPU copies without waiting."""
        return Texts(self.ids.pin_memory(), self.visible.pin_memory())


class Tokenizer:
    """Texts to ids and back; `[DEC]` and `[ENC]` are the last two ids, in this order."""

    def __init__(self, backend: Backend) -> None:
        """Take over a WordPiece backend; raises UsageError if it lacks a special token.

        Padding and truncation that others put into a tokenizer.json are dropped, and its template
        is not used: `encode` does these.
        """
        model = backend.model
        if not isinstance(model, models.WordPiece):
            raise UsageError(f"its model is {type(model).__name__}, not WordPiece")
        missing = [t for t in (PAD, UNK, CLS, SEP, MASK) if backend.token_to_id(t) is None]
        if missing:
            raise UsageError(f"the vocabulary has no {', '.join(missing)}")
        backend.no_padding()
        backend.no_truncation()
        # Blanks are tidied in `decode`: the library looks at one piece at a time.
        backend.decoder = decoders.WordPiece(model.continuing_subword_prefix, cleanup=False)
        backend.add_special_tokens([PAD, UNK, CLS, SEP, MASK])
        for token in (DEC, ENC):
            if backend.token_to_id(token) is None:
                backend.add_special_tokens([token])
        self.backend = backend
        vocabulary = backend.get_vocab(with_added_tokens=True)
        ids = {token: vocabulary[token] for token in (PAD, UNK, CLS, SEP, MASK, DEC, ENC)}
        self.pad_id, self.unk_id = ids[PAD], ids[UNK]
        self.cls_id, self.sep_id, self.mask_id = ids[CLS], ids[SEP], ids[MASK]
        self.dec_id, self.enc_id = ids[DEC], ids[ENC]
        self._special = set(ids.values())

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens, the added ones included."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    @property
    def content(self) -> str:
        """All that decides how it reads and writes a text, as JSON."""
        return self.backend.to_str()

    @property
    def last_id(self) -> int:
        """The greatest id; with no gaps, one less than there are tokens."""
        return max(self.backend.get_vocab(with_added_tokens=True).values())

    @classmethod
    def load(cls, source: str | Path) -> "Tokenizer":
        """Open a vocab.txt, a tokenizer.json, a folder that holds one, or a hub name.

        Hub names are "org/name" or "hf:org/name". A vocab.txt is taken for one of lower-cased text,
        as that of bert-base-uncased. Raises UsageError for a folder without one, and for a
        tokenizer that is not a WordPiece.
        """
        path = Path(source)
        if path.is_dir():
            found = find_tokenizer(path)
            if found is None:
                raise UsageError(f"{path} holds neither {FILE} nor {WORDS}")
            path = found
        if path.is_file():
            return cls._open(path)
        return cls._open(_download(str(source).removeprefix("hf:")))

    @classmethod
    def _open(cls, path: Path) -> "Tokenizer":
        try:
            backend = _from_json(path) if path.suffix.lower() == ".json" else _from_words(path)
            return cls(backend)
        # The library raises bare exceptions for a file that it cannot parse.
        except Exception as error:
            raise UsageError(f"{path} is not a tokenizer: {first_line(error)}") from error

    @classmethod
    def train(
        cls, texts: Iterable[str], *, vocabulary_size: int, lowercase: bool = True
    ) -> "Tokenizer":
        """Learn a WordPiece vocabulary from texts of any language.

        `vocabulary_size` bounds it, `[DEC]` and `[ENC]` included; `[PAD]` is 0. The same texts
        give the same vocabulary.
        """
        if vocabulary_size < 16:
            raise UsageError(f"vocabulary_size must be at least 16, got {vocabulary_size}")
        backend = _bert(models.WordPiece(unk_token=UNK), lowercase=lowercase, strip_accents=False)
        words = Counter(word for text in texts for word in _words(backend, text))
        # The trainer numbers inner letters in the order of a hash map and breaks ties by number;
        # named beforehand, they have the same numbers in every run.
        inner = sorted({f"##{letter}" for word in words for letter in word[1:]})
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocabulary_size - 2,
            min_frequency=1,
            show_progress=False,
            special_tokens=[PAD, UNK, CLS, SEP, MASK, *inner],
        )
        backend.train_from_iterator(words.elements(), trainer)
        model = models.WordPiece(backend.get_vocab(with_added_tokens=True), unk_token=UNK)
        # BERT's stripping of accents would take Korean syllables apart.
        return cls(_bert(model, lowercase=lowercase, strip_accents=False))

    def save(self, folder: Path) -> None:
        """Write tokenizer.json into an existing folder."""
        save_backend(self.backend, folder)

    def encode(
        self,
        texts: Sequence[str],
        max_tokens: int,
        padding: Literal["longest", "max"] = "longest",
    ) -> Texts:
        """`[CLS] ... [SEP]`, cut to `max_tokens` with the `[SEP]` kept, padded to equal length."""
        # Some at a time: what the library returns takes kilobytes a text.
        rows = [
            [self.cls_id, *encoding.ids[: max_tokens - 2], self.sep_id]
            for start in range(0, len(texts), TEXTS_AT_A_TIME)
            for encoding in self.backend.encode_batch(
                list(texts[start : start + TEXTS_AT_A_TIME]), add_special_tokens=False
            )
        ]
        return self.pad(rows, max_tokens if padding == "max" else None)

    def pad(self, rows: Sequence[Sequence[int]], longest: int | None = None) -> Texts:
        """Rows of ids padded to equal length: that of the longest, where none is given."""
        longest = max(map(len, rows), default=2) if longest is None else longest
        ids = torch.full((len(rows), longest), self.pad_id, dtype=torch.int64)
        visible = torch.zeros((len(rows), longest), dtype=torch.bool)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            visible[number, : len(row)] = True
        return Texts(ids, visible)

    def encode_prompt(self, text: str) -> list[int]:
        """`[DEC]` and the pieces of a prompt, to be continued: no `[SEP]`."""
        return [self.dec_id, *self.backend.encode(text, add_special_tokens=False).ids]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids: special tokens dropped, pieces joined, blanks tidied.

        No blank is left before `. ? ! ,`, around an apostrophe, or before what follows one in
        English: "a man ' s hat ." becomes "a man's hat.", as the released models' captions do.
        """
        kept = [int(i) for i in ids if int(i) not in self._special]
        text = self.backend.decode(kept, skip_special_tokens=False)
        for apart, together in _TIDY:
            text = text.replace(apart, together)
        return text


def find_tokenizer(folder: Path) -> Path | None:
    """The file of a tokenizer in a folder, if it holds one; the whole one before bare words."""
    return next((folder / name for name in (FILE, WORDS) if (folder / name).is_file()), None)


def save_backend(backend: Backend, folder: Path) -> None:
    """Write tokenizer.json into an existing folder, whatever bytes its name has."""
    # The library itself opens no path that is not UTF-8.
    (folder / FILE).write_text(backend.to_str(pretty=True), encoding="utf-8")


def _from_json(path: Path) -> Backend:
    return Backend.from_str(path.read_text(encoding="utf-8"))


def _words(backend: Backend, text: str) -> list[str]:
    """The words of a text as the tokenizer cuts it."""
    normal = backend.normalizer.normalize_str(text)
    return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normal)]


def _from_words(path: Path) -> Backend:
    """A vocab.txt: a token a line, numbered from 0. Only a line feed ends a line."""
    words = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    model = models.WordPiece({word: i for i, word in enumerate(words)}, unk_token=UNK)
    return _bert(model, lowercase=True)


def _bert(
    model: models.WordPiece, *, lowercase: bool, strip_accents: bool | None = None
) -> Backend:
    backend = Backend(model)
    backend.normalizer = normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip_accents
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return backend


def _download(name: str) -> Path:
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UsageError(f"no tokenizer at {name}: no such file or folder, and no hub name")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, FILE))
    # The library hands on whatever its HTTP client raises.
    except Exception as error:
        raise UsageError(
            f"the tokenizer {name} can neither be downloaded nor found in the cache: "
            f"{first_line(error)}"
        ) from error
