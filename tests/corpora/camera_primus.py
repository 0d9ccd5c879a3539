"""A small Camera-PrIMuS: incipits of RISM sources, with every file, and the published lists."""

from __future__ import annotations

from pathlib import Path

from tests.corpora.lines import line


def make(root: Path, count: int, distorted: bool = True) -> None:
    """So many incipits, two of each source; the last of them is in neither list."""
    names = [f"{51_650 + number // 2:09}-1_{1 + number % 2}_1" for number in range(count)]
    for number, name in enumerate(names):
        drawn = line(number)
        add(root, name, drawn.jpeg(), "\t".join([*drawn.sounding.split(), ""]).encode())
        folder = root / "Corpus" / name
        (folder / f"{name}.png").write_bytes(drawn.png())
        (folder / f"{name}.agnostic").write_text("clef.G-L2")
        (folder / f"{name}.mei").write_text(drawn.mei)
        if not distorted:
            (folder / f"{name}_distorted.jpg").unlink()
    third = count // 3
    (root / "test.txt").write_text("\n".join(names[:third]))
    (root / "train.txt").write_text("".join(f"Corpus/{name}/{name}.png\r\n" for name in names[third:-1]))


def add(root: Path, name: str, picture: bytes | None, label: bytes | None) -> None:
    """An incipit of that name with a distorted picture and a label."""
    folder = root / "Corpus" / name
    folder.mkdir(parents=True)
    if picture is not None:
        (folder / f"{name}_distorted.jpg").write_bytes(picture)
    if label is not None:
        (folder / f"{name}.semantic").write_bytes(label)
