"""What stops a conversion, and what does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from datasets import conversion
from datasets.errors import ConfigError, CorpusError
from datasets.prepare import REJECTS_NAME, prepare, summary
from datasets.prepare_config import PrepareConfig
from datasets.sources import EngravedSource, Harvest, Piece, Request
from datasets.staff import STAFF_SIZES
from datasets.workers import Workers
from tests.corpora import photographed

GOOD = "X:1\nT:t\nM:2/4\nL:1/8\nK:G\n{}|\n"
TUPLET = "X:1\nT:t\nM:2/4\nL:1/8\nK:G\n(3ABc|\n"


def pieces_of(*contents: str) -> Callable[..., list[Piece]]:
    pieces = [Piece(f"folk/{n}", f"folk/{n}", f"{n}", text) for n, text in enumerate(contents)]
    return lambda *_: pieces


@pytest.fixture
def one_in_four(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus of sixteen tunes of which four can be used, and a patience of eight."""
    tunes = [GOOD.format("".join(notes)) for notes in ("ABcd", "dcBA", "AAdd", "ddAA")]
    monkeypatch.setattr(
        EngravedSource, "pieces", pieces_of(*(text for tune in tunes for text in (tune, *[TUPLET] * 3)))
    )
    monkeypatch.setattr(conversion, "_PIECES_BEFORE_GIVING_UP", 8)


def config_in(folder: Path, **changes: object) -> PrepareConfig:
    return PrepareConfig(**{"corpora": str(folder), "limit": 64, "workers": 1, **changes})  # type: ignore[arg-type]


@pytest.mark.usefixtures("one_in_four")
def test_too_many_rejects_stop_it_and_what_is_finished_is_kept(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"6 of the first 8 pieces gave no staff.*max_rejects=0.5.*6 x tuplet"):
        prepare(config_in(tmp_path, max_rejects=0.5), quiet=True)
    partial = tmp_path / "engraved-short.partial"
    finished = {path: path.stat().st_mtime_ns for path in partial.glob("*.arrow")}
    assert finished
    corpus = prepare(config_in(tmp_path, max_rejects=0.8), quiet=True)
    assert corpus.manifest.staves == 4
    for path, when in finished.items():
        assert (corpus.path / path.name).stat().st_mtime_ns == when


@pytest.mark.usefixtures("one_in_four")
def test_rejects_are_counted_for_the_terminal(tmp_path: Path) -> None:
    corpus = prepare(config_in(tmp_path), quiet=True)
    assert "rejected: 12, each listed in rejects.jsonl" in summary(corpus)
    assert "    12  tuplet in a measure" in summary(corpus)


def test_a_fault_of_the_reader_costs_one_piece_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A worker imports the source anew, so the fault is in the piece: its content is no text.
    good = pieces_of(GOOD.format("ABcd"))()
    monkeypatch.setattr(EngravedSource, "pieces", lambda *_: [Piece("folk/x", "folk/x", "x", None), *good])  # type: ignore[arg-type]
    corpus = prepare(config_in(tmp_path), quiet=True)
    assert corpus.manifest.rejects == {"the reader failed: TypeError": 1}
    assert json.loads((corpus.path / REJECTS_NAME).read_text())["detail"]


def test_a_piece_is_given_the_time_that_its_source_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []

    class Recorded(Workers[Piece, Harvest]):
        def __init__(self, function: Callable[[Piece], Harvest], count: int, timeout: float) -> None:
            given.append(timeout)
            super().__init__(function, count, timeout)

    monkeypatch.setattr(conversion, "Workers", Recorded)
    monkeypatch.setattr(EngravedSource, "pieces", pieces_of(GOOD.format("ABcd")))
    prepare(config_in(tmp_path), quiet=True)
    source, request = EngravedSource(), Request(size=STAFF_SIZES["short"])
    assert given == [source.seconds_a_piece(request)]
    assert source.seconds_a_piece(replace(request, root=tmp_path)) > given[0]  # a user's score may be a symphony


def test_what_was_begun_with_other_files_is_begun_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    photographed.make(root, 6)
    labels = {path: path.read_bytes() for path in sorted(root.rglob("*.semantic"))}
    for path in labels:
        path.unlink()
    with pytest.raises(CorpusError, match="gave not one staff"):
        prepare(config_in(tmp_path, data="photographed", root=str(root), staff="full"))
    for path, text in labels.items():
        path.write_bytes(text)
    assert prepare(config_in(tmp_path, data="photographed", root=str(root), staff="full")).manifest.staves == 6
    assert "begun with other settings or files and is begun anew" in capsys.readouterr().err


def test_a_chunk_ends_before_it_holds_too_many_staves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "_STAVES_A_CHUNK", 4)
    photographed.make(tmp_path / "root", 9)
    config = config_in(tmp_path, data="photographed", root=str(tmp_path / "root"), staff="full", limit=None)
    corpus = prepare(config, quiet=True)
    assert [shard.rows for shard in corpus.manifest.shards] == [4, 4, 1]
    assert corpus.manifest.pieces == 9 + sum(corpus.manifest.rejects.values())


def test_a_corpus_that_is_replaced_comes_back_if_the_replacing_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographed.make(tmp_path / "root", 6)
    config = config_in(tmp_path, data="photographed", root=str(tmp_path / "root"), staff="full")
    first = prepare(config, quiet=True)
    monkeypatch.setattr(Path, "rename", _killed_in_between(Path.rename))
    with pytest.raises(KeyboardInterrupt):
        prepare(replace(config, seed=1, overwrite=True), quiet=True)
    monkeypatch.undo()
    assert prepare(config, quiet=True).manifest == first.manifest


def _killed_in_between(rename: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
    """Move a corpus aside, and die before another takes its place."""

    def killed(path: Path, target: Path) -> Path:
        if path.name.endswith(".partial"):
            raise KeyboardInterrupt
        return rename(path, target)

    return killed


def test_a_published_split_stands_though_the_music_is_in_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = GOOD.format("ABcd")
    twice = [Piece(f"folk/{split}", f"folk/{split}", split, text, split) for split in ("train", "validation")]
    monkeypatch.setattr(EngravedSource, "pieces", lambda *_: twice)
    corpus = prepare(config_in(tmp_path), quiet=True)
    assert {split: counts.staves for split, counts in corpus.manifest.splits.items()} == {
        "train": 1,
        "validation": 1,
        "test": 0,
    }
    assert corpus.manifest.leakage.labels == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "published"}, "split=published: not an option of data=engraved, but of .*camera_primus"),
        (
            {"data": "cpms", "split": "publshed"},
            r"unknown split 'publshed'; choose .* \(did you mean published",
        ),
        ({"data": "cpms", "staff": "grand"}, "staff=grand: not with data=cpms, which has short, line, full"),
        ({"max_rejects": 1.5}, "`max_rejects` must be between 0 and 1"),
    ],
)
def test_wrong_fields_are_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_in(Path(), **fields)


def test_files_that_are_missing_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"data=cpms is not prepared in .*\.prepare data=cpms staff=full root="):
        prepare(config_in(tmp_path, data="cpms", staff="full"), quiet=True)
    with pytest.raises(CorpusError, match="no such folder, and no archive"):
        prepare(config_in(tmp_path, data="cpms", staff="full", root=str(tmp_path / "nowhere")), quiet=True)


def test_pieces_are_listed_in_the_order_of_the_seed() -> None:
    orders = [
        [piece.name for piece in EngravedSource().pieces(Request(size=STAFF_SIZES["short"], seed=seed))][:20]
        for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]
