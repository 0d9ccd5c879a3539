"""The MEI beside a PrIMuS label: what it may write differently, and what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.notation import format_semantic, parse
from datasets.sources.base import UnusableError
from datasets.sources.primus_mei import checked

QUARTERS = '<note xml:id="a" dur="4" oct="5" pname="c"{}/><note xml:id="b" dur="4" oct="5" pname="{}"{}/>'


def mei(*layers: str, key: str = "0", meter: str = 'meter.count="2" meter.unit="4"') -> str:
    """As the Verovio of PrIMuS wrote it: clef, key and meter as attributes."""
    measures = "".join(f'<measure><staff n="1"><layer n="1">{layer}</layer></staff></measure>' for layer in layers)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<mei xmlns="http://www.music-encoding.org/ns/mei" meiversion="4.0.0"><music><body><mdiv><score>'
        f'<scoreDef key.sig="{key}" {meter}><staffGrp>'
        '<staffDef clef.shape="G" clef.line="2" n="1" lines="5"/></staffGrp></scoreDef>'
        f"<section>{measures}</section></score></mdiv></body></music></mei>"
    )


def checked_against(folder: Path, label: str, document: str) -> str:
    path = folder / "incipit.mei"
    path.write_text(document, encoding="utf-8")
    return format_semantic(checked(parse(label), path))


@pytest.mark.parametrize(
    ("label", "document"),
    [
        (
            "clef-G2 timeSignature-2/4 note-C5_quarter note-D5_quarter barline",
            mei(QUARTERS.format("", "d", "")),
        ),
        (
            "clef-G2 timeSignature-2/4 note-C5_quarter note-D5_quarter",
            mei(QUARTERS.format("", "d", "")),
        ),
        (
            "clef-G2 timeSignature-2/4 multirest-1 barline note-C5_quarter note-D5_quarter",
            mei('<mRest xml:id="r"/>', QUARTERS.format("", "d", "")),
        ),
        (
            "clef-G2 timeSignature-2/4 rest-whole_fermata barline note-C5_quarter note-D5_quarter",
            mei('<mRest xml:id="r" fermata="above"/>', QUARTERS.format("", "d", "")),
        ),
        (
            "clef-G2 timeSignature-3/1 note-C5_quarter note-D5_quarter",
            mei(QUARTERS.format("", "d", ""), meter='meter.count="3"'),
        ),
        (
            "clef-G2 timeSignature-2/4 note-C5_quarter tie note-C5_quarter",
            mei(QUARTERS.format(' tie="i"', "c", ' tie="t"')),
        ),
    ],
    ids=["no key", "no closing barline", "measure rest", "with a fermata", "meter without a unit", "tie"],
)
def test_another_form_of_the_same_is_no_difference(tmp_path: Path, label: str, document: str) -> None:
    assert checked_against(tmp_path, label, document) == label


def test_accidentals_are_those_that_the_mei_prints(tmp_path: Path) -> None:
    document = mei(QUARTERS.format(' accid="s"', "c", ' accid="s"'), key="2s")
    label = "clef-G2 keySignature-DM timeSignature-2/4 note-C#5_quarter note-C#5_quarter barline"
    assert checked_against(tmp_path, label, document) == label


def test_what_sounds_without_an_accidental_of_its_own_loses_it(tmp_path: Path) -> None:
    document = mei(QUARTERS.format(' accid="s"', "c", ""))
    label = "clef-G2 keySignature-CM timeSignature-2/4 note-C#5_quarter note-C#5_quarter barline"
    assert checked_against(tmp_path, label, document).split()[3:5] == ["note-C#5_quarter", "note-C5_quarter"]


@pytest.mark.parametrize(
    ("label", "difference"),
    [
        (
            "clef-G2 timeSignature-2/4 note-C5_quarter note-E5_quarter",
            "symbol 4: note-E5_quarter in the label, note-D5_",
        ),
        (
            "clef-G2 timeSignature-2/4 note-C5_quarter note-D#5_quarter",
            "note-D#5_quarter in the label, note-D5_quarter",
        ),
        ("clef-G2 timeSignature-2/4 note-C5_quarter", "symbol 4: nothing in the label, note-D5_quarter in the MEI"),
        ("clef-G2 timeSignature-C note-C5_quarter note-D5_quarter", "symbol 2: timeSignature-C in the label"),
        ("clef-G2 keySignature-FM timeSignature-2/4 note-C5_quarter note-D5_quarter", "symbol 2: keySignature-FM"),
    ],
)
def test_another_music_is_rejected_with_the_first_difference(tmp_path: Path, label: str, difference: str) -> None:
    with pytest.raises(UnusableError) as caught:
        checked_against(tmp_path, label, mei(QUARTERS.format("", "d", "")))
    assert caught.value.reason == "semantic and MEI differ"
    assert difference in caught.value.detail


@pytest.mark.parametrize(
    "document",
    ["<mei/>", mei('<fTrem><note dur="4" oct="4" pname="c"/></fTrem>'), mei("", key="mixed")],
)
def test_an_mei_that_cannot_be_read_checks_nothing(tmp_path: Path, document: str) -> None:
    label = "clef-G2 note-C#5_quarter note-C#5_quarter"
    assert checked_against(tmp_path, label, document) == "clef-G2 note-C#5_quarter note-C5_quarter"


@pytest.mark.parametrize("document", ["", mei(QUARTERS.format("", "d", ""))[:-40]])
def test_an_mei_that_broke_off_is_damaged(tmp_path: Path, document: str) -> None:
    with pytest.raises(UnusableError, match="MEI is damaged: "):
        checked_against(tmp_path, "clef-G2 timeSignature-2/4 note-C5_quarter note-D5_quarter", document)


def test_without_an_mei_nothing_is_checked(tmp_path: Path) -> None:
    assert checked(parse("clef-G2 rest-half"), tmp_path / "nothing.mei") == parse("clef-G2 rest-half")
