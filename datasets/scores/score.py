"""A score in any format that Verovio reads, as MEI, and the labels of its staves.

MusicXML (plain or zipped), **kern, MEI, ABC and Plaine & Easie. GrandStaff's `.bekrn` ("basic extended kern") is **kern
whose notes are cut into their parts by "@" and by a middle dot, for a model's vocabulary: without these two signs it is
**kern again.

This process may die in Verovio, so reading belongs into a worker (`datasets.workers`).
"""

from __future__ import annotations

import codecs
import io
import os
import re
import tempfile
import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import verovio

from datasets.notation import Symbol
from datasets.scores.measures import Measure, cut
from datasets.scores.mei import read_staff, staff_numbers, without_namespaces
from datasets.scores.mei_symbols import MeiError
from datasets.scores.missing_accidentals import print_accidentals

_FORMATS = {
    ".abc": "abc",
    ".bekrn": "humdrum",
    ".krn": "humdrum",
    ".mei": "mei",
    ".musicxml": "xml",
    ".mxl": "xml",
    ".pae": "pae",
    ".xml": "xml",
}
_XML = frozenset({".mei", ".musicxml", ".mxl", ".xml"})
SUFFIXES = tuple(_FORMATS)
"""The names of score files end in one of these."""

UNEQUAL_STAVES = "one staff ends before the other"

_MAX_BYTES = 64 << 20
_INCONSISTENT = b"Inconsistent rhythm analysis"
_KERN_SEPARATORS = re.compile("[@·]")
_KERN_HEADER = re.compile(r"\*\*b?ekern\S*")


@dataclass(frozen=True)
class Score:
    """A score.

    Attributes:
        root: MEI's `score` element, without namespaces.
    """

    root: ET.Element
    _read: dict[int, list[Measure]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def staff_numbers(self) -> list[str]:
        """MEI's `n` of every staff, the top one first."""
        return staff_numbers(self.root)

    def measures(self, staff: int) -> list[Measure]:
        """All measures of a staff (0 is the top one), as `datasets.scores.mei.read_staff`.

        Raises:
            MeiError: the staff cannot be read at all.
        """
        if staff not in self._read:  # asked for again by every drawing of a stretch
            self._read[staff] = read_staff(self.root, self.staff_numbers[staff])
        return self._read[staff]


def score_bytes(path: Path) -> bytes:
    """The content of a score file, for `read_score`.

    Raises:
        MeiError: it is larger than any score.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise MeiError(f"more than {_MAX_BYTES >> 20} MiB")
    return path.read_bytes()


def read_score(data: bytes, suffix: str) -> Score:
    """Read a file by its content and the end of its name.

    Raises:
        MeiError: Verovio refuses it, a bar of **kern does not add up, or there is no note in it.
    """
    if suffix not in _FORMATS:
        raise MeiError(f"no score format is called {suffix}; there are {', '.join(SUFFIXES)}")
    verovio.enableLog(verovio.LOG_OFF)
    toolkit = verovio.toolkit()  # a used one aborts more often
    toolkit.setInputFrom(_FORMATS[suffix])
    text = _text(unzipped(data) if suffix == ".mxl" else data, suffix)
    if suffix in _XML:
        _check_well_formed(text)
    loaded, said = _loaded(toolkit, text)
    if not loaded:
        raise MeiError("the engraver refuses it")
    if _INCONSISTENT in said:  # it goes on without the keys, meters and clefs that follow
        raise MeiError("a bar that does not add up")
    root = without_namespaces(ET.fromstring(toolkit.getMEI())).find(".//score")
    if root is None or root.find(".//note") is None:
        raise MeiError("a score without music")
    if _FORMATS[suffix] == "xml":
        print_accidentals(root)
    return Score(root)


def read_staves(score: Score) -> list[list[Measure]]:
    """The measures of every staff, the top one first.

    Raises:
        MeiError: one of them cannot be read at all.
    """
    return [score.measures(staff) for staff in range(len(score.staff_numbers))]


def label(score: Score, staff: int) -> list[Symbol]:
    """A whole staff, with printed accidentals.

    Raises:
        MeiError: it cannot be read, or a measure of it holds what the encoding cannot say.
    """
    return labelled(score.measures(staff))


def grand_label(score: Score, upper: int = 0, lower: int = 1) -> list[Symbol]:
    """Two staves played by one: the upper one whole, then the lower one, each opened by its clef and key.

    The encoding needs no sign between them: a clef followed by a key signature opens a staff.

    Raises:
        MeiError: as `label`, or one staff ends before the other.
    """
    staves = [score.measures(staff) for staff in (upper, lower)]
    if len(staves[0]) != len(staves[1]):
        raise MeiError(UNEQUAL_STAVES)
    return [symbol for measures in staves for symbol in labelled(measures)]


def grand_staff(score: Score) -> tuple[int, int]:
    """The first two staves that a brace joins, or both where there are only two.

    Raises:
        MeiError: the score has no two such staves.
    """
    numbers = score.staff_numbers
    for group in score.root.iterfind("scoreDef//staffGrp"):
        staves = [staff_def.get("n", "") for staff_def in group.iter("staffDef")]
        symbol = group.find("grpSym")
        brace = group.get("symbol") if symbol is None else symbol.get("symbol")
        if len(staves) == 2 and (brace == "brace" or len(numbers) == 2):
            return numbers.index(staves[0]), numbers.index(staves[1])
    raise MeiError("no grand staff")


def labelled(measures: Sequence[Measure]) -> list[Symbol]:
    """A run of measures as a label.

    Raises:
        MeiError: the problem of the first one that the encoding cannot say.
    """
    problem = next((measure.problem for measure in measures if measure.problem), "")
    if problem or not measures:
        raise MeiError(problem or "no measure")
    return list(cut(measures).symbols)


def unzipped(data: bytes) -> bytes:
    """The score in a zipped MusicXML file. Verovio would find it only if its name ends in .xml."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            container = ET.fromstring(archive.open("META-INF/container.xml").read(_MAX_BYTES))
            paths = [
                rootfile.get("full-path", "") for rootfile in container.iter() if rootfile.tag.endswith("rootfile")
            ]
            score = archive.open(paths[0]).read(_MAX_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, ET.ParseError, LookupError, NotImplementedError, RuntimeError):
        raise MeiError("not a zipped MusicXML file") from None
    if len(score) > _MAX_BYTES:
        raise MeiError(f"more than {_MAX_BYTES >> 20} MiB unzipped")
    return score


def _loaded(toolkit: verovio.toolkit, text: str) -> tuple[bool, bytes]:
    """Whether Verovio takes a score, and what its **kern reader says: to the file descriptor, past Verovio's log."""
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            loaded = toolkit.loadData(text)
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        file.seek(0)
        return loaded, file.read()


def _check_well_formed(text: str) -> None:
    """Raise MeiError for a file that was cut short, of which Verovio would read the first half."""
    try:
        ET.fromstring(text)
    except ET.ParseError as error:
        raise MeiError(f"not well-formed XML: {error}") from None


def _text(data: bytes, suffix: str) -> str:
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode("utf-16" if utf_16 else "utf-8-sig", errors="replace")
    if suffix == ".bekrn":
        text = _KERN_HEADER.sub("**kern", _KERN_SEPARATORS.sub("", text))
    return text
