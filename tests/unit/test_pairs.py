"""Pictures beside labels: found at any depth, refused with a reason, one form of label."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from datasets.accidentals import sounding_to_printed
from datasets.errors import CorpusError
from datasets.notation import parse
from datasets.sources import pairs
from datasets.sources.base import Piece, UnusableError
from datasets.sources.listing import files_below, printable, shuffled
from datasets.staff import STAFF_SIZES
from tests.strategies import sounding_staves

SHORT = STAFF_SIZES["short"]


def label_file(folder: Path, data: bytes) -> Path:
    path = folder / "label.semantic"
    path.write_bytes(data)
    return path


def test_files_are_found_at_any_depth_but_hidden_ones_are_not(tmp_path: Path) -> None:
    for path in ("a, b/ä 1.png", "a, b/._ä 1.png", ".git/x.png", "b.png", "a, b/c/d.semantic", ".hidden"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert list(files_below(tmp_path)) == ["b.png", "a, b/ä 1.png", "a, b/c/d.semantic"]


def test_links_to_folders_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").touch()
    root = tmp_path / "root"
    root.mkdir()
    for link, target in (("circle", root), ("one", tmp_path / "elsewhere"), ("two", tmp_path / "elsewhere")):
        (root / link).symlink_to(target)
    assert list(files_below(root)) == ["one/a.png"]


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refusing(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(CorpusError, match=r"/closed: Permission denied"):
        list(files_below(tmp_path))


def test_a_name_that_is_no_utf_8_can_still_be_written() -> None:
    assert printable("staff ä") == "staff ä"
    assert printable("staff \udce4") == "staff \\udce4"


def test_another_seed_gives_another_order() -> None:
    pieces = [Piece(f"{number}", "", "", "") for number in range(30)]
    orders = [list(shuffled(pieces, seed)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2], key=lambda piece: int(piece.name)) == pieces


def test_a_stem_is_listed_once_whatever_belongs_to_it() -> None:
    paths = ["a/1.png", "a/1.semantic", "a/1.mei", "b/2.JPG", "c/3.semantic", "d/4_distorted.jpg", "d/4.png"]
    assert pairs.stems(paths) == {"a/1": 2, "b/2": 1, "c/3": 1, "d/4": 1, "d/4_distorted": 1}
    assert pairs.stems(paths, pictures=("_distorted.jpg", ".png")) == {"a/1": 2, "c/3": 1, "d/4": 2}


def test_of_a_line_that_stands_there_twice_the_one_with_more_files_is_taken() -> None:
    stems = {"a/1": 1, "a/2": 2, "b/1": 2, "b/2": 2, "c/1": 2, "c/3": 1}
    assert pairs.each_once(stems, lambda stem: stem[-1]) == ["a/2", "b/1", "c/3"]


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"", "empty label", ""),
        (b" \r\n\t", "empty label", ""),
        ("clef-G2 note-C4_quarter ä".encode("latin-1"), "label is not UTF-8", "can't decode byte 0xe4"),
        ("clef-G2".encode("utf-16"), "label is not UTF-8", "can't decode byte 0xff"),
        ("clef-G2".encode("utf-16-le"), "label is not UTF-8", "zero bytes"),
        (b"note-C4_quarternote-D4_eighth", "label is not the semantic encoding", "token 1, 'note-C4_quarternote-D4"),
        (b"a page of text", "label is not the semantic encoding", "token 1, 'a'"),
    ],
)
def test_a_label_file_that_is_no_good_has_its_reason(tmp_path: Path, data: bytes, reason: str, detail: str) -> None:
    with pytest.raises(UnusableError) as caught:
        pairs.read_label(label_file(tmp_path, data))
    assert caught.value.reason == reason
    assert detail in caught.value.detail


@pytest.mark.parametrize("joint", [" ", "\t", "+", "\r\n"])
def test_symbols_may_be_apart_by_white_space_or_plus(tmp_path: Path, joint: str) -> None:
    tokens = ["clef-G2", "keySignature-CM", "note-C4_quarter", "barline"]
    data = f"\ufeff{joint.join(tokens)}{joint}".encode()
    assert [str(symbol) for symbol in pairs.read_label(label_file(tmp_path, data))] == tokens


def test_a_natural_in_a_label_of_what_sounds_is_no_encoding_of_it() -> None:
    with pytest.raises(UnusableError, match="label is not the semantic encoding: 'note-CN4_quarter'"):
        pairs.printed(parse("clef-G2 note-CN4_quarter"))


def test_symbols_that_no_vocabulary_has_are_named_and_counted() -> None:
    with pytest.raises(UnusableError) as caught:
        pairs.finished(parse("clef-G2 keySignature-CM timeSignature-7/32 multirest-999 multirest-999"), SHORT)
    assert caught.value.reason == "symbols outside the vocabulary"
    assert caught.value.detail == "timeSignature-7/32 (1 x), multirest-999 (2 x)"


def test_a_label_longer_than_the_size_allows_says_how_long() -> None:
    with pytest.raises(UnusableError, match="more symbols than the size allows: 17 symbols, 14 allowed"):
        pairs.finished(parse("clef-G2 keySignature-CM" + 15 * " barline"), SHORT)


@pytest.mark.parametrize(
    ("label", "finished"),
    [
        ("clef-C1 timeSignature-C rest-half", "clef-C1 keySignature-CM timeSignature-C rest-half"),
        ("clef-C1 keySignature-DM rest-half", "clef-C1 keySignature-DM rest-half"),
        ("clef-C1", "clef-C1 keySignature-CM"),
        ("note-C4_half clef-C1 rest-half", "note-C4_half clef-C1 rest-half"),
        ("note-C4_half|note-E4_half", "note-E4_half|note-C4_half"),
    ],
)
def test_a_staff_opens_with_its_key_signature(label: str, finished: str) -> None:
    assert pairs.finished(parse(label), SHORT) == finished


@given(symbols=sounding_staves())
def test_a_key_signature_without_accidentals_changes_none(symbols: list[pairs.Symbol]) -> None:
    printed = sounding_to_printed(symbols)
    assert sounding_to_printed(pairs.with_key(symbols)) == pairs.with_key(printed)


@pytest.mark.parametrize("ending", [".png", ".jpeg", ".JPG", ".Jpg"])
def test_a_picture_is_found_by_any_of_its_endings(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"1.2, 3{ending}"
    path.touch()
    (tmp_path / f"1.2, 34{ending}").touch()
    assert pairs.file_called(tmp_path / "1.2, 3", pairs.PICTURES, otherwise="none") == path
