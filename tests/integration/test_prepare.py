"""Preparing a corpus: once, in any number of attempts, with the same result."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets import chunks
from datasets.command_line import main
from datasets.errors import ConfigError, CorpusError
from datasets.files import locked
from datasets.manifest import ShardRecord
from datasets.prepare import prepare, run
from datasets.prepare_config import PrepareConfig
from datasets.shards import PreparedCorpus
from datasets.sources import EngravedSource, Piece, Request
from datasets.staff import STAFF_SIZES

LIMIT = 80  # as in the session's corpus, whose hash is compared
REPOSITORY = Path(__file__).parents[2]


def config_in(folder: Path, **changes: object) -> PrepareConfig:
    return PrepareConfig(**{"limit": LIMIT, "corpora": str(folder), **changes})  # type: ignore[arg-type]


def test_a_finished_corpus_is_only_opened(corpora: Path, corpus: PreparedCorpus) -> None:
    began = time.monotonic()
    again = prepare(config_in(corpora), quiet=True)
    assert again.manifest == corpus.manifest
    assert time.monotonic() - began < 1


def test_nothing_but_the_corpus_stays_behind(corpora: Path, corpus: PreparedCorpus) -> None:
    names = {path.name for path in corpus.path.iterdir()}
    shards = {shard.file for shard in corpus.manifest.shards}
    assert names == shards | {"manifest.json", "rejects.jsonl"}
    assert {path.name for path in corpora.iterdir()} == {"engraved-short", ".engraved-short.lock"}


def test_other_settings_are_refused_with_the_way_out(corpora: Path, corpus: PreparedCorpus) -> None:
    del corpus
    with pytest.raises(CorpusError, match=r"limit=80 there, limit=40 asked for.*overwrite=true.*corpora="):
        prepare(config_in(corpora, limit=40), quiet=True)


def test_overwriting_replaces(tmp_path: Path) -> None:
    prepare(config_in(tmp_path, limit=10), quiet=True)
    replaced = prepare(config_in(tmp_path, limit=12, overwrite=True), quiet=True)
    assert replaced.manifest.staves == 12
    assert PreparedCorpus.open(replaced.path).manifest.settings.limit == 12


def test_killed_in_the_middle_it_goes_on_and_the_result_is_the_same(tmp_path: Path, corpus: PreparedCorpus) -> None:
    words = [sys.executable, "-m", "datasets.prepare", f"limit={LIMIT}", f"corpora={tmp_path}"]
    process = subprocess.Popen(words, cwd=REPOSITORY, start_new_session=True)
    partial = tmp_path / "engraved-short.partial"
    wait_until(lambda: (partial / "chunk-0001.json").exists())
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not group_lives(process.pid))
    finished = {path: path.stat().st_mtime_ns for path in partial.glob("*.arrow")}

    resumed = prepare(config_in(tmp_path), quiet=True)

    assert resumed.manifest.content_hash == corpus.manifest.content_hash
    assert resumed.manifest.rejects == corpus.manifest.rejects
    kept = [path for path, when in finished.items() if (resumed.path / path.name).stat().st_mtime_ns == when]
    assert len(kept) >= 2


def test_what_other_settings_left_unfinished_is_begun_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with full_disk(after=2), pytest.raises(OSError, match="No space"):
        prepare(config_in(tmp_path, seed=5), quiet=True)
    corpus = prepare(config_in(tmp_path, limit=8, seed=6))
    assert corpus.manifest.settings.seed == 6
    assert "begun with other settings" in capsys.readouterr().err


def test_a_full_disk_keeps_the_finished_chunks(
    tmp_path: Path, corpus: PreparedCorpus, capsys: pytest.CaptureFixture[str]
) -> None:
    with full_disk(after=1), pytest.raises(SystemExit) as exit_:
        main(run, PrepareConfig(), [f"limit={LIMIT}", f"corpora={tmp_path}"])
    assert exit_.value.code == 2
    assert "No space left on device" in capsys.readouterr().err
    left = {path.stem for path in (tmp_path / "engraved-short.partial").iterdir()}
    assert "chunk-0000" in left
    assert not any(name.endswith("-0001") or name.startswith(".") for name in left)
    assert prepare(config_in(tmp_path), quiet=True).manifest.content_hash == corpus.manifest.content_hash


def test_the_second_of_two_waits_for_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    thread = threading.Thread(target=lambda: prepare(config_in(tmp_path, limit=8)))
    with locked(tmp_path / ".engraved-short.lock", on_wait=lambda: None):
        thread.start()
        time.sleep(0.5)
        assert not (tmp_path / "engraved-short.partial").exists()
    thread.join()
    assert "waiting for it" in capsys.readouterr().err
    assert PreparedCorpus.open(tmp_path / "engraved-short").manifest.staves == 8


def test_a_score_that_crashes_the_reader_costs_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = list(EngravedSource().pieces(Request(size=STAFF_SIZES["short"]))[:6])
    # An open string at the end of a line: Verovio 6.4 reads past it and aborts.
    crashing = Piece("crash", "crash", "crash", 'X:1\nT:t\nM:2/4\nL:1/8\nK:G\nABcd|"Am')
    monkeypatch.setattr(EngravedSource, "pieces", lambda *_, **__: [*good[:3], crashing, *good[3:]])
    corpus = prepare(config_in(tmp_path, limit=1000), quiet=True)
    assert corpus.manifest.rejects["the reader crashed"] >= 1
    works = {staff.work for split in corpus.manifest.splits for staff in corpus.staves(split)}
    assert len(works) >= 4
    assert "crash" not in works


def test_a_source_without_one_staff_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuplets = Piece("t", "t", "t", "X:1\nT:t\nM:2/4\nL:1/8\nK:G\n(3ABc|\n")
    monkeypatch.setattr(EngravedSource, "pieces", lambda *_, **__: [tuplets])
    with pytest.raises(CorpusError, match="gave not one staff; most often: tuplet in a measure"):
        prepare(config_in(tmp_path), quiet=True)
    assert not (tmp_path / "engraved-short").exists()


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"data": "engravd"}, r"unknown data 'engravd'; choose .*did you mean engraved"),
        ({"staff": "tiny"}, "unknown staff 'tiny'; choose auto, short, line, full"),
        ({"limit": 0}, "`limit` must be at least 1, but got 0"),
        ({"workers": 0}, "`workers` must be at least 1"),
    ],
)
def test_wrong_fields_are_named(field: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_in(Path(), **field)


@contextlib.contextmanager
def full_disk(after: int) -> Iterator[None]:
    """Let so many chunks be finished, then let every shard find the disk full."""
    write_shard, begun = chunks.write_shard, set()

    def write(path: Path, *arguments: Any) -> ShardRecord:
        begun.add(path.stem.rpartition("-")[2])
        record = write_shard(path, *arguments)
        if len(begun) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return record

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(chunks, "write_shard", write)
        yield


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def group_lives(group: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False
