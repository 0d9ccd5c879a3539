"""A staff's label, written as the MEI that an engraver draws.

The inverse of `datasets.scores.mei`: what `read(write(run))` gives, cut again, is the same run. Writing starts from the
label, never from the score that was read, so nothing can stand in the image that the label does not say. The label says
everything but the grouping of the beams, which `StaffRun` carries beside it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from datasets.errors import NotationError
from datasets.notation import BARLINE, CHORD, FERMATA, Symbol
from datasets.scores.measures import StaffRun, key_sharps
from datasets.scores.mei_symbols import ACCIDENTALS, DURATIONS

_MEI_DURATIONS = {name: value for value, name in DURATIONS.items()}
_METER_SIGNS = {"C": "common", "C/": "cut"}

_FRAME = (
    '<mei xmlns="http://www.music-encoding.org/ns/mei"><music><body><mdiv><score>'
    '<scoreDef><staffGrp><staffDef n="1" lines="5">{opening}</staffDef></staffGrp></scoreDef>'
    "<section>{section}</section></score></mdiv></body></music></mei>"
)
_MEASURE = '<measure right="{right}"><staff n="1"><layer n="1">{layer}</layer></staff>{controls}</measure>'


def write(run: StaffRun) -> str:
    """The staff as MEI.

    Raises:
        NotationError: an order of symbols that no staff has: no clef at the start, a tie without a note on
            either side, a meter inside a measure.
    """
    opening = _opening(run.symbols)
    writer = _Writer(run, start=len(opening))
    return _FRAME.format(opening="".join(attribute_element(symbol) for symbol in opening), section=writer.section())


@dataclass
class _Writer:
    """Walks the symbols once; `layer` and `controls` fill the measure at hand."""

    run: StaffRun
    start: int
    layer: list[str] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)
    measures: list[str] = field(default_factory=list)
    open_tie: str = ""
    last_note: str = ""

    def section(self) -> str:
        symbols = self.run.symbols
        beam_starts = Counter(first for first, _ in self.run.beams)
        beam_ends = Counter(last for _, last in self.run.beams)
        index = self.start
        while index < len(symbols):
            end = _chord_end(symbols, index)
            self.layer += ["<beam>"] * beam_starts[index]
            self._symbol(symbols[index:end], index)
            self.layer += ["</beam>"] * sum(beam_ends[each] for each in range(index, end))
            index = end
        if self.open_tie:
            raise NotationError("a tie at the end of the staff has no second note")
        if self.layer:
            self._close_measure("invis")
        return "".join(self.measures)

    def _symbol(self, symbols: tuple[Symbol, ...], index: int) -> None:
        symbol = symbols[0]
        match symbol.kind:
            case "barline":
                self._close_measure("single")
            case "note" | "gracenote":
                self._note(symbols, index)
            case "rest":
                self._rest(symbol, index)
            case "multirest":
                self.layer.append(f'<multiRest num="{symbol.rhythm.partition("-")[2]}"/>')
            case "tie":
                if not self.last_note:
                    raise NotationError("a tie stands without a note before it")
                self.open_tie = self.last_note
            case "clef":
                self.layer.append(attribute_element(symbol))
            case "keySignature" | "timeSignature":
                if self.layer:
                    raise NotationError(f"{symbol.rhythm} stands inside a measure")
                self.measures.append(f"<scoreDef>{attribute_element(symbol)}</scoreDef>")
            case _:
                raise NotationError(f"{symbol.rhythm} cannot be engraved")

    def _note(self, symbols: tuple[Symbol, ...], index: int) -> None:
        heads = symbols[::2]
        timing = value_attributes(heads[0].rhythm)
        note_id = f"s{index}"
        if len(heads) == 1:
            self.layer.append(f'<note xml:id="{note_id}" {timing} {_pitch(heads[0])}')
        else:
            notes = "".join(f"<note {_pitch(head)}" for head in heads)
            self.layer.append(f'<chord xml:id="{note_id}" {timing}>{notes}</chord>')
        self._fermata(heads[0], note_id)
        if heads[0].is_grace:
            return
        if self.open_tie:
            self.controls.append(f'<tie startid="#{self.open_tie}" endid="#{note_id}"/>')
        self.open_tie, self.last_note = "", note_id

    def _rest(self, symbol: Symbol, index: int) -> None:
        symbols = self.run.symbols
        alone = not self.layer and symbols[index + 1 : index + 2] == (Symbol(BARLINE),)
        tag = "mRest" if alone and symbol.rhythm.startswith("rest-whole") and "." not in symbol.rhythm else "rest"
        timing = "" if tag == "mRest" else value_attributes(symbol.rhythm)
        self.layer.append(f'<{tag} xml:id="s{index}" {timing}/>')
        self._fermata(symbol, f"s{index}")

    def _fermata(self, symbol: Symbol, target: str) -> None:
        if symbol.rhythm.endswith(FERMATA):
            self.controls.append(f'<fermata startid="#{target}" place="above"/>')

    def _close_measure(self, right: str) -> None:
        if not self.layer:
            raise NotationError("a measure is empty")
        self.measures.append(_MEASURE.format(right=right, layer="".join(self.layer), controls="".join(self.controls)))
        self.layer.clear()
        self.controls.clear()


def _opening(symbols: tuple[Symbol, ...]) -> tuple[Symbol, ...]:
    """The clef, key and meter in front of the first measure."""
    kinds = [symbol.kind for symbol in symbols[:3]]
    length = next(
        (n for n in (3, 2) if kinds[:n] == ["clef", "keySignature", "timeSignature"][:n]),
        0,
    )
    if length == 0:
        raise NotationError("a staff begins with a clef and a key signature")
    return symbols[:length]


def attribute_element(symbol: Symbol) -> str:
    """A clef, a key signature or a meter."""
    kind, _, value = symbol.rhythm.partition("-")
    if kind == "clef":
        return f'<clef shape="{value[0]}" line="{value[1]}"/>'
    if kind == "keySignature":
        sharps = key_sharps(symbol)
        sign = f"{abs(sharps)}{'s' if sharps > 0 else 'f'}" if sharps else "0"
        return f'<keySig sig="{sign}"/>'
    if value in _METER_SIGNS:
        return f'<meterSig sym="{_METER_SIGNS[value]}"/>'
    count, _, unit = value.partition("/")
    return f'<meterSig count="{count}" unit="{unit}"/>'


def value_attributes(rhythm: str) -> str:
    """The attributes that say how long a note, a chord or a rest lasts."""
    kind, _, value = rhythm.removesuffix(FERMATA).partition("-")
    name = value.rstrip(".")
    grace = ' grace="acc"' if kind == "gracenote" else ""
    return f'dur="{_MEI_DURATIONS[name]}" dots="{len(value) - len(name)}"{grace}'


def _pitch(head: Symbol) -> str:
    """The rest of a note element, after its timing."""
    where = f'pname="{head.pitch[0].lower()}" oct="{head.pitch[1:]}"'
    return f'{where}><accid accid="{ACCIDENTALS[head.lift]}"/></note>' if head.lift else f"{where}/>"


def _chord_end(symbols: tuple[Symbol, ...], index: int) -> int:
    """The index after the chord (or single symbol) that starts at `index`."""
    end = index + 1
    while end + 1 < len(symbols) and symbols[end].rhythm == CHORD:
        end += 2
    return end
