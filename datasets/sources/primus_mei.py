"""The MEI beside a PrIMuS label: a second truth, out of which the image was engraved.

Both have to say the same music. Which accidentals are printed only the MEI knows: many an incipit repeats one that
the key signature or the bar has already, and no rule finds that out of what sounds.

What the two write differently without meaning different things:

- a signature without accidentals is `keySignature-CM` in ours and often nothing in PrIMuS;
- a closing barline, which PrIMuS leaves out where the incipit breaks off within a bar;
- a rest for one measure, `multirest-1` in PrIMuS, also with a fermata;
- a meter that the MEI writes without a unit, as old prints do.
"""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from datasets.accidentals import printed_to_sounding
from datasets.notation import BARLINE, FERMATA, Symbol
from datasets.scores import mei
from datasets.scores.measures import cut
from datasets.sources import pairs
from datasets.sources.base import UnusableError

_ID = "{http://www.w3.org/XML/1998/namespace}id"
_MEASURE_REST = Symbol("rest-whole")
_ITS_OTHER_FORMS = ("multirest-1", f"rest-whole{FERMATA}")


def checked(sounding: Sequence[Symbol], path: Path) -> list[Symbol]:
    """A label of what sounds as one of what is printed, with the accidentals of the MEI where that can be read.

    Raises:
        UnusableError: the MEI says something else, or is damaged; or as `pairs.printed`.
    """
    symbols = pairs.printed(sounding)
    second = _read(path)
    if not second:
        return symbols
    _compare(list(sounding), printed_to_sounding(second))
    lifts = (symbol.lift for symbol in second if symbol.is_note)
    return [replace(symbol, lift=next(lifts)) if symbol.is_note else symbol for symbol in symbols]


def _read(path: Path) -> list[Symbol]:
    """What an MEI file prints; nothing where there is none, or none that can be said in symbols.

    Raises:
        UnusableError: it is no XML: it broke off.
    """
    try:
        root = mei.without_namespaces(ET.fromstring(path.read_bytes()))
    except FileNotFoundError:
        return []
    except ET.ParseError as error:
        raise UnusableError("MEI is damaged", str(error)) from None
    try:
        _link_ties(root)
        [number] = mei.staff_numbers(root)
        measures = mei.read_staff(root, number)
    except ValueError:  # MeiError is one
        return []
    measures = [measure for measure in measures if measure.symbols or measure.problem]
    if not measures or any(measure.problem for measure in measures):
        return []
    return list(cut(measures).symbols)


def _link_ties(root: ET.Element) -> None:
    """Write ties as elements: the Verovio of PrIMuS wrote `tie="i"` at the first note and `tie="m"` on the way."""
    score = root.find(".//score")
    notes = list(root.iter("note"))
    for note, following in itertools.pairwise(notes):
        if score is not None and note.get("tie") in ("i", "m"):
            ET.SubElement(score, "tie", startid=f"#{note.get(_ID)}", endid=f"#{following.get(_ID)}")


def _compare(label: Sequence[Symbol], second: Sequence[Symbol]) -> None:
    has_meter = any(symbol.kind == "timeSignature" for symbol in second)
    rows = (list(_essence(symbols, has_meter)) for symbols in (label, second))
    for number, (ours, other) in enumerate(itertools.zip_longest(*rows), start=1):
        if ours != other:
            raise UnusableError(
                "semantic and MEI differ",
                f"symbol {number}: {ours or 'nothing'} in the label, {other or 'nothing'} in the MEI",
            )


def _essence(symbols: Sequence[Symbol], with_meter: bool) -> Iterator[Symbol]:
    """A label without what the two truths write differently."""
    closed = symbols[:-1] if symbols[-1].rhythm == BARLINE else symbols
    for symbol in closed:
        if symbol.rhythm in _ITS_OTHER_FORMS:
            yield _MEASURE_REST
        elif symbol.rhythm != "keySignature-CM" and (with_meter or symbol.kind != "timeSignature"):
            yield symbol
