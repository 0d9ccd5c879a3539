"""Turn a corpus into shards: `python -m datasets.prepare data=engraved staff=short`.

Pieces are read and drawn in worker processes and written chunk by chunk, in the order of the source, so that the
result is the same for any number of workers and for any number of interruptions. It is made in
`<data>-<staff>.partial/` and takes its name when it is complete.
"""

from __future__ import annotations

import functools
import importlib.metadata
import itertools
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from datasets.chunks import Chunk, Ledger, content_hash, remove_records
from datasets.command_line import check_choice, check_range, main
from datasets.errors import CorpusError
from datasets.files import locked, write_atomically
from datasets.manifest import FORMAT, Manifest, Settings
from datasets.progress import Progress
from datasets.shards import PreparedCorpus
from datasets.sources import SOURCES, SPLITS, Harvest, Piece, Reject
from datasets.staff import STAFF_SIZES, StaffSample
from datasets.workers import Failure, Workers

CORPORA = Path(__file__).parent / "corpora"
REJECTS_NAME = "rejects.jsonl"
_SETTINGS_NAME = "settings.json"
_PACKAGES = ("music21", "numpy", "opencv-python", "pyarrow", "resvg_py", "verovio")
_DRAWING_PACKAGES = ("music21", "resvg_py", "verovio")
_PIECES_A_CHUNK = 256


@dataclass(frozen=True)
class PrepareConfig:
    """The fields of the command line.

    Attributes:
        data, staff: a name in `SOURCES` and one in `STAFF_SIZES`.
        limit: how many staves; None for as many as the source makes of this size.
        seed: of the choice of pieces and of the typography.
        workers: processes; None for one a core.
        corpora: the folder that the corpus's folder is made in.
        overwrite: replace a corpus that was prepared with other settings.
    """

    data: str = "engraved"
    staff: str = "short"
    limit: int | None = None
    seed: int = 0
    workers: int | None = None
    corpora: str = field(default_factory=lambda: str(CORPORA))
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_choice("data", self.data, list(SOURCES))
        check_choice("staff", self.staff, list(STAFF_SIZES))
        check_range("seed", self.seed, 0)
        for name in ("limit", "workers"):
            if (value := getattr(self, name)) is not None:
                check_range(name, value, 1)

    @property
    def folder(self) -> Path:
        """Where the corpus is, or will be."""
        return Path(self.corpora) / f"{self.data}-{self.staff}"

    @property
    def settings(self) -> Settings:
        """What decides the contents."""
        source = SOURCES[self.data]
        limit = self.limit or source.default_limit(STAFF_SIZES[self.staff])
        return Settings(data=self.data, staff=self.staff, seed=self.seed, limit=limit, recipe=source.recipe)


def prepare(config: PrepareConfig, quiet: bool = False) -> PreparedCorpus:
    """Prepare a corpus, or open it where that was done before.

    Args:
        quiet: no progress on the terminal.

    Raises:
        CorpusError: it is there with other settings; or it is damaged; or the source has nothing to give.
        OSError: the disk is full or may not be written. What is finished is kept; the next call goes on.
    """
    folder = config.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    progress = Progress(f"{config.data}, {config.staff} staves", quiet=quiet)
    waits = functools.partial(progress.say, f"another process prepares {folder}; waiting for it")
    with locked(folder.with_name(f".{folder.name}.lock"), on_wait=waits):
        if folder.exists() and not config.overwrite:
            return _open_existing(config)
        partial = _partial_folder(config, progress)
        with closing(progress):
            _build(config, partial, progress)
        _take_place(partial, folder)
    return PreparedCorpus.open(folder)


def _open_existing(config: PrepareConfig) -> PreparedCorpus:
    prepared, wanted = asdict(Manifest.read(config.folder).settings), asdict(config.settings)
    differences = [
        f"{name}={prepared[name]} there, {name}={wanted[name]} asked for"
        for name in wanted
        if prepared[name] != wanted[name]
    ]
    if differences:
        raise CorpusError(
            f"{config.folder} was prepared with other settings ({'; '.join(differences)}); replace it with "
            "overwrite=true, or prepare beside it with corpora=<another folder>"
        )
    return PreparedCorpus.open(config.folder)


def _partial_folder(config: PrepareConfig, progress: Progress) -> Path:
    """The folder that the corpus is made in; what another version or other settings left there is removed."""
    partial = config.folder.with_name(f"{config.folder.name}.partial")
    versions = {name: importlib.metadata.version(name) for name in _DRAWING_PACKAGES}
    wanted = json.dumps({**asdict(config.settings), **versions}, indent=2)
    settings_path = partial / _SETTINGS_NAME
    if partial.exists():
        if settings_path.exists() and settings_path.read_text(encoding="utf-8") == wanted:
            progress.say(f"going on with what is finished in {partial}")
            return partial
        progress.say(f"{partial} was begun with other settings and is begun anew")
        shutil.rmtree(partial)
    partial.mkdir()
    write_atomically(settings_path, wanted.encode())
    return partial


def _build(config: PrepareConfig, partial: Path, progress: Progress) -> None:
    """Fill the partial folder, up to and with the manifest."""
    began = time.monotonic()
    ledger = Ledger()
    chunks = list(_chunks(config, partial, ledger, progress))
    rejects = [reject for chunk in chunks for reject in chunk.rejects]
    reasons = Counter(reject.reason for reject in rejects)
    if not ledger.total:
        most = f"; most often: {reasons.most_common(1)[0][0]}" if reasons else ""
        raise CorpusError(f"data={config.data} gave not one staff{most}")
    lines = (json.dumps(asdict(reject), ensure_ascii=False) for reject in rejects)
    write_atomically(partial / REJECTS_NAME, "".join(f"{line}\n" for line in lines).encode())
    size = STAFF_SIZES[config.staff]
    Manifest(
        format=FORMAT,
        settings=config.settings,
        height=size.height,
        width=size.width,
        content_hash=content_hash(chunks),
        splits=ledger.split_counts(),
        sources=dict(ledger.sources),
        rejects=dict(reasons.most_common()),
        leakage=ledger.leakage(),
        shards=tuple(shard for chunk in chunks for shard in chunk.shards),
        versions={name: importlib.metadata.version(name) for name in _PACKAGES},
        seconds=round(time.monotonic() - began, 1),
    ).write(partial)


def _chunks(config: PrepareConfig, partial: Path, ledger: Ledger, progress: Progress) -> Iterator[Chunk]:
    """All chunks of the corpus, from the disk as far as they are there."""
    limit = config.settings.limit
    progress.start(limit)
    pieces = SOURCES[config.data].pieces(config.seed)
    function = functools.partial(_harvest, config.data, config.staff, config.seed)
    with Workers(function, config.workers or len(os.sched_getaffinity(0))) as workers:
        for number, batch in enumerate(_batches(pieces, _chunk_length(limit))):
            if limit is not None and ledger.total >= limit:
                return
            chunk = Chunk.load(partial, number, ledger)
            if chunk is None:
                staves, rejects = _collect(batch, workers, ledger, limit, progress)
                chunk = Chunk.write(partial, number, staves, rejects, config.seed)
            progress.reach(ledger.total)
            yield chunk


def _collect(
    batch: Sequence[Piece],
    workers: Workers[Piece, Harvest],
    ledger: Ledger,
    limit: int | None,
    progress: Progress,
) -> tuple[dict[str, list[StaffSample]], list[Reject]]:
    """The staves of some pieces, by split, and what was rejected; stops where the corpus is full."""
    staves: dict[str, list[StaffSample]] = {split: [] for split in SPLITS}
    rejects: list[Reject] = []
    for piece, harvest in zip(batch, workers.map(batch), strict=False):
        if isinstance(harvest, Failure):
            rejects.append(Reject(piece.work, harvest.reason))
            continue
        rejects += harvest.rejects
        for staff in harvest.staves:
            if ledger.owner(staff.semantic) not in (None, piece.split):
                rejects.append(Reject(staff.staff_id, "the same music stands in another split"))
                continue
            staves[piece.split].append(staff)
            ledger.add(piece.split, staff.source, staff.work, staff.semantic)
            progress.reach(ledger.total)
            if ledger.total == limit:
                return _without_empty(staves), rejects
    return _without_empty(staves), rejects


def _without_empty(staves: dict[str, list[StaffSample]]) -> dict[str, list[StaffSample]]:
    return {split: rows for split, rows in staves.items() if rows}


def _harvest(data: str, staff: str, seed: int, piece: Piece) -> Harvest:
    """What a worker does."""
    return SOURCES[data].staves(piece, STAFF_SIZES[staff], seed)


def _batches(pieces: Sequence[Piece], length: int) -> Iterator[Sequence[Piece]]:
    iterator = iter(pieces)
    while batch := list(itertools.islice(iterator, length)):
        yield batch


def _chunk_length(limit: int | None) -> int:
    """Pieces a chunk: about eight chunks or more, so that an interruption costs an eighth at most."""
    return _PIECES_A_CHUNK if limit is None else min(_PIECES_A_CHUNK, max(4, limit // 16))


def _take_place(partial: Path, folder: Path) -> None:
    """Give the finished corpus its name; a corpus that it replaces goes first."""
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    remove_records(folder)
    (folder / _SETTINGS_NAME).unlink(missing_ok=True)


def summary(corpus: PreparedCorpus) -> str:
    """What a corpus holds, for the terminal."""
    manifest = corpus.manifest
    splits = ", ".join(f"{split} {counts.staves:,}" for split, counts in manifest.splits.items())
    lines = [
        f"{manifest.staves:,} staves ({splits}) of {manifest.height} x {manifest.width} pixels",
        f"{manifest.bytes / 1e6:.1f} MB in {corpus.path}",
        f"content hash {manifest.content_hash[:16]}, prepared in {manifest.seconds:.0f} s",
        f"validation staves whose label also stands in train: {manifest.leakage.labels}",
        f"rejected: {sum(manifest.rejects.values()):,}, each listed in {REJECTS_NAME}",
        *(f"  {count:6,}  {reason}" for reason, count in manifest.rejects.items()),
    ]
    return "\n".join(lines)


def run(config: PrepareConfig) -> None:
    """Prepare a corpus: read or engrave its staves and write them as shards.

    An interrupted preparation goes on where it stopped; a finished one is only opened.
    """
    print(summary(prepare(config)))


if __name__ == "__main__":
    main(run, PrepareConfig())
