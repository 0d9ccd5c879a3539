"""What a prepared corpus says about itself: `manifest.json`."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets.addresses import place_of
from datasets.errors import CorpusError
from datasets.files import write_atomically

CORPORA = Path(__file__).parent / "corpora"
FILE_NAME = "manifest.json"
FORMAT = 2
"""Raised by one whenever a reader of the old format could not read the new one."""


def again(folder: Path) -> str:
    """How a corpus is prepared again, as a command to paste.

    Args:
        folder: that it is in, on this machine.
    """
    data, _, staff = folder.name.rpartition("-")
    place = place_of(folder.parent)
    where = "" if place == CORPORA else f" corpora={place}"
    return f"make it again with `python -m datasets.prepare data={data} staff={staff}{where} overwrite=true`"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides the contents of a corpus: the same settings give the same content hash.

    Attributes:
        data, staff: names of the source and of the staff size.
        seed: of the choice of pieces and of the typography.
        limit: how many staves were asked for, None for all.
        recipe: version of the source's way of making staves.
        root: the user's files, as an absolute path; None where the source has its own.
        options: what was chosen of the source's options.
    """

    data: str
    staff: str
    seed: int
    limit: int | None
    recipe: int
    root: str | None
    options: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class SplitCounts:
    staves: int
    works: int


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """Validation and test staves whose label also stands in train.

    Attributes:
        labels: with the whole label.
        music: with the label after clef, key and meter.
    """

    labels: int
    music: int


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """One Arrow file: rows of one split, in the order of the corpus.

    Attributes:
        file: relative to the corpus's folder.
    """

    file: str
    split: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class PartRecord:
    """One corpus of a mixture.

    Attributes:
        name: of its source.
        folder: relative to the mixture's.
        content_hash: what it held when the mixture was made.
        weight: how many of its staves a pass of training takes, 1 for all of them.
    """

    name: str
    folder: str
    content_hash: str
    weight: float


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """
    Attributes:
        height, width: of the images as `Staves.image` gives them.
        content_hash: over all rows with their pixels; knows nothing of Arrow, PNG, time or place.
        rejects: how many pieces or staves were rejected, by reason (each one in `rejects.jsonl`).
        pieces: how many were tried.
        remarks: what the source says of this choice of files and options.
        versions: of the packages that drew the images.
        seconds: that the preparation took (its last part, if it was interrupted).
        parts: the corpora of a mixture, whose shards these are.
        weights: of a mixture's sources in training; 1 for one that is not named.
    """

    format: int
    settings: Settings
    height: int
    width: int
    content_hash: str
    splits: dict[str, SplitCounts]
    sources: dict[str, int]
    rejects: dict[str, int]
    leakage: Leakage
    pieces: int
    remarks: tuple[str, ...]
    shards: tuple[ShardRecord, ...]
    versions: dict[str, str]
    seconds: float
    parts: tuple[PartRecord, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)

    @property
    def staves(self) -> int:
        return sum(counts.staves for counts in self.splits.values())

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)

    def write(self, folder: Path) -> None:
        text = json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"
        write_atomically(folder / FILE_NAME, text.encode())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read a corpus's manifest.

        Raises:
            CorpusError: it is missing, unreadable, or of another format.
        """
        path = folder / FILE_NAME
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CorpusError(
                f"{folder}: no prepared corpus here; `python -m datasets.prepare data=... staff=...` makes one"
            ) from None
        except ValueError:
            raise CorpusError(f"{path}: not readable; {again(folder)}") from None
        if fields.get("format") != FORMAT:
            raise CorpusError(
                f"{path}: the corpus has format {fields.get('format')}, this version reads format {FORMAT}; "
                f"{again(folder)}"
            )
        try:
            return cls._from_fields(fields)
        except (KeyError, TypeError) as error:
            raise CorpusError(f"{path}: damaged ({error}); {again(folder)}") from None

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Manifest:
        return cls(
            **{
                **fields,
                "settings": Settings(**fields["settings"]),
                "splits": {split: SplitCounts(**counts) for split, counts in fields["splits"].items()},
                "leakage": Leakage(**fields["leakage"]),
                "remarks": tuple(fields["remarks"]),
                "shards": tuple(ShardRecord(**shard) for shard in fields["shards"]),
                "parts": tuple(PartRecord(**part) for part in fields.get("parts", [])),
            }
        )
