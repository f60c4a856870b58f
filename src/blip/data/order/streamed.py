"""The order of sets of any size, read from shards as needed: every sample once in an epoch."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, final

from blip.data.config import DataConfig
from blip.data.faults import BadSamples, Fault
from blip.data.identity import Places, stable_number
from blip.data.order.positions import StreamPositions
from blip.data.readers.archive import Archive
from blip.data.readers.cache import ShardCache, cache_folder
from blip.data.readers.counts import Shard, blame, index_shards, locate
from blip.data.readers.kept_archives import KeptArchives
from blip.data.readers.prefetch import Fetcher
from blip.data.readers.remote import COMMAND, is_remote
from blip.data.sample import OrderedSample, Sample
from blip.errors import BlipError
from blip.files import fingerprint_json
from blip.log import say


@final
class StreamedOrder:
    """Every sample has a position in an epoch; which of its examples is due is drawn each time.

    Substitutes for a bad sample come from the same window where one is sound: a batch keeps its
    size, and that other sample comes once more in the epoch.
    """

    def __init__(self, config: DataConfig) -> None:
        """Find out how many samples each shard holds.

        Raises UsageError if shards are not there, BlipError if they hold no sample.
        """
        self.config = config
        located = [locate(source.shards) for source in config.sources]
        folder = cache_folder(config.cache)
        # All at once, under one progress bar.
        indexed = iter(index_shards([name for names in located for name in names], folder))
        shards = [[next(indexed) for _ in names] for names in located]
        self.shards: list[Shard] = [shard for of_source in shards for shard in of_source]
        self.bad = BadSamples()
        self.bad.add(fault for shard in self.shards for fault in shard.faults)
        self.source_of = [
            source.name
            for source, of_source in zip(config.sources, shards, strict=True)
            for _ in of_source
        ]
        self.places_of = [
            (number, places)
            for number, names in enumerate(located)
            for places in [Places(names)]
            for _ in names
        ]
        """For each shard, the number of its source and what identifies the source's images."""
        for source, of_source in zip(config.sources, shards, strict=True):
            if not any(shard.samples for shard in of_source):
                say(f"source {source.name} has no samples in its {len(of_source)} shards")
        if not any(shard.samples for shard in self.shards):
            raise BlipError("no sample to train on")
        self.positions = StreamPositions(
            [[shard.samples for shard in of_source] for of_source in shards],
            [source.weight for source in config.sources],
            lanes=config.lanes,
            window=config.shuffle_buffer,
            seed=config.seed,
        )
        self.cache = ShardCache(folder, int(config.cache_gigabytes * 1e9))
        self._start()

    def _start(self) -> None:
        """State of this process alone."""
        self._archives = KeptArchives(self.positions.shards_at_a_time)
        self._miscounted: set[int] = set()
        """Shards whose wrong number of samples was reported."""
        self._fetcher: Fetcher | None = None
        self._windows: OrderedDict[tuple[int, int, int], None] = OrderedDict()

    @property
    def size(self) -> int:
        """Samples in all sources, each counted once."""
        return sum(self.positions.sizes)

    @property
    def epoch_size(self) -> int:
        """Samples in an epoch, repetitions included."""
        return self.positions.epoch_size

    @property
    def fingerprint(self) -> str:
        """Of the shards' names, sizes and counts, weights, lanes, windows and seed."""
        # Not of their places, where they may be moved, nor of their times.
        held = [(_name(one.location), one.facts.size) for one in self.shards]
        return fingerprint_json([self.former_fingerprint, held])

    @property
    def former_fingerprint(self) -> str:
        """The fingerprint of earlier versions: without the shards' names and sizes."""
        config = self.config
        weights = [source.weight for source in config.sources]
        counts = [shard.samples for shard in self.shards]
        settings = [config.lanes, config.shuffle_buffer, config.seed]
        return fingerprint_json(["stream", self.source_of, counts, weights, settings])

    def prepare(self, positions: Sequence[int]) -> None:
        """Have the remote shards of these windows and of the next ones fetched."""
        now: list[int] = []
        later: list[int] = []
        for position in positions:
            spot = self.positions.spot(position)
            window = spot[:3]
            if window in self._windows:
                continue
            self._windows[window] = None
            if len(self._windows) > 4 * self.config.lanes:
                self._windows.popitem(last=False)
            now += self.positions.shards_of(spot)
            later += self.positions.shards_of(self.positions.next_window(spot))
        for number in dict.fromkeys(now + later):
            shard = self.shards[number]
            if is_remote(shard.location) and not self._archives.is_open(number):
                self._fetcher = self._fetcher or Fetcher(self.cache)
                self._fetcher.ask(shard.location, shard.facts)

    def at(self, position: int, attempt: int = 0) -> OrderedSample | Fault:
        """The sample at a position, or why it cannot be read; later attempts give substitutes."""
        if attempt == 0:
            place = self.positions.at(position)
        else:
            place = self.positions.substitute(position, attempt - 1)
        name = self.shards[place.shard].location
        try:
            archive = self._open(place.shard)
        except OSError as error:
            return Fault(name, "", f"unreadable: {error.strerror or error}")
        if place.sample >= len(archive):
            counted = self.shards[place.shard].samples
            reason = f"missing_sample: {place.sample} of {counted}, {len(archive)} are there"
            return Fault(name, "", reason)
        try:
            sample = archive.sample(place.sample)
        except OSError as error:
            return Fault(name, archive.keys[place.sample], f"unreadable: {error}")
        return OrderedSample(sample, name, self._image_id(place.shard, sample))

    def _image_id(self, shard: int, sample: Sample) -> int:
        source, places = self.places_of[shard]
        return stable_number(f"{source} {places.identify(self.shards[shard].location, sample)}")

    def _open(self, number: int) -> Archive:
        archive = self._archives.find(number)
        if archive is None:
            shard = self.shards[number]
            try:
                file = self.cache.open(shard.location, shard.facts)
            except OSError as error:
                # Of one that is fetched this is the disk, which is full for all of them.
                if is_remote(shard.location):
                    raise BlipError(f"cannot open {shard.location}: {error.strerror}") from error
                raise
            archive = self._archives.add(number, shard.location, file)
            if len(archive) != shard.samples and number not in self._miscounted:
                self._miscounted.add(number)
                say(
                    f"{shard.location} holds {len(archive)} samples, "
                    f"{shard.samples} were expected{blame(shard)}"
                )
        return archive

    def __getstate__(self) -> dict[str, Any]:
        """What a worker needs; it opens files of its own."""
        own = ("_archives", "_miscounted", "_fetcher", "_windows")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a worker."""
        self.__dict__ |= state
        self._start()


def _name(location: str) -> str:
    """The file name in a location; the query of an address may be a signature that is renewed."""
    is_address = is_remote(location) and not location.startswith(COMMAND)
    return (location.partition("?")[0] if is_address else location).rpartition("/")[2]
