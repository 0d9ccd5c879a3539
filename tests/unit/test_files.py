"""Files that are written whole, whatever they are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.files import file_text, write_atomically


@pytest.mark.parametrize("name", ["a" * 255, "ä" * 127, "a"])
def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / name, b"1")
    write_atomically(tmp_path / name, b"22")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b"22"}


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "folder", b"1")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_name_that_is_no_text_becomes_one() -> None:
    assert file_text(Path("scans/a\udcff-ü.png")) == "a\ufffd-ü.png"
