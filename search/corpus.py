"""The corpus of a search: what is to be prepared, and for a plan what is there or a sample of what will be."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.archives import is_archive, unpack
from datasets.errors import ConfigError, CorpusError
from datasets.manifest import Manifest
from datasets.mixture import mix, parts_of
from datasets.prepare import bring_what_is_there, check_files, parts_prepared, prepare, request_of
from datasets.prepare_config import PrepareConfig
from datasets.progress import Progress
from datasets.shards import PreparedCorpus
from search.config import ParameterConfig, PointConfig, SearchConfig, SpaceConfig
from search.space import WEIGHTS

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
        data=data.name,
        staff=config.staff().name,
        seed=data.seed,
        corpora=config.paths.corpora,
        **data.choices(),
    )


def fitted(config: SearchConfig, sources: Collection[str]) -> SearchConfig:
    """The search without the parameters that move nothing but weights of sources that the corpus does not have.

    A space of weights is written for certain corpora, and `space=all` has all such spaces.

    Raises:
        ConfigError: nothing is left to search.
    """
    space = config.space
    kept = {name: one for name, one in space.parameters.items() if not _is_of_others(one, sources)}
    if space.parameters and not kept:
        raise ConfigError(
            f"the space moves nothing but weights of sources that data={config.data.name} does not have: "
            f"{', '.join(space.parameters)}; it has {', '.join(sorted(sources))}"
        )
    points: dict[str, PointConfig] = {}
    for name, point in space.points.items():
        values = {one: value for one, value in point.values.items() if one in kept or one not in space.parameters}
        points |= {name: replace(point, values=values)} if values else {}
    return replace(config, space=SpaceConfig(parameters=kept, points=points))


def _is_of_others(parameter: ParameterConfig, sources: Collection[str]) -> bool:
    weighed = [target.removeprefix(WEIGHTS) for target in parameter.targets if target.startswith(WEIGHTS)]
    return bool(weighed) and len(weighed) == len(parameter.targets) and not set(weighed) & set(sources)


@contextmanager
def planned_corpus(config: PrepareConfig) -> Iterator[PlannedCorpus]:
    """The corpus where it is prepared, else a sample of it, which goes again when the block ends.

    Raises:
        CorpusError: it was prepared with other settings, it is damaged, or the source has nothing to give; or a part
            of a mixture is not prepared.
    """
    bring_what_is_there(config)
    if config.parts:
        with tempfile.TemporaryDirectory(prefix="omr-plan-") as folder:
            mixture = mix(Path(folder, config.folder.name), config.data, _parts(config), parts_of(config.data))
            yield PlannedCorpus(mixture, None)
        return
    if config.folder.exists():
        yield PlannedCorpus(prepare(config, quiet=True), None)
        return
    check_files(config)
    with tempfile.TemporaryDirectory(prefix="omr-plan-") as folder:
        config = _unpacked(config, Path(folder))
        few = _sample(config, FEW, Path(folder, "few")).manifest
        sample = _sample(config, SAMPLE, Path(folder, "sample"))
        if not sample.manifest.splits["validation"].staves and sample.manifest.staves == SAMPLE:
            sample = _sample(config, LARGE_SAMPLE, Path(folder, "large"))
        yield PlannedCorpus(sample, whole_of(few, sample.manifest, _staves(config, sample.manifest)))


def _parts(mixture: PrepareConfig) -> list[PreparedCorpus]:
    missing = [part.data for part in mixture.parts if not part.folder.exists()]
    if missing:
        raise CorpusError(
            f"plan=true measures a mixture on its own staves, and of data={mixture.data} {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not prepared in {mixture.corpora}; prepare it first with "
            f"`{mixture.command()}`"
        )
    return parts_prepared(mixture, quiet=True)


def _unpacked(config: PrepareConfig, folder: Path) -> PrepareConfig:
    """The same, but its archive is unpacked once for all samples."""
    if not is_archive(Path(config.root)):
        return config
    unpack(Path(config.root), folder / "root")
    return replace(config, root=str(folder / "root"))


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
    _, pieces = request_of(config, Progress(config.data, quiet=True))
    there = round(len(pieces) * sample.staves / sample.pieces)
    return max(sample.staves, there if limit is None else min(limit, there))
