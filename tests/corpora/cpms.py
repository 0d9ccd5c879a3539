"""A small CPMS: lines in both folders, each work in two photographs, and a whole page that has no label."""

from __future__ import annotations

from pathlib import Path

from tests.corpora.lines import line


def make(root: Path, count: int) -> None:
    """So many lines, a third of them in the test folder, and one more training line of a work that is tested."""
    for number in range(count):
        drawn = line(number)
        if number % 3:
            work = f"{'9' if number % 2 else ''}{1_000_000 + number // 2}"
            add(root, f"{work}-{number}", drawn.jpeg(), drawn.printed.encode())
        else:
            _write(root / "semantic" / "test" / f"{2_000_000 + number}-1", ".jpeg", drawn.jpeg(), drawn.sounding)
    add(root, "92000000-2", line(count).jpeg(), line(count).printed.encode())
    (root / "data").mkdir()
    (root / "data" / "page.jpg").write_bytes(line(count + 1).jpeg())


def add(root: Path, name: str, picture: bytes | None, label: bytes | None) -> None:
    """A training line of that name."""
    _write(root / "semantic" / "training" / name, ".jpg", picture, label)


def _write(folder: Path, ending: str, picture: bytes | None, label: bytes | str | None) -> None:
    folder.mkdir(parents=True)
    if picture is not None:
        (folder / f"{folder.name}{ending}").write_bytes(picture)
    if label is not None:
        data = label.encode() if isinstance(label, str) else label
        (folder / f"{folder.name}.semantic").write_bytes(data)
