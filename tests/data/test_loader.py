"""Batches depend on their number alone; an epoch holds every pair as often as it should."""

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.order.mixture import Mixture
from blip.data.sample import Sample
from blip.data.tokenizer import Tokenizer
from blip.data.writers.shards import write_shards
from blip.errors import BlipError, UsageError
from tests.support.pairs import pair_loader
from tests.support.pictures import photo

PLAIN = ImageConfig(size=16, crop_scale=(1.0, 1.0), flip=False, augment_ops=0)
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([" ".join(WORDS), "human web a picture of"] * 3, vocabulary_size=200)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    human = [Sample(f"h{i}", photo(i), (f"human {WORDS[i]}", f"{WORDS[i]}")) for i in range(4)]
    web = [
        Sample(f"w{i}-{kind}", photo(50 + i), (f"web {WORDS[i]} {kind}",), {"key": f"w{i}"})
        for i in range(3)
        for kind in ("web", "synthetic")
    ]
    write_shards(human, tmp_path / "human", per_shard=3)
    write_shards(web, tmp_path / "web")
    return tmp_path / "human", tmp_path / "web"


def config(folders: tuple[Path, Path], **changes: object) -> DataConfig:
    weight = float(changes.pop("weight", 1.0))
    values: dict = {
        "sources": (
            SourceConfig(name="human", shards=(str(folders[0]),), weight=weight),
            SourceConfig(name="web", shards=(str(folders[1]),)),
        ),
        "batch_size": 7,
        "image": PLAIN,
    }
    return DataConfig(**values | changes)


def test_an_epoch_holds_every_pair_once(folders: tuple[Path, Path], tokenizer: Tokenizer) -> None:
    loader = pair_loader(config(folders), tokenizer)
    assert loader.num_examples == 14
    assert loader.steps_per_epoch == 2
    orders = []
    for epoch in range(2):
        texts = [
            tokenizer.decode(row)
            for batch in islice(loader.batches(2 * epoch), 2)
            for row in batch.texts.ids.tolist()
        ]
        assert len(set(texts)) == 14
        orders.append(texts)
    assert orders[0] != orders[1]


@pytest.mark.parametrize("image", [PLAIN, ImageConfig(size=16)])
def test_a_batch_is_the_same_whenever_it_is_made(
    folders: tuple[Path, Path], tokenizer: Tokenizer, image: ImageConfig
) -> None:
    made = list(islice(pair_loader(config(folders, image=image), tokenizer).batches(0), 6))
    late = next(pair_loader(config(folders, image=image), tokenizer).batches(5))
    assert torch.equal(made[5].images, late.images)
    assert torch.equal(made[5].texts.ids, late.texts.ids)
    assert made[5].keys == late.keys


def test_workers_make_the_same_batches(folders: tuple[Path, Path], tokenizer: Tokenizer) -> None:
    augmented = ImageConfig(size=16)
    alone = pair_loader(config(folders, image=augmented), tokenizer)
    helped = pair_loader(config(folders, image=augmented, workers=2), tokenizer)
    # Dropout must go on after a restart as it would have without one.
    before = torch.get_rng_state()
    for one, other in zip(islice(alone.batches(3), 4), islice(helped.batches(3), 4), strict=True):
        assert torch.equal(one.images, other.images)
        assert one.keys == other.keys
    assert torch.equal(torch.get_rng_state(), before)


def test_a_gpu_that_nothing_uses_is_not_started(
    folders: tuple[Path, Path], tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    given: list[bool] = []

    def load(*_: object, pin_memory: bool, **__: object) -> list[object]:
        given.append(pin_memory)
        return []

    monkeypatch.setattr("blip.data.loader.DataLoader", load)
    list(pair_loader(config(folders, workers=1), tokenizer).batches(0))
    assert given == [False]


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_share_the_rows_of_a_batch(
    folders: tuple[Path, Path], tokenizer: Tokenizer, ranks: int
) -> None:
    changes = {"image": ImageConfig(size=16), "batch_size": 8}
    whole = next(pair_loader(config(folders, **changes), tokenizer).batches(2))
    for rank in range(ranks):
        part = next(pair_loader(config(folders, **changes), tokenizer, rank, ranks).batches(2))
        assert torch.equal(part.images, whole.images[rank::ranks])
        assert torch.equal(part.image_ids, whole.image_ids[rank::ranks])
        assert part.keys == whole.keys[rank::ranks]


def test_a_batch_that_ranks_cannot_share_is_refused(
    folders: tuple[Path, Path], tokenizer: Tokenizer
) -> None:
    with pytest.raises(UsageError, match="multiple of the 2 processes, got 7"):
        pair_loader(config(folders), tokenizer, 1, 2)


def test_a_prompt_that_leaves_no_room_for_a_text_is_refused(
    folders: tuple[Path, Path], tokenizer: Tokenizer
) -> None:
    prompt = "a red circle "
    most = len(tokenizer.encode_prompt(prompt)) + 1
    with pytest.raises(UsageError, match=rf"`data.prompt` 'a red circle ' has {most} tokens"):
        pair_loader(config(folders, prompt=prompt, max_tokens=most), tokenizer)
    pair_loader(config(folders, prompt=prompt, max_tokens=most + 1), tokenizer)


def test_texts_of_one_image_share_its_number(
    folders: tuple[Path, Path], tokenizer: Tokenizer
) -> None:
    numbers: dict[str, set[int]] = {}
    for batch in islice(pair_loader(config(folders), tokenizer).batches(0), 2):
        for key, number in zip(batch.keys, batch.image_ids.tolist(), strict=True):
            numbers.setdefault(key.partition("-")[0], set()).add(number)
    assert len(numbers) == 7
    assert all(len(found) == 1 for found in numbers.values())
    assert len(set.union(*numbers.values())) == 7


def test_weights_and_prompt(folders: tuple[Path, Path], tokenizer: Tokenizer) -> None:
    loader = pair_loader(
        config(folders, weight=2.5, prompt="a picture of ", batch_size=13), tokenizer
    )
    # 8 human pairs two and a half times, 6 web pairs once.
    assert loader.steps_per_epoch == 2
    texts = [
        tokenizer.decode(row)
        for batch in islice(loader.batches(0), 2)
        for row in batch.texts.ids.tolist()
    ]
    assert all(text.startswith("a picture of ") for text in texts)
    counts = Counter(Counter(t for t in texts if "web" not in t).values())
    assert counts == {2: 4, 3: 4}


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    weights=st.lists(st.floats(0.2, 3), min_size=3, max_size=3),
    seed=st.integers(0, 5),
)
def test_every_epoch_of_a_mixture_is_complete(
    sizes: list[int], weights: list[float], seed: int
) -> None:
    assume(sum(round(s * w) for s, w in zip(sizes, weights, strict=False)) > 0)
    mixture = Mixture(sizes, weights[: len(sizes)], seed)
    for epoch in (0, 3):
        start = epoch * mixture.epoch_size
        places = [mixture.at(start + i) for i in range(mixture.epoch_size)]
        counts = Counter(places)
        for source, (size, weight) in enumerate(zip(sizes, weights, strict=False)):
            seen = [counts[source, pair] for pair in range(size)]
            assert sum(seen) == round(size * weight)
            assert max(seen) - min(seen) <= 1


def test_bad_samples_are_left_out_and_named(
    tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [
        Sample("good", photo(), ("one",)),
        Sample("torn", photo(1)[:150], ("two",)),
        Sample("text", b"no image", ("three",)),
        Sample("empty", photo(2), ("...",)),
    ]
    write_shards(samples, tmp_path)
    loader = pair_loader(
        DataConfig(
            sources=(SourceConfig(name="x", shards=(str(tmp_path),)),), batch_size=2, image=PLAIN
        ),
        tokenizer,
    )
    assert loader.num_examples == 1
    assert [(key, reason) for _, key, reason in loader.bad.first] == [
        ("torn", "truncated_image"),
        ("text", "not_an_image"),
        ("empty", "empty_caption"),
    ]
    assert "empty_caption 1, not_an_image 1, truncated_image 1" in capsys.readouterr().err


def test_nothing_to_train_on_is_an_error(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_shards([Sample("empty", photo(2), ("",))], tmp_path)
    source = SourceConfig(name="x", shards=(str(tmp_path),))
    with pytest.raises(BlipError, match="no usable pair to train on"):
        pair_loader(DataConfig(sources=(source,), batch_size=2, image=PLAIN), tokenizer)


@pytest.mark.parametrize("stream", ["never", "always"])
def test_weights_that_leave_nothing_are_refused(
    folders: tuple[Path, Path], tmp_path: Path, tokenizer: Tokenizer, stream: str
) -> None:
    source = SourceConfig(name="human", shards=(str(folders[0]),), weight=1e-6)
    changes = {"sources": (source,), "stream": stream, "cache": str(tmp_path / "cache")}
    with pytest.raises(UsageError, match=r"the weights of data\.sources leave no"):
        pair_loader(config(folders, **changes), tokenizer)
