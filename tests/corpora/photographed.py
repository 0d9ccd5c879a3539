"""Photographs of staves in folders of a piece each, as the training log kept its benchmark."""

from __future__ import annotations

from pathlib import Path

from tests.corpora.lines import line

STAVES_OF_A_PIECE = 4


def make(root: Path, count: int) -> None:
    """So many photographs, the label of each with + between its symbols, and that of one that was never taken."""
    for number in range(count):
        drawn = line(number)
        name = f"staff-{number % STAVES_OF_A_PIECE}"
        add(root, name, drawn.jpeg(), "+".join(drawn.sounding.split()).encode(), f"piece {number // STAVES_OF_A_PIECE}")
    add(root, "staff-9", None, line(0).sounding.encode(), "piece 0")


def add(root: Path, name: str, picture: bytes | None, label: bytes | None, piece: str = "more") -> None:
    """A staff of that name in the folder of a piece."""
    folder = root / piece
    folder.mkdir(parents=True, exist_ok=True)
    if picture is not None:
        (folder / f"{name}.jpg").write_bytes(picture)
    if label is not None:
        (folder / f"{name}.semantic").write_bytes(label)
