"""A folder of scores in several formats, as a user may have one: songs, piano pieces and a book of ABC tunes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

_STEPS = "CDEFGAB"


def make(root: Path, count: int) -> None:
    """So many scores in MusicXML, every third for piano, and an ABC book of three tunes."""
    for number in range(count):
        folder = root / ("songs" if number % 3 else "piano")
        add(folder, f"piece {number}", music_xml(number, parts=1 if number % 3 else 2).encode())
    tunes = (f"X:{number}\nT:{number}\nM:2/4\nL:1/8\nK:G\n{'GABc|' * number}d2d2|\n" for number in (1, 2, 3))
    (root / "songs" / "book.abc").write_text("\n".join(tunes), encoding="utf-8")


def add(folder: Path, name: str, score: bytes) -> None:
    """A MusicXML file of that name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.musicxml").write_bytes(score)


def music_xml(seed: int, parts: int = 1) -> str:
    """Six measures of quarters and halves, the upper staff in the treble clef, the lower one in the bass clef."""
    rng = np.random.default_rng(seed)
    names = [f"P{part}" for part in range(parts)]
    listed = "".join(f'<score-part id="{name}"><part-name/></score-part>' for name in names)
    braced = '<part-group type="start" number="1"><group-symbol>brace</group-symbol></part-group>' if parts > 1 else ""
    music = "".join(f'<part id="{name}">{_part(rng, number)}</part>' for number, name in enumerate(names))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<score-partwise version="3.1"><part-list>{braced}{listed}</part-list>{music}</score-partwise>'
    )


def _part(rng: np.random.Generator, staff: int) -> str:
    sign, line, octave = (("G", 2, 5), ("F", 4, 3))[staff]
    head = (
        "<attributes><divisions>1</divisions><key><fifths>0</fifths></key><time><beats>2</beats><beat-type>4</beat-type>"
        f"</time><clef><sign>{sign}</sign><line>{line}</line></clef></attributes>"
    )
    measures = ("".join(_notes(rng, octave)) for _ in range(6))
    return "".join(f'<measure number="{n}">{head if n == 1 else ""}{m}</measure>' for n, m in enumerate(measures, 1))


def _notes(rng: np.random.Generator, octave: int) -> list[str]:
    durations = ((1, 1), (2,))[rng.integers(2)]
    return [
        f"<note><pitch><step>{_STEPS[rng.integers(7)]}</step><octave>{octave}</octave></pitch>"
        f"<duration>{duration}</duration><type>{('quarter', 'half')[duration - 1]}</type></note>"
        for duration in durations
    ]
