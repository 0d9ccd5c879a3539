"""MEI, read into measures of symbols.

What is kept is what the semantic encoding can say. What a label does not mention and a staff can do without is left
out silently: slurs, dynamics, lyrics, tempo, chord symbols, articulation, ornaments, endings, repeat signs (they
become plain barlines), the number of a tuplet. A measure that holds something the encoding *cannot* say (a rest beneath
a note, a repeated measure, an octave clef) is marked with that reason, and no staff is cut across it.

`read` and `read_single_voice` take what can be drawn again from its label (`datasets.scores.mei_writer`); `read_staff`
takes one staff of any score, which is drawn as it stands (`datasets.scores.drawing`). So it alone marks what the
drawing would show elsewhere or besides: a note on the other staff, an ossia, an octave line, a hidden barline.

Choices:
    - The key is the one that is printed, named as if it were major, as in PrIMuS; no accidentals are CM.
    - A measure rest (`mRest`, or Verovio's `multiRest num="0"`) is printed as a whole rest whatever the meter,
      so it is `rest-whole`; several measures in one are `multirest-N`.
    - A tie belongs to two notes of one pitch that follow each other. ABC writes slurs with the same sign, so any
      other "tie" is a slur and is left out; so is a tie from or to a chord.
    - Several voices are written by onset: notes that begin together are a chord, each with its own value, and
      the next event is whatever begins next. Two heads of one pitch and value are one; so are two equal rests.
    - Pitches are where the notes stand. Beneath an octave line they are not what sounds, and so a problem.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence

from datasets.notation import Symbol
from datasets.scores.measures import Measure, key_symbol
from datasets.scores.mei_measure import EMPTY, Draft
from datasets.scores.mei_symbols import MeiError, clef, key, meter, target

__all__ = ["MeiError", "read", "read_single_voice", "read_staff", "staff_numbers", "without_namespaces"]


def read(root: ET.Element) -> list[Measure]:
    """The measures of a score with one staff and one voice, empty ones left out.

    Args:
        root: a tree without namespaces.

    Raises:
        MeiError: no score, more than one staff, no clef, or a key the encoding has no name for.
    """
    numbers = staff_numbers(root)
    if len(numbers) != 1:
        raise MeiError("not a single staff")
    return read_single_voice(root, numbers[0])


def read_single_voice(root: ET.Element, number: str) -> list[Measure]:
    """The measures of one staff as far as its label can be drawn again; several voices and tuplets are a problem.

    Measures with nothing in them are left out, so that the indices of two staves do not belong together.

    Raises:
        MeiError: as `read_staff`.
    """
    measures = _StaffReader(_score(root), number, single_voice=True).measures()
    return [measure for measure in measures if measure.symbols or measure.problem]


def read_staff(root: ET.Element, number: str) -> list[Measure]:
    """All measures of one staff of a score, also those with nothing in them, up to the last one with music.

    So the measures of two staves stand at the same indices, but one staff may end before the other.

    Args:
        root: a tree without namespaces.
        number: the staff's `n`, one of `staff_numbers`.

    Raises:
        MeiError: no score, no such staff, no clef, not five lines, or a key the encoding has no name for.
    """
    return _StaffReader(_score(root), number, single_voice=False).measures()


def staff_numbers(root: ET.Element) -> list[str]:
    """The `n` of every staff, the top one first."""
    return [staff_def.get("n", "") for staff_def in _score(root).findall("scoreDef//staffDef")]


def without_namespaces(root: ET.Element) -> ET.Element:
    """The same tree with plain tags."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _score(root: ET.Element) -> ET.Element:
    score = root if root.tag == "score" else root.find(".//score")
    if score is None:
        raise MeiError("no score")
    return score


class _StaffReader:
    """Walks a score once and keeps the clef and the key of one staff in force."""

    def __init__(self, score: ET.Element, number: str, single_voice: bool) -> None:
        self.score = score
        self.number = number
        self.single_voice = single_voice
        opening = score.find("scoreDef")
        staff_def = None if opening is None else opening.find(f".//staffDef[@n='{number}']")
        if opening is None or staff_def is None:
            raise MeiError(f"no staff {number}")
        if staff_def.get("lines", "5") != "5":
            raise MeiError("not five lines")
        self.opening = [opening, *opening.iter("staffDef")]
        self.ppq = int(staff_def.get("ppq", "1"))
        first_clef, first_key, first_meter = self._printed(opening)
        if first_clef is None:
            raise MeiError("no clef")
        self.clef = first_clef
        self.key = first_key or key_symbol(0)
        self.unsaid: dict[str, str] = {}
        self.changes = [first_meter] if first_meter else []
        self.ties = {target(tie, "startid"): target(tie, "endid") for tie in score.iter("tie")}
        self.fermatas = {target(fermata, "startid") for fermata in score.iter("fermata")}

    def measures(self) -> list[Measure]:
        drafts: list[Draft] = []
        for element in self._in_order():
            if element.tag != "measure":
                self._change(element)
                continue
            draft = Draft(self.clef, self.key, list(self.changes), self.fermatas, self.unsaid)
            if self.single_voice:
                draft.read_single_voice(element, self.number)
            else:
                draft.read_staff(element, self.number, self.ppq)
            self.clef, self.key, self.unsaid = draft.clef_after, draft.key_after, draft.unsaid_after
            if draft.symbols or draft.problem:
                self.changes = []
            drafts.append(draft)
        while drafts and drafts[-1].problem == EMPTY:
            drafts.pop()
        self._tie(drafts)
        return [draft.measure() for draft in drafts]

    def _in_order(self) -> Iterator[ET.Element]:
        for element in self.score.iter():
            if element.tag in ("measure", "scoreDef", "staffDef") and element not in self.opening:
                yield element

    def _printed(self, definition: ET.Element) -> tuple[Symbol | None, Symbol | None, Symbol | None]:
        """Clef, key and meter of this staff in a definition, its own before those for all staves."""
        if definition.tag == "staffDef":
            parts = [definition] if definition.get("n") == self.number else []
        else:
            for_all = ET.Element("scoreDef", definition.attrib)
            for_all.extend(child for child in definition if child.tag != "staffGrp")
            parts = [*definition.iterfind(f".//staffDef[@n='{self.number}']"), for_all]
        first_clef = next(filter(None, map(clef, parts)), None)
        first_key = next(filter(None, map(key, parts)), None)
        return first_clef, first_key, next(filter(None, map(meter, parts)), None)

    def _change(self, definition: ET.Element) -> None:
        """Note what is printed at the start of the next measure: key and meter, then the clef."""
        new_clef, new_key, new_meter = self._printed(definition)
        if new_key and (self.unsaid.pop("key", "") or new_key != self.key):
            self.key = new_key
            self.changes.append(new_key)
        if new_meter and new_meter not in self.changes:
            self.changes.append(new_meter)
        if new_clef and (self.unsaid.pop("clef", "") or new_clef != self.clef):
            self.clef = new_clef
            self.changes.append(new_clef)

    def _tie(self, drafts: Sequence[Draft]) -> None:
        """Put a tie after every note that its tie leads to the same pitch next to it."""
        notes = [(draft, note) for draft in drafts for note in draft.notes]
        for (draft, note), (next_draft, following) in zip(notes[-2::-1], notes[:0:-1], strict=True):
            tied = self.ties.get(note.id) == following.id
            if tied and note.pitch == following.pitch and not following.lift:
                draft.insert_tie(note.index, leaves_measure=next_draft is not draft)
