"""Rows from sets of any size, read from their shards as they are needed; the unit is the sample."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, final

import numpy as np

from blip.data.captions import clean_caption
from blip.data.config import DataConfig
from blip.data.examples.usable import find_usable
from blip.data.identity import Places
from blip.data.images import BadImageError
from blip.data.order.positions import Place, StreamOrder
from blip.data.order.rows import Row
from blip.data.readers.archive import Archive, Fault
from blip.data.readers.cache import ShardCache, cache_folder
from blip.data.readers.counts import Shard, blame, index_shards, locate
from blip.data.readers.prefetch import Fetcher
from blip.data.readers.remote import is_remote
from blip.data.sample import Sample
from blip.data.transforms import decode_train_pixels
from blip.errors import BlipError
from blip.files import fingerprint_json
from blip.log import say

SUBSTITUTES = 64
"""Samples that are tried in the place of a bad one."""


@final
class StreamRows:
    """Every sample is a row of an epoch, with one of its texts, drawn anew each time.

    A bad sample's row is given to another sample, of the same window where one is sound: the batch
    keeps its size, and that other sample comes once more in the epoch.
    """

    def __init__(self, config: DataConfig) -> None:
        """Find out how many samples each shard holds.

        Raises UsageError where shards are not there, BlipError where they hold no sample.
        """
        self.config = config
        found = [locate(source.shards) for source in config.sources]
        folder = cache_folder(config.cache)
        # All at once: so that one progress bar tells how far it is.
        indexed = iter(index_shards([location for of in found for location in of], folder))
        shards = [[next(indexed) for _ in of] for of in found]
        self.shards: list[Shard] = [shard for of_source in shards for shard in of_source]
        self.source_of = [
            source.name
            for source, of_source in zip(config.sources, shards, strict=True)
            for _ in of_source
        ]
        self.places_of = [
            (number, places)
            for number, (places, of) in enumerate(zip(map(Places, found), found, strict=True))
            for _ in of
        ]
        """Of every shard: the number of its source, and what tells the source's images apart."""
        for source, of_source in zip(config.sources, shards, strict=True):
            if not any(shard.samples for shard in of_source):
                say(f"source {source.name} has no samples in its {len(of_source)} shards")
        if not any(shard.samples for shard in self.shards):
            raise BlipError("no sample to train on")
        self.order = StreamOrder(
            [[shard.samples for shard in of_source] for of_source in shards],
            [source.weight for source in config.sources],
            lanes=config.lanes,
            window=config.shuffle_buffer,
            seed=config.seed,
        )
        self.cache = ShardCache(folder, int(config.cache_gigabytes * 1e9))
        self._start()

    def _start(self) -> None:
        """What each process has for itself."""
        self._archives: OrderedDict[int, Archive] = OrderedDict()
        self._miscounted: set[int] = set()
        """Shards of which was said that they hold another number of samples."""
        self._fetcher: Fetcher | None = None
        self._windows: OrderedDict[tuple[int, int, int], None] = OrderedDict()

    @property
    def size(self) -> int:
        """Samples."""
        return sum(self.order.sizes)

    @property
    def order_fingerprint(self) -> str:
        """Of the shards' counts, weights, lanes, windows and seed."""
        config = self.config
        weights = [source.weight for source in config.sources]
        counts = [shard.samples for shard in self.shards]
        settings = [config.lanes, config.shuffle_buffer, config.seed]
        return fingerprint_json(["stream", self.source_of, counts, weights, settings])

    @property
    def epoch_size(self) -> int:
        """Samples in an epoch, repetitions included."""
        return self.order.epoch_size

    def rows(self, positions: Sequence[int]) -> tuple[list[Row], list[Fault]]:
        """The rows at some positions, and the bad samples that should have stood there."""
        self._look_ahead(positions)
        made = [self._row(position) for position in positions]
        return [row for row, _ in made], [fault for _, fault in made if fault is not None]

    def _row(self, position: int) -> tuple[Row, Fault | None]:
        own: Fault | None = None
        place = self.order.at(position)
        for attempt in range(SUBSTITUTES):
            row, fault = self._read(place, position)
            own = own or fault
            if row is not None:
                return row, own
            place = self.order.substitute(position, attempt)
        assert own is not None
        raise BlipError(
            f"{SUBSTITUTES} samples in a row are bad, the first: {own.shard} {own.key} {own.reason}"
        )

    def _read(self, place: Place, position: int) -> tuple[Row | None, Fault | None]:
        """The row of a sample, unless it is bad; and what is wrong with it or some of its texts."""
        name = self.shards[place.shard].location
        try:
            archive = self._open(place.shard)
        except OSError as error:
            return None, Fault(name, "", f"unreadable: {error.strerror or error}")
        if place.sample >= len(archive):
            told = f"{place.sample} of {self.shards[place.shard].samples}, {len(archive)} are there"
            return None, Fault(name, "", f"missing_sample: {told}")
        try:
            sample = archive.sample(place.sample)
        except OSError as error:
            return None, Fault(name, archive.keys[place.sample], f"unreadable: {error}")
        texts, reason, lost = find_usable(sample)
        if reason is not None or sample.image is None:
            return None, Fault(name, sample.key, reason or "missing_image")
        rng = np.random.Generator(np.random.PCG64([self.config.seed, position]))
        text = texts[int(rng.integers(len(texts)))]
        try:
            pixels = decode_train_pixels(sample.image, self.config.image, rng)
        except BadImageError as bad:
            return None, Fault(name, sample.key, str(bad))
        row = Row(
            pixels=pixels,
            text=self.config.prompt + clean_caption(text),
            image_id=self._image_id(place.shard, sample),
            key=sample.key,
        )
        return row, None if lost is None else Fault(name, sample.key, lost)

    def _image_id(self, shard: int, sample: Sample) -> int:
        source, places = self.places_of[shard]
        return _stable_id(f"{source} {places.identify(self.shards[shard].location, sample)}")

    def _open(self, number: int) -> Archive:
        archive = self._archives.get(number)
        if archive is None:
            shard = self.shards[number]
            try:
                file = self.cache.open(shard.location, shard.facts.tag)
            except OSError as error:
                # Of one that is fetched this is the disk, which is full for all of them.
                if is_remote(shard.location):
                    raise BlipError(f"cannot open {shard.location}: {error.strerror}") from error
                raise
            archive = self._archives[number] = Archive(shard.location, file)
            if len(archive) != shard.samples and number not in self._miscounted:
                self._miscounted.add(number)
                told = f"{shard.location} holds {len(archive)} samples, {shard.samples} are counted"
                say(told + blame(shard))
            # Two windows of each lane, which may share a shard or lie across several.
            while len(self._archives) > 2 * self.config.lanes + 2:
                self._archives.popitem(last=False)[1].close()
        self._archives.move_to_end(number)
        return archive

    def _look_ahead(self, positions: Sequence[int]) -> None:
        """Have the remote shards of these windows and of the next ones fetched."""
        now: list[int] = []
        later: list[int] = []
        for position in positions:
            spot = self.order.spot(position)
            window = spot[:3]
            if window in self._windows:
                continue
            self._windows[window] = None
            if len(self._windows) > 4 * self.config.lanes:
                self._windows.popitem(last=False)
            now += self.order.shards_of(spot)
            later += self.order.shards_of(self.order.next_window(spot))
        for number in dict.fromkeys(now + later):
            shard = self.shards[number]
            if is_remote(shard.location) and number not in self._archives:
                self._fetcher = self._fetcher or Fetcher(self.cache)
                self._fetcher.ask(shard.location, shard.facts.tag)

    def __getstate__(self) -> dict[str, Any]:
        """What a worker needs; it opens files of its own."""
        own = ("_archives", "_miscounted", "_fetcher", "_windows")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a worker."""
        self.__dict__ |= state
        self._start()


def _stable_id(text: str) -> int:
    """63 bits that are the same in every process, and differ for different texts."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
