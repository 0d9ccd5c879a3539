"""MEI, read into measures of symbols.

What is kept is what the semantic encoding can say. What a label does not mention and a staff can do without is left
out silently: slurs, dynamics, lyrics, tempo, chord symbols, articulation, ornaments, endings, repeat signs (they
become plain barlines). A measure that holds something the encoding *cannot* say (a tuplet, a second voice, an
invisible rest) is marked with that reason, and no staff is cut across it.

Choices:
    - The key is the one that is printed, named as if it were major, as in PrIMuS; no accidentals are CM.
    - A measure rest (`mRest`, or Verovio's `multiRest num="0"`) is printed as a whole rest whatever the meter,
      so it is `rest-whole`; several measures in one are `multirest-N`.
    - A tie belongs to two notes of one pitch that follow each other. ABC writes slurs with the same sign, so any
      other "tie" is a slur and is left out.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from datasets.measures import Measure, key_symbol, staff_step
from datasets.notation import CHORD, FERMATA, TIE, Symbol

DURATIONS = {
    "long": "quadruple_whole",
    "breve": "double_whole",
    "1": "whole",
    "2": "half",
    "4": "quarter",
    "8": "eighth",
    "16": "sixteenth",
    "32": "thirty_second",
    "64": "sixty_fourth",
    "128": "hundred_twenty_eighth",
}
"""MEI's durations by the encoding's names."""

LIFTS = {"s": "#", "f": "b", "n": "N", "ss": "##", "x": "##", "ff": "bb"}
_ID = "{http://www.w3.org/XML/1998/namespace}id"


class MeiError(ValueError):
    """A score that cannot be read at all, with the reason as its message."""


def read(mei: str) -> list[Measure]:
    """The measures of a score with one staff, empty ones left out.

    Raises:
        MeiError: no score, more than one staff, no clef, or a key the encoding has no name for.
    """
    root = _without_namespaces(ET.fromstring(mei))
    score = root.find(".//score")
    if score is None:
        raise MeiError("no score")
    staves = score.findall("scoreDef//staffDef")
    if len(staves) != 1:
        raise MeiError("not a single staff")
    return _MeasureReader(score, staves[0]).measures()


class _MeasureReader:
    """Walks a score once and keeps the clef and the key in force."""

    def __init__(self, score: ET.Element, staff_def: ET.Element) -> None:
        score_def = score.find("scoreDef")
        self.opening = [part for part in (staff_def, score_def) if part is not None]
        self.score = score
        clef = _clef(staff_def)
        if clef is None:
            raise MeiError("no clef")
        self.clef = clef
        self.key = next(filter(None, map(_key, self.opening)), key_symbol(0))
        self.changes = [meter for meter in map(_meter, self.opening) if meter][:1]
        self.ties = {_target(tie, "startid"): _target(tie, "endid") for tie in score.iter("tie")}
        self.fermatas = {_target(fermata, "startid") for fermata in score.iter("fermata")}

    def measures(self) -> list[Measure]:
        drafts: list[_Draft] = []
        for element in self._in_order():
            if element.tag != "measure":
                self._change(element)
                continue
            draft = _Draft(self.clef, self.key, list(self.changes), self.fermatas)
            draft.read(element)
            self.clef = draft.clef_after
            if draft.symbols or draft.problem:
                self.changes = []
                drafts.append(draft)
        self._tie(drafts)
        return [draft.measure() for draft in drafts]

    def _in_order(self) -> Iterator[ET.Element]:
        for element in self.score.iter():
            if element.tag in ("measure", "scoreDef", "staffDef") and element not in self.opening:
                yield element

    def _change(self, definition: ET.Element) -> None:
        """Note what is printed at the start of the next measure: key and meter, then the clef."""
        clef, key, meter = _clef(definition), _key(definition), _meter(definition)
        if key and key != self.key:
            self.key = key
            self.changes.append(key)
        if meter and meter not in self.changes:
            self.changes.append(meter)
        if clef and clef != self.clef:
            self.clef = clef
            self.changes.append(clef)

    def _tie(self, drafts: Sequence[_Draft]) -> None:
        """Put a tie after every note that its tie leads to the same pitch next to it."""
        notes = [(draft, note) for draft in drafts for note in draft.notes]
        for (draft, note), (next_draft, following) in zip(notes[-2::-1], notes[:0:-1], strict=True):
            tied = self.ties.get(note.id) == following.id
            if tied and note.pitch == following.pitch and not following.lift:
                draft.insert_tie(note.index, leaves_measure=next_draft is not draft)


@dataclass
class _Note:
    """What a tie may start or end at: a note outside chords and grace notes. One without an id keeps its neighbours
    from being tied across a chord or a rest."""

    id: str = ""
    pitch: str = ""
    lift: str = ""
    index: int = 0


@dataclass
class _Draft:
    """A measure while it is read."""

    clef: Symbol
    key: Symbol
    changes: list[Symbol]
    fermatas: set[str]
    symbols: list[Symbol] = field(default_factory=list)
    beams: list[tuple[int, int]] = field(default_factory=list)
    notes: list[_Note] = field(default_factory=list)
    open_tie: int | None = None
    problem: str = ""

    def __post_init__(self) -> None:
        self.clef_after = self.clef

    def read(self, measure: ET.Element) -> None:
        layers = measure.findall("staff/layer")
        if len(measure.findall("staff")) != 1 or len(layers) != 1:
            self.problem = "several voices"
            return
        try:
            self._read_all(layers[0])
        except MeiError as error:
            self.problem = str(error)

    def measure(self) -> Measure:
        return Measure(
            clef=self.clef,
            key=self.key,
            changes=tuple(self.changes),
            symbols=tuple(self.symbols),
            beams=tuple(self.beams),
            open_tie=self.open_tie,
            problem=self.problem,
        )

    def insert_tie(self, index: int, leaves_measure: bool) -> None:
        """Put a tie after the note at `index`; called from the last note to the first."""
        self.symbols.insert(index + 1, Symbol(TIE))
        self.beams = [(start + (start > index), end + (end > index)) for start, end in self.beams]
        if self.open_tie is not None:
            self.open_tie += 1
        if leaves_measure:
            self.open_tie = index + 1

    def _read_all(self, elements: Iterable[ET.Element]) -> None:
        for element in elements:
            reader = _READERS.get(element.tag)
            if reader is None:
                raise MeiError(f"{element.tag} in a measure")
            reader(self, element)

    def _beam(self, element: ET.Element) -> None:
        start = len(self.symbols)
        self._read_all(element)
        inside = range(start, len(self.symbols))
        notes = [index for index in inside if self.symbols[index].is_note]
        # Grace notes before the first note stay outside, as an engraver would have it.
        beamed = [index for index in notes if not self.symbols[index].is_grace] or notes
        if len(beamed) > 1:
            self.beams.append((beamed[0], beamed[-1]))

    def _note(self, element: ET.Element) -> None:
        symbol = _note_symbol(element, _rhythm(element, self._fermata(element)))
        if not element.get("grace"):
            self.notes.append(_Note(element.get(_ID, ""), symbol.pitch, symbol.lift, len(self.symbols)))
        self.symbols.append(symbol)

    def _chord(self, element: ET.Element) -> None:
        rhythm = _rhythm(element, self._fermata(element))
        heads = [_note_symbol(note, rhythm) for note in element.iter("note")]
        heads.sort(key=lambda head: staff_step(head.pitch), reverse=True)
        if len({head.pitch for head in heads}) < len(heads):
            raise MeiError("unison in a chord")
        for head in heads:
            self.symbols += (head, Symbol(CHORD))
        self.symbols.pop()
        # Verovio's ABC reader ties a chord at one of its notes only, which the encoding cannot say.
        self.notes.append(_Note())

    def _rest(self, element: ET.Element) -> None:
        self.symbols.append(Symbol(_rhythm(element, self._fermata(element), kind="rest")))
        self.notes.append(_Note())

    def _measure_rest(self, element: ET.Element) -> None:
        count = int(element.get("num", "1"))
        self.symbols.append(Symbol(f"multirest-{count}" if count > 1 else "rest-whole"))

    def _clef_change(self, element: ET.Element) -> None:
        clef = _clef_symbol(element)
        if clef != self.clef_after:
            self.clef_after = clef
            self.symbols.append(clef)

    def _fermata(self, element: ET.Element) -> bool:
        return bool(element.get("fermata")) or element.get(_ID) in self.fermatas

    def _nothing(self, element: ET.Element) -> None:
        """A thing in a layer that is not drawn on the staff."""


_READERS = {
    "beam": _Draft._beam,
    "note": _Draft._note,
    "chord": _Draft._chord,
    "rest": _Draft._rest,
    "mRest": _Draft._measure_rest,
    "multiRest": _Draft._measure_rest,
    "clef": _Draft._clef_change,
    "barLine": _Draft._nothing,
}


def _rhythm(element: ET.Element, fermata: bool, kind: str = "note") -> str:
    duration, dots = element.get("dur", ""), int(element.get("dots", "0"))
    if duration not in DURATIONS:
        raise MeiError(f"duration {duration or 'missing'}")
    if dots > 2:
        raise MeiError("more than two dots")
    if element.get("grace"):
        if fermata:
            raise MeiError("fermata on a grace note")
        kind = "gracenote"
    return f"{kind}-{DURATIONS[duration]}{'.' * dots}{FERMATA if fermata else ''}"


def _note_symbol(note: ET.Element, rhythm: str) -> Symbol:
    pitch = f"{note.get('pname', '').upper()}{note.get('oct', '')}"
    if not re.fullmatch(r"[A-G]\d", pitch):
        raise MeiError("note without a pitch")
    child = note.find("accid")
    printed = note.get("accid") if child is None else child.get("accid")
    if printed is not None and printed not in LIFTS:
        raise MeiError(f"accidental {printed}")
    return Symbol(rhythm, pitch, LIFTS[printed] if printed else "")


def _clef(part: ET.Element) -> Symbol | None:
    child = part.find(".//clef")
    if child is not None:
        return _clef_symbol(child)
    if not part.get("clef.shape"):
        return None
    return Symbol(f"clef-{part.get('clef.shape')}{part.get('clef.line')}")


def _clef_symbol(clef: ET.Element) -> Symbol:
    if clef.get("dis"):
        raise MeiError("octave clef")
    return Symbol(f"clef-{clef.get('shape')}{clef.get('line')}")


def _key(part: ET.Element) -> Symbol | None:
    child = part.find(".//keySig")
    written = part.get("keysig") or part.get("key.sig") if child is None else child.get("sig")
    if written is None:
        return None
    match = re.fullmatch(r"0|([1-7])([sf])", written)
    if match is None:
        raise MeiError(f"key signature {written}")
    count = int(match[1] or 0)
    return key_symbol(-count if match[2] == "f" else count)


def _meter(part: ET.Element) -> Symbol | None:
    child = part.find(".//meterSig")
    prefix = "meter." if child is None else ""
    part = part if child is None else child
    form, sign = part.get(f"{prefix}form"), part.get(f"{prefix}sym")
    count, unit = part.get(f"{prefix}count"), part.get(f"{prefix}unit")
    if form == "invis" or (not sign and not (count and unit)) or count == "0":  # ABC's "M: none" is 0/0
        return None
    if sign in ("common", "cut"):
        return Symbol("timeSignature-C" if sign == "common" else "timeSignature-C/")
    if not re.fullmatch(r"\d+", count or ""):
        raise MeiError("additive meter")
    return Symbol(f"timeSignature-{count}/{unit}")


def _target(element: ET.Element, attribute: str) -> str:
    return element.get(attribute, "").removeprefix("#")


def _without_namespaces(root: ET.Element) -> ET.Element:
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root
