"""Pictures beside labels: what Camera-PrIMuS, CPMS and photographed staves have in common.

A label comes out in one form, whatever its corpus writes: printed accidentals, notes of a chord highest first, and a
key signature after the clef it opens with, `keySignature-CM` where none is printed. So one image has one encoding when
corpora are mixed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from datasets.accidentals import sounding_to_printed
from datasets.errors import NotationError
from datasets.images import Gray, PictureError, decode_picture, fit
from datasets.notation import Symbol, format_semantic, parse
from datasets.sources.base import REASON_TOO_LONG, Piece, UnusableError
from datasets.staff import StaffSample, StaffSize
from datasets.vocabulary import vocabulary

PICTURES = (".png", ".jpg", ".jpeg")
LABEL = ".semantic"

NO_PICTURE_FILE = "no picture beside the label"
NO_LABEL_FILE = "no label beside the picture"
NO_ENCODING = "label is not the semantic encoding"
UNKNOWN_SYMBOLS = "symbols outside the vocabulary"

_WITHOUT_SIGNATURE = Symbol("keySignature-CM")


def stems(paths: Iterable[str], pictures: Sequence[str] = PICTURES) -> dict[str, int]:
    """What pictures and labels are called without their endings, sorted, and how many files are called so.

    Args:
        pictures: the endings of pictures; the longest first where one is the end of another.
    """
    found: Counter[str] = Counter()
    for path in paths:
        ending = next((ending for ending in (*pictures, LABEL) if path.lower().endswith(ending)), None)
        if ending is not None:
            found[path.removesuffix(path[-len(ending) :])] += 1
    return dict(sorted(found.items()))


def each_once(stems: Mapping[str, int], line: Callable[[str], str]) -> list[str]:
    """The stems, sorted, but one a line: of several the one with the most files, and the first of those.

    A corpus stands below the root twice where its archive was unpacked twice, or lies there in two editions.

    Args:
        stems: with their number of files.
        line: what a stem is called wherever its corpus stands.
    """
    best: dict[str, str] = {}
    for stem in sorted(stems, key=lambda stem: (-stems[stem], stem)):
        best.setdefault(line(stem), stem)
    return sorted(best.values())


def read(stem: Path) -> tuple[Path, list[Symbol]]:
    """The picture that is called so, and the symbols of the label beside it as they are written there.

    Raises:
        UnusableError: one of them is missing, or as `read_label`.
    """
    picture = file_called(stem, PICTURES, otherwise=NO_PICTURE_FILE)
    return picture, read_label(file_called(stem, (LABEL,), otherwise=NO_LABEL_FILE))


def file_called(stem: Path, endings: Sequence[str], otherwise: str) -> Path:
    """The first file that is called so, with an ending in small letters or any others.

    Raises:
        UnusableError: there is none; `otherwise` is the reason.
    """
    for ending in endings:
        if (path := stem.with_name(stem.name + ending)).is_file():
            return path
    for path in stem.parent.iterdir():  # last, for the folder may hold all of a corpus
        if path.name.startswith(stem.name) and path.name[len(stem.name) :].lower() in endings:
            return path
    raise UnusableError(otherwise)


def staff(piece: Piece, source: str, picture: Path, symbols: Sequence[Symbol], size: StaffSize) -> StaffSample:
    """A piece that is one staff, from its picture and its label of what is printed.

    Raises:
        UnusableError: as `finished` and `decode`.
    """
    semantic = finished(symbols, size)
    image = fit(decode(picture), size.height, size.width)
    return StaffSample(staff_id=piece.name, work=piece.work, source=source, image=image, semantic=semantic)


def read_label(path: Path) -> list[Symbol]:
    """The symbols of a label file as they are written there.

    Raises:
        UnusableError: it is empty, not UTF-8, or not the semantic encoding.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnusableError("label is not UTF-8", str(error)) from None
    if "\0" in text:  # UTF-16 without its mark
        raise UnusableError("label is not UTF-8", "it holds zero bytes")
    try:
        symbols = parse(text)
    except NotationError as error:
        raise UnusableError(NO_ENCODING, str(error)) from None
    if not symbols:
        raise UnusableError("empty label")
    return symbols


def printed(symbols: Sequence[Symbol]) -> list[Symbol]:
    """A label of what sounds as one of what is printed.

    Raises:
        UnusableError: it has a natural sign, which no label of what sounds has.
    """
    try:
        return sounding_to_printed(symbols)
    except NotationError as error:
        raise UnusableError(NO_ENCODING, str(error)) from None


def finished(symbols: Sequence[Symbol], size: StaffSize) -> str:
    """The text of a label of what is printed, once it is known to be usable.

    Raises:
        UnusableError: the full vocabulary lacks some of it, or it is longer than the size allows.
    """
    symbols = with_key(symbols)
    lacking = vocabulary("full").missing(symbols)
    if lacking:
        raise UnusableError(UNKNOWN_SYMBOLS, ", ".join(f"{token} ({count} x)" for token, count in lacking.items()))
    if len(symbols) > size.max_symbols:
        raise UnusableError(REASON_TOO_LONG, f"{len(symbols)} symbols, {size.max_symbols} allowed")
    return format_semantic(symbols)


def with_key(symbols: Sequence[Symbol]) -> list[Symbol]:
    """The same label with a key signature after the clef that it opens with."""
    opens_with = [symbol.kind for symbol in symbols[:2]]
    if opens_with[:1] == ["clef"] and opens_with[1:] != ["keySignature"]:
        return [symbols[0], _WITHOUT_SIGNATURE, *symbols[1:]]
    return list(symbols)


def decode(path: Path) -> Gray:
    """A picture file as it is.

    Raises:
        UnusableError: it is not a picture, a truncated one, or too large.
    """
    try:
        return decode_picture(path.read_bytes())
    except PictureError as error:
        raise UnusableError(str(error)) from None
