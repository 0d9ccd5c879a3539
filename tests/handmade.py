"""Prepared corpora written by hand, without a source: for tests of what reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from datasets.chunks import Chunk, Ledger, content_hash, remove_records
from datasets.manifest import FORMAT, Manifest, Settings
from datasets.pictures.negatives import negative
from datasets.shards import PreparedCorpus
from datasets.staff import STAFF_SIZES, StaffSample

ROOT = "/where/the/files/were"


def write_corpus(
    corpora: Path,
    data: str,
    staves: Mapping[str, Iterable[StaffSample]],
    staff: str = "short",
) -> PreparedCorpus:
    """Write `corpora/<data>-<staff>` as if it had been prepared from the user's files; the staves are by split."""
    folder = corpora / f"{data}-{staff}"
    folder.mkdir(parents=True)
    ledger, rows = Ledger(), {split: list(samples) for split, samples in staves.items()}
    for split, samples in rows.items():
        for one in samples:
            ledger.add(split, one.source, one.work, one.semantic)
    chunk = Chunk.write(folder, 0, rows, [], pieces=ledger.total, barren=0, seed=0)
    remove_records(folder)
    size = STAFF_SIZES[staff]
    Manifest(
        format=FORMAT,
        settings=Settings(data=data, staff=staff, seed=0, limit=None, recipe=1, root=ROOT, options={}),
        height=size.height,
        width=size.width,
        content_hash=content_hash([chunk]),
        splits=ledger.split_counts(),
        sources=dict(ledger.sources),
        rejects={},
        leakage=ledger.leakage(),
        remarks=(),
        pieces=ledger.total,
        shards=chunk.shards,
        versions={},
        seconds=0.0,
    ).write(folder)
    return PreparedCorpus.open(folder)


def of_source(corpus: PreparedCorpus, source: str, train: slice, validation: slice) -> dict[str, list[StaffSample]]:
    """Some staves of a corpus by split, as if they came from another source, and called 1, 2, 3 there."""
    chosen = {"train": corpus.staves("train")[train], "validation": corpus.staves("validation")[validation]}
    return {
        split: [
            replace(one, source=source, staff_id=f"{split} {number}", work=f"{split} work {number}")
            for number, one in enumerate(staves, start=1)
        ]
        for split, staves in chosen.items()
    }


def strips(train: int, validation: int, staff: str = "short") -> dict[str, list[StaffSample]]:
    """Strips without music by split, as `diw` has them."""
    size, counts = STAFF_SIZES[staff], {"train": train, "validation": validation}
    return {
        split: [
            StaffSample(
                staff_id=f"{split} {number}",
                work=f"{split} {number}",
                source="diw",
                image=negative(size.height, size.width, seed=number),
                semantic="",
            )
            for number in range(count)
        ]
        for split, count in counts.items()
    }
