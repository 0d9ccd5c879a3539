"""Turn a corpus into shards: `python -m datasets.prepare data=engraved staff=short`.

A corpus of the user's own files takes `root=`, a folder or the original archive:
`python -m datasets.prepare data=cpms root=CPMS.zip`. It is made in `<data>-<staff>.partial/` and takes its
name when it is complete; killed at any moment, the same command goes on with it.

A mixture (`datasets.mixture`) is made of its parts: those that are prepared are taken as they are, the others are
prepared first, from `root=`, a folder that holds theirs by the corpora's names.

With `corpora=s3://bucket/corpora` a corpus that is there is brought to this machine, and one that is made is published.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from datasets.archives import SUFFIXES, is_archive, unpack
from datasets.chunks import Ledger, content_hash, remove_records
from datasets.command_line import main
from datasets.conversion import Conversion
from datasets.corpus_storage import REJECTS_NAME, bring, publish
from datasets.errors import CorpusError
from datasets.files import locked, move_aside, restore_folder, write_atomically
from datasets.manifest import FORMAT, Manifest
from datasets.mixture import mix, parts_of
from datasets.prepare_config import PrepareConfig
from datasets.progress import Progress
from datasets.shards import PreparedCorpus
from datasets.sources import Piece, Request
from datasets.sources.listing import files_below

_SETTINGS_NAME = "settings.json"
_PACKAGES = ("music21", "numpy", "opencv-python", "pillow", "pyarrow", "resvg_py", "verovio")
_DRAWING_PACKAGES = ("music21", "resvg_py", "verovio")


def prepare(config: PrepareConfig, quiet: bool = False) -> PreparedCorpus:
    """Prepare a corpus, or open it where that was done before.

    Args:
        quiet: no progress on the terminal.

    Raises:
        CorpusError: it is there with other settings; or it is damaged; or the source has nothing to give, or gives
            too many rejects; or the root is not there, or is an archive that cannot be unpacked; or parts of a
            mixture are not prepared, and their files are not named.
        StorageError: the address cannot be read or written.
        OSError: the disk is full or may not be written. What is finished is kept; the next call goes on.
    """
    if config.parts or not config.overwrite:  # of a mixture the parts are brought, which are never made anew
        bring_what_is_there(config)
    corpus = _prepared_here(config, quiet)
    for one in (*config.parts, config):
        if one.address is not None:
            publish(one.folder, one.address)
    return corpus


def bring_what_is_there(config: PrepareConfig) -> None:
    """Bring a corpus, or the parts of a mixture, to this machine, as far as they are published at an address."""
    for one in config.parts or (config,):
        if one.address is not None:
            bring(one.address)


def _prepared_here(config: PrepareConfig, quiet: bool) -> PreparedCorpus:
    if config.parts:
        return mix(config.folder, config.data, parts_prepared(config, quiet), parts_of(config.data))
    folder = config.folder
    if folder.parent.exists() and not folder.parent.is_dir():
        raise CorpusError(f"corpora={folder.parent} is a file, not a folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    progress = Progress(f"{config.data}, {config.size.name} staves", quiet=quiet)
    waits = functools.partial(progress.say, f"another process prepares {folder}; waiting for it")
    with locked(folder.with_name(f".{folder.name}.lock"), on_wait=waits):
        restore_folder(folder)
        if folder.exists() and not config.overwrite:
            return _open_existing(config)
        request, pieces = request_of(config, progress)
        partial = _partial_folder(config, pieces, request.root, progress)
        with closing(progress):
            _build(config, request, pieces, partial, progress)
        _take_place(partial, folder)
        shutil.rmtree(_unpacked(config), ignore_errors=True)
    return PreparedCorpus.open(folder)


def parts_prepared(config: PrepareConfig, quiet: bool = False) -> list[PreparedCorpus]:
    """The corpora of a mixture; those that are there are opened, the others prepared.

    Raises:
        CorpusError: as `prepare`.
    """
    missing = [part for part in config.parts if _lacks_files(part)]
    if missing:
        lines = [
            f"data={config.data}: some of its corpora are not prepared in {config.corpora}; make them of your files:",
            *(f"  {part.command()}" for part in missing),
            f"or say root=<a folder that holds them by the names {', '.join(part.data for part in missing)}>",
        ]
        raise CorpusError("\n".join(lines))
    return [
        _open_existing(part, as_it_is=True) if part.folder.exists() else prepare(part, quiet) for part in config.parts
    ]


def check_files(config: PrepareConfig) -> None:
    """Make sure that the corpus is there, or that files are named that it can be made of.

    Raises:
        CorpusError: neither; the message has the command to run.
    """
    if _lacks_files(config):
        raise CorpusError(
            f"data={config.data} is not prepared in {config.folder}, and it has no files of its own: name yours with "
            f"`{config.command()}`"
        )


def _lacks_files(config: PrepareConfig) -> bool:
    return config.source.needs_root and not (config.root or config.folder.exists())


def _open_existing(config: PrepareConfig, as_it_is: bool = False) -> PreparedCorpus:
    """The corpus that is there, unless it was made otherwise than is asked for now.

    Made of files, it can be opened without saying again of which, how, and how many.

    Args:
        as_it_is: with any seed, and however many staves it has.
    """
    prepared, wanted = Manifest.read(config.folder).settings, config.settings
    there, asked = asdict(prepared), asdict(wanted)
    if as_it_is or (prepared.root and not config.root):
        asked["root"] = wanted.root or prepared.root
        asked["options"] = prepared.options | config.options
        asked["limit"] = config.limit or prepared.limit
        asked["seed"] = config.seed or prepared.seed
    if as_it_is:
        asked |= {"seed": prepared.seed, "limit": prepared.limit}
    differences = [
        f"{name}={there[name]} there, {name}={asked[name]} asked for" for name in asked if asked[name] != there[name]
    ]
    if differences:
        raise CorpusError(
            f"{config.folder} was prepared with other settings ({'; '.join(differences)}); replace it with "
            f"`{config.command()} overwrite=true`, or keep it and name another folder: corpora=, in a "
            "search paths.corpora="
        )
    return PreparedCorpus.open(config.folder)


def request_of(config: PrepareConfig, progress: Progress) -> tuple[Request, Sequence[Piece]]:
    """What a configuration asks of its source, and the pieces there are; an archive is unpacked for it.

    Raises:
        CorpusError: as `prepare`.
    """
    check_files(config)
    request = Request(
        size=config.size,
        seed=config.seed,
        root=_root(config, progress) if config.root else None,
        options=config.settings.options,
    )
    try:
        return request, config.source.pieces(request)
    except CorpusError:
        shutil.rmtree(_unpacked(config), ignore_errors=True)
        raise


def _root(config: PrepareConfig, progress: Progress) -> Path:
    """The folder with the user's files; an archive is unpacked first, beside the corpus, under its own name."""
    root = Path(config.root)
    if is_archive(root):
        progress.say(f"unpacking {root}")
        target = _unpacked(config) / root.name.partition(".")[0]
        unpack(root, target)
        return target
    if not root.is_dir():
        raise CorpusError(f"root={root}: no such folder, and no archive ({', '.join(SUFFIXES)})")
    return root.resolve()


def _unpacked(config: PrepareConfig) -> Path:
    return config.folder.with_name(f".{config.folder.name}.unpacked")


def _partial_folder(config: PrepareConfig, pieces: Sequence[Piece], root: Path | None, progress: Progress) -> Path:
    """The folder that the corpus is made in; what another version, other settings or other files left is removed."""
    partial = config.folder.with_name(f"{config.folder.name}.partial")
    versions = {name: importlib.metadata.version(name) for name in _DRAWING_PACKAGES}
    wanted = json.dumps({**asdict(config.settings), **versions, "files": _fingerprint(pieces, root)}, indent=2)
    settings_path = partial / _SETTINGS_NAME
    if partial.exists():
        if settings_path.exists() and settings_path.read_text(encoding="utf-8") == wanted:
            progress.say(f"going on with what is finished in {partial}")
            return partial
        progress.say(f"{partial} was begun with other settings or files and is begun anew")
        shutil.rmtree(partial)
    partial.mkdir()
    write_atomically(settings_path, wanted.encode())
    return partial


def _fingerprint(pieces: Sequence[Piece], root: Path | None) -> str:
    """A hash over the pieces, and over name, size and time of the files: what is finished holds for these alone."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(repr(piece).encode())
    if root is not None:
        for path in files_below(root):
            facts = (root / path).lstat()
            digest.update(repr((path, facts.st_size, facts.st_mtime_ns)).encode())
    return digest.hexdigest()


def _build(config: PrepareConfig, request: Request, pieces: Sequence[Piece], partial: Path, progress: Progress) -> None:
    """Fill the partial folder, up to and with the manifest."""
    began = time.monotonic()
    remarks = tuple(config.source.remarks(request))
    for remark in remarks:
        progress.say(remark)
    ledger = Ledger()
    conversion = Conversion(
        data=config.data,
        request=request,
        limit=config.settings.limit,
        max_rejects=config.max_rejects,
        workers=config.workers,
        folder=partial,
    )
    chunks = list(conversion.chunks(pieces, ledger, progress))
    rejects = [reject for chunk in chunks for reject in chunk.rejects]
    reasons = Counter(reject.reason for reject in rejects)
    if not ledger.total:
        most = f"; most often: {reasons.most_common(1)[0][0]}" if reasons else ""
        raise CorpusError(f"data={config.data} gave not one staff{most}")
    lines = (json.dumps(asdict(reject), ensure_ascii=False) for reject in rejects)
    write_atomically(partial / REJECTS_NAME, "".join(f"{line}\n" for line in lines).encode())
    Manifest(
        format=FORMAT,
        settings=config.settings,
        height=request.size.height,
        width=request.size.width,
        content_hash=content_hash(chunks),
        splits=ledger.split_counts(),
        sources=dict(ledger.sources),
        rejects=dict(reasons.most_common()),
        leakage=ledger.leakage(),
        pieces=sum(chunk.pieces for chunk in chunks),
        remarks=remarks,
        shards=tuple(shard for chunk in chunks for shard in chunk.shards),
        versions={name: importlib.metadata.version(name) for name in _PACKAGES},
        seconds=round(time.monotonic() - began, 1),
    ).write(partial)


def _take_place(partial: Path, folder: Path) -> None:
    """Give the finished corpus its name; killed in between, what it replaces comes back (`restore_folder`)."""
    move_aside(folder)
    partial.rename(folder)
    remove_records(folder)
    (folder / _SETTINGS_NAME).unlink(missing_ok=True)
    restore_folder(folder)


def summary(corpus: PreparedCorpus) -> str:
    """What a corpus holds, for the terminal."""
    manifest = corpus.manifest
    splits = ", ".join(f"{split} {counts.staves:,}" for split, counts in manifest.splits.items())
    lines = [
        *manifest.remarks,
        f"{manifest.staves:,} staves ({splits}) of {manifest.height} x {manifest.width} pixels",
        f"{manifest.bytes / 1e6:.1f} MB in {corpus.path}",
        f"content hash {manifest.content_hash[:16]}, prepared in {manifest.seconds:.0f} s",
        f"validation and test staves whose label also stands in train: {manifest.leakage.labels}",
        *(_parts_text(corpus) if manifest.parts else _rejects_text(manifest)),
    ]
    return "\n".join(lines)


def _rejects_text(manifest: Manifest) -> list[str]:
    return [
        f"rejected: {sum(manifest.rejects.values()):,}, each listed in {REJECTS_NAME}",
        *(f"  {count:6,}  {reason}" for reason, count in manifest.rejects.items()),
    ]


def _parts_text(mixture: PreparedCorpus) -> list[str]:
    return ["made of", *(f"  {part.name}, weight {part.weight:g}" for part in mixture.manifest.parts)]


def run(config: PrepareConfig) -> None:
    """Prepare a corpus: read or engrave its staves and write them as shards.

    python -m datasets.prepare data=engraved staff=short
    python -m datasets.prepare data=cpms root=CPMS.zip
    python -m datasets.prepare data=cpms+grandstaff+diw

    An interrupted preparation goes on where it stopped; a finished one is only opened. What `data`, `staff` and an
    option may be is said where a word is wrong; the README has a table of them.
    """
    print(summary(prepare(config)))


if __name__ == "__main__":
    main(run, PrepareConfig())
