"""The corpus of a search: what is to be prepared, and for a plan what is there or a sample of what will be."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.manifest import Manifest
from datasets.prepare import PrepareConfig, prepare, request_of
from datasets.progress import Progress
from datasets.shards import PreparedCorpus
from search.config import SearchConfig

FEW, SAMPLE, LARGE_SAMPLE = 32, 128, 1024
"""Staves: of two samples, whose difference has none of the seconds that any preparation takes; and of a larger one,
where no validation staff is among so few."""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A corpus that is not prepared, by a sample of it.

    Attributes:
        staves: that it will have.
        sampled: staves in the sample.
        bytes, seconds: size on the disk, and what preparing it takes.
    """

    staves: int
    sampled: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class PlannedCorpus:
    """What a plan trains on for a moment; `whole` is None if that is the search's own corpus."""

    corpus: PreparedCorpus
    whole: Whole | None

    @property
    def scale(self) -> float:
        """How many times as many staves the search will have."""
        return self.whole.staves / self.corpus.manifest.staves if self.whole else 1.0


def preparation(config: SearchConfig) -> PrepareConfig:
    """What has to be prepared for a search.

    Raises:
        ConfigError: there are no staves of the size of the model's picture.
    """
    data = config.data
    return PrepareConfig(
        data=data.name, staff=config.staff().name, limit=data.limit, seed=data.seed, corpora=config.paths.corpora
    )


@contextmanager
def planned_corpus(config: PrepareConfig) -> Iterator[PlannedCorpus]:
    """The corpus where it is prepared, else a sample of it, which goes again when the block ends.

    Raises:
        CorpusError: it was prepared with other settings, it is damaged, or the source has nothing to give.
    """
    if config.folder.exists():
        yield PlannedCorpus(prepare(config, quiet=True), None)
        return
    with tempfile.TemporaryDirectory(prefix="omr-plan-") as folder:
        few = _sample(config, FEW, Path(folder, "few")).manifest
        sample = _sample(config, SAMPLE, Path(folder, "sample"))
        if not sample.manifest.splits["validation"].staves and sample.manifest.staves == SAMPLE:
            sample = _sample(config, LARGE_SAMPLE, Path(folder, "large"))
        yield PlannedCorpus(sample, whole_of(few, sample.manifest, _staves(config, sample.manifest)))


def whole_of(few: Manifest, sample: Manifest, staves: int) -> Whole:
    """A corpus of so many staves, by a sample and a smaller one."""
    more, longer = sample.staves - few.staves, sample.seconds - few.seconds
    a_staff = longer / more if more and longer > 0 else sample.seconds / sample.staves
    return Whole(
        staves=staves,
        sampled=sample.staves,
        bytes=round(sample.bytes * staves / sample.staves),
        seconds=sample.seconds + a_staff * (staves - sample.staves),
    )


def _sample(config: PrepareConfig, limit: int, corpora: Path) -> PreparedCorpus:
    most = config.settings.limit
    return prepare(replace(config, limit=limit if most is None else min(limit, most), corpora=str(corpora)), quiet=True)


def _staves(config: PrepareConfig, sample: Manifest) -> int:
    """How many the whole will have: as many as are asked for, or as all pieces give if they give what these gave."""
    limit = config.settings.limit
    if sample.staves < SAMPLE and (limit is None or sample.staves < limit):
        return sample.staves  # the source has no more
    tried = sum(counts.works for counts in sample.splits.values()) + sum(sample.rejects.values())
    there = round(
        len(config.source.pieces(request_of(config, Progress(config.data, quiet=True)))) * sample.staves / tried
    )
    return max(sample.staves, there if limit is None else min(limit, there))
