"""A voice (MEI's layer) as events: what stands in it, in order, each with the moment at which it starts.

Moments are exact fractions of a quarter, so that two voices meet where they do on paper. What counts is how long a note
lasts, not how it is printed: `dur.ppq`, where the source wrote it, knows of a tuplet that nothing else tells of.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from datasets.scores.mei_symbols import MeiError, is_hidden, quarters

NOT_DRAWN_AGAIN = frozenset({"bTrem", "graceGrp", "mSpace", "space", "tuplet"})
"""What a label can do without, but what `datasets.scores.mei_writer` cannot draw."""

_WORDS = {
    "beatRpt": "a repeated beat",
    "fTrem": "a tremolo between two notes",
    "halfmRpt": "a repeated half measure",
    "keySig": "a key change inside a measure",
    "mRpt": "a repeated measure",
    "mRpt2": "repeated measures",
    "meterSig": "a meter change inside a measure",
    "multiRpt": "repeated measures",
}


@dataclass(frozen=True)
class Event:
    """A note, a chord, a rest or a clef.

    Attributes:
        onset: quarters since the start of the measure.
        lasts: quarters; 0 for a grace note, a clef, and a rest for whole measures.
    """

    onset: Fraction
    lasts: Fraction
    element: ET.Element

    @property
    def is_grace(self) -> bool:
        return self.element.get("grace") is not None


@dataclass
class Voice:
    """A layer while it is read, and what was found in it.

    Attributes:
        ppq: how many units of `dur.ppq` a quarter has.
        refused: tags of elements that make a problem here.
        beams: for each beam, the indices of its events.
    """

    ppq: int = 1
    refused: frozenset[str] = frozenset()
    events: list[Event] = field(default_factory=list)
    beams: list[range] = field(default_factory=list)
    _now: Fraction = Fraction(0)
    _ratio: Fraction = Fraction(1)

    def read(self, elements: Iterable[ET.Element]) -> None:
        """Walk through a layer.

        Raises:
            MeiError: something that the encoding has no word for.
        """
        for element in elements:
            reader = None if element.tag in self.refused else _READERS.get(element.tag)
            if reader is None:
                raise MeiError(_WORDS.get(element.tag, f"{element.tag} in a measure"))
            if element.get("cue") == "true":
                raise MeiError("a cue note")
            reader(self, element)

    def _event(self, element: ET.Element) -> None:
        lasts = self._length(element)
        if not is_hidden(element):
            self.events.append(Event(self._now, lasts, element))
        self._now += lasts

    def _moment(self, element: ET.Element) -> None:
        # A second voice holds a copy of the first one's clef.
        if not (element.get("sameas") or is_hidden(element)):
            self.events.append(Event(self._now, Fraction(0), element))

    def _beam(self, element: ET.Element) -> None:
        start = len(self.events)
        self.read(element)
        self.beams.append(range(start, len(self.events)))

    def _tuplet(self, element: ET.Element) -> None:
        printed, lasting = int(element.get("num", "0")), int(element.get("numbase", "0"))
        if not (printed and lasting):
            raise MeiError("a tuplet without a number")
        before = self._ratio
        self._ratio *= Fraction(lasting, printed)
        self.read(element)
        self._ratio = before

    def _space(self, element: ET.Element) -> None:
        self._now += self._length(element)

    def _length(self, element: ET.Element) -> Fraction:
        ticks = element.get("dur.ppq")
        if ticks and not self.ppq:
            raise MeiError("a quarter divided into nothing")
        return Fraction(int(ticks), self.ppq) if ticks else quarters(element) * self._ratio

    def _nothing(self, element: ET.Element) -> None:
        """A thing in a layer that is not drawn on the staff."""


_READERS = {
    "bTrem": Voice.read,
    "barLine": Voice._nothing,
    "beam": Voice._beam,
    "chord": Voice._event,
    "clef": Voice._moment,
    "graceGrp": Voice.read,
    "mRest": Voice._moment,
    "mSpace": Voice._nothing,
    "multiRest": Voice._moment,
    "note": Voice._event,
    "rest": Voice._event,
    "space": Voice._space,
    "tuplet": Voice._tuplet,
}
