"""Several corpora as one: a folder with nothing but a manifest, whose shards are those of its parts.

`data=log_run_63` is a mixture by name, `data=cpms+grandstaff` one of the moment. No staff is copied, so a mixture is
made in an instant, and made anew when a part was. How often each corpus is drawn is decided in training
(`omr_model.mix`); the manifest hands on the weights that the mixture gives them.

In a mixture the names of works and staves begin with their corpus's, so that two corpora may have a piece called 1.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from datasets.archives import SUFFIXES
from datasets.chunks import Ledger
from datasets.command_line import check_choice
from datasets.errors import ConfigError, CorpusError
from datasets.files import locked
from datasets.manifest import FORMAT, Manifest, PartRecord, Settings, ShardRecord
from datasets.pixels import delete_stale
from datasets.shards import PreparedCorpus
from datasets.sources import SOURCES

SEPARATOR = "+"

MIXTURES: Mapping[str, Mapping[str, float]] = {
    # Runs 3 to 57 of the training log. It drew every staff once a pass: a large corpus outweighs a small one, and none
    # is begun anew before the others are used up.
    "log_run_3": {"camera_primus": 1.0, "cpms": 1.0, "grandstaff": 1.0},
    # Runs 63 to 77. The log drew one strip of each of 5,000 documents; our corpus has two.
    "log_run_63": {"camera_primus": 1.0, "cpms": 1.0, "diw": 0.5, "grandstaff": 1.0},
}
"""The parts of each mixture with their weights: how many of its staves a pass of training takes, 1 for all of them."""

_RECIPE = 1


def parts_of(data: str) -> dict[str, float]:
    """The corpora of a mixture with their weights, sorted by name; empty for a name without `+` that is no mixture's.

    Raises:
        ConfigError: a corpus that does not exist, or that is named twice.
    """
    if data in MIXTURES:
        return dict(sorted(MIXTURES[data].items()))
    names = data.split(SEPARATOR)
    if len(names) == 1:
        return {}
    for name in names:
        check_choice("data", name, list(SOURCES))
        if names.count(name) > 1:
            raise ConfigError(f"data={data}: {name} is named twice")
    return dict.fromkeys(sorted(names), 1.0)


def data_names() -> list[str]:
    """What `data=` may be, beside mixtures of the moment."""
    return [*SOURCES, *MIXTURES]


def root_of(name: str, folder: Path) -> str:
    """A corpus's files in a folder that holds those of several: a folder or archive of its name; "" for none.

    Capitals do not matter: the documents are published as `DIW`.
    """
    there = {path.name.lower(): path for path in sorted(folder.iterdir())} if folder.is_dir() else {}
    candidates = (f"{name}{suffix}" for suffix in ("", *SUFFIXES))
    return next((str(there[candidate]) for candidate in candidates if candidate in there), "")


def mix(folder: Path, data: str, corpora: Sequence[PreparedCorpus], weights: Mapping[str, float]) -> PreparedCorpus:
    """Make the mixture of some corpora, or open it where it is made.

    Args:
        folder: the mixture's own; it is found again as long as the parts keep their place relative to it.
        data: the mixture's name.
        corpora: its parts, which were opened and found whole.
        weights: by the part's name.

    Raises:
        OSError: the disk is full or may not be written.
    """
    parts = tuple(
        PartRecord(
            name=corpus.manifest.settings.data,
            folder=Path(os.path.relpath(corpus.path.resolve(), folder.resolve())).as_posix(),
            content_hash=corpus.manifest.content_hash,
            weight=weights[corpus.manifest.settings.data],
        )
        for corpus in corpora
    )
    shards = tuple(
        replace(shard, file=f"{part.folder}/{shard.file}")
        for part, corpus in zip(parts, corpora, strict=True)
        for shard in corpus.manifest.shards
    )
    if _made_of(folder) != (parts, shards):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f".{folder.name}.lock"), on_wait=lambda: None):
            if _made_of(folder) != (parts, shards):  # nobody else has made it in the meantime
                _manifest(data, parts, shards, corpora).write(folder)
                delete_stale(PreparedCorpus.open(folder, verify=False))
    return PreparedCorpus.open(folder, verify=False)


def _made_of(folder: Path) -> tuple[tuple[PartRecord, ...], tuple[ShardRecord, ...]]:
    """What the mixture in a folder was made of; nothing where there is none, or one of another version.

    The shards too: a part that is made again has the same contents, but perhaps in other bytes.
    """
    try:
        manifest = Manifest.read(folder)
    except CorpusError:
        return (), ()
    return manifest.parts, manifest.shards


def _manifest(
    data: str, parts: tuple[PartRecord, ...], shards: tuple[ShardRecord, ...], corpora: Sequence[PreparedCorpus]
) -> Manifest:
    began = time.monotonic()
    first = corpora[0].manifest
    ledger = Ledger()
    for part, corpus in zip(parts, corpora, strict=True):
        for shard in corpus.manifest.shards:
            ledger.add_shard(corpus.path, shard, works_begin=f"{part.name}/")
    return Manifest(
        format=FORMAT,
        settings=Settings(
            data=data, staff=first.settings.staff, seed=0, limit=None, recipe=_RECIPE, root=None, options={}
        ),
        height=first.height,
        width=first.width,
        content_hash=_content_hash(parts),
        splits=ledger.split_counts(),
        sources=dict(ledger.sources),
        rejects={},
        leakage=ledger.leakage(),
        pieces=sum(one.manifest.pieces for one in corpora),
        remarks=tuple(
            f"{part.name}: {line}" for part, one in zip(parts, corpora, strict=True) for line in one.manifest.remarks
        ),
        shards=shards,
        versions={},
        seconds=round(time.monotonic() - began, 1),
        parts=parts,
        weights={
            source: part.weight for part, one in zip(parts, corpora, strict=True) for source in one.manifest.sources
        },
    )


def _content_hash(parts: Sequence[PartRecord]) -> str:
    """Over what the parts hold and how they are weighed, wherever they are."""
    words = [[part.name, part.content_hash, part.weight] for part in parts]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()
