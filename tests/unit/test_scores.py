"""Score files of every format, and their labels."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import pytest

from datasets.notation import format_semantic
from datasets.scores import score as scores
from datasets.scores.mei import MeiError
from datasets.scores.missing_accidentals import missing_accidentals, print_accidentals
from datasets.scores.score import SUFFIXES, grand_label, label, read_score, read_staves, score_bytes

SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "grandstaff_musicxml"

KERN = """**kern\t**kern
*clefF4\t*clefG2
*k[b-]\t*k[b-]
*M2/4\t*M2/4
=1\t=1
8.CL 8.EL\t4r
16DnJk\t.
4BB-\t8ccL
.\t8dd#XJ
=2\t=2
2C\t2cc
==\t==
*-\t*-
"""
BEKERN = """**bekern_1.0\t**bekern_1.0
*clefF4\t*clefG2
*k[b-]\t*k[b-]
*M2/4\t*M2/4
=1\t=1
8@.@C·L 8@.@E·L\t4@r
16@D@n·J·k\t.
4@BB@-\t8@cc·L
.\t8@dd@#@X·J
=2\t=2
2@C\t2@cc
==\t==
*-\t*-
"""


def music_xml(notes: str = "", fifths: int = 0) -> str:
    notes = (
        notes
        or "<note><pitch><step>C</step><octave>5</octave></pitch><duration>1</duration><type>quarter</type></note>"
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><score-partwise version="3.1"><part-list><score-part id="P1">'
        '<part-name>a</part-name></score-part></part-list><part id="P1"><measure number="1"><attributes>'
        f"<divisions>1</divisions><key><fifths>{fifths}</fifths></key><time><beats>1</beats><beat-type>4</beat-type>"
        f"</time><clef><sign>G</sign><line>2</line></clef></attributes>{notes}</measure></part></score-partwise>"
    )


def altered(step: str, alter: int, tie: str = "") -> str:
    ties = f'<notations><tied type="{tie}"/></notations>' if tie else ""
    return (
        f"<note><pitch><step>{step}</step><alter>{alter}</alter><octave>5</octave></pitch><duration>1</duration>"
        f"<type>quarter</type>{ties}</note>"
    )


def zipped(files: dict[str, str]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return data.getvalue()


CONTAINER = '<container><rootfiles><rootfile full-path="deep/er.musicxml"/></rootfiles></container>'
MEI = (
    '<mei xmlns="http://www.music-encoding.org/ns/mei"><music><body><mdiv><score><scoreDef meter.count="1" '
    'meter.unit="4"><staffGrp><staffDef n="1" lines="5" clef.shape="G" clef.line="2"/></staffGrp></scoreDef><section>'
    '<measure><staff n="1"><layer n="1"><note pname="c" oct="5" dur="4"/></layer></staff></measure></section></score>'
    "</mdiv></body></music></mei>"
)


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        (".abc", b"X:1\nT:a\nM:1/4\nL:1/4\nK:C\nc|\n"),
        (".krn", b"**kern\n*clefG2\n*k[]\n*M1/4\n=1\n4cc\n=\n*-\n"),
        (".mei", MEI.encode()),
        (".musicxml", music_xml().encode()),
        (".xml", music_xml().encode()),
        (".musicxml", music_xml().replace("UTF-8", "UTF-16").encode("utf-16")),
        (".musicxml", b"\xef\xbb\xbf" + music_xml().encode()),
        (".mxl", zipped({"META-INF/container.xml": CONTAINER, "deep/er.musicxml": music_xml()})),
        (".pae", b"@clef:G-2\n@keysig:\n@timesig:1/4\n@data:''4C/\n"),
    ],
)
def test_the_same_measure_reads_the_same_in_every_format(suffix: str, data: bytes) -> None:
    semantic = format_semantic(label(read_score(data, suffix), 0))
    assert semantic == "clef-G2 keySignature-CM timeSignature-1/4 note-C5_quarter barline"


def test_basic_extended_kern_is_kern_in_pieces() -> None:
    kern, bekern = read_score(KERN.encode(), ".krn"), read_score(BEKERN.encode(), ".bekrn")
    assert len(read_staves(kern)) == 2
    assert grand_label(kern) == grand_label(bekern)


def test_the_upper_staff_of_a_kern_score_comes_first_and_a_clef_parts_the_two() -> None:
    semantic = format_semantic(grand_label(read_score(KERN.encode(), ".krn")))
    assert semantic == (
        "clef-G2 keySignature-FM timeSignature-2/4 rest-quarter note-C5_eighth note-D#5_eighth barline note-C5_half "
        "barline clef-F4 keySignature-FM timeSignature-2/4 note-E3_eighth.|note-C3_eighth. "
        "note-DN3_sixteenth note-B2_quarter barline note-C3_half barline"
    )


@pytest.mark.parametrize(
    ("suffix", "data", "reason"),
    [
        (".txt", b"", "no score format is called .txt"),
        (".mei", b"<mei", "not well-formed XML"),
        (".musicxml", music_xml()[:-200].encode(), "not well-formed XML"),
        (".musicxml", b"<score-partwise/>", "a score without music"),
        (".krn", b"no music at all", "a score without music"),
        (".krn", KERN.replace("8.CL 8.EL", "4CL 4EL").encode(), "a bar that does not add up"),
        (".bekrn", BEKERN.replace("4@r", "2@r").encode(), "a bar that does not add up"),
        (".mxl", b"PK\x03\x04 not really", "not a zipped MusicXML file"),
        (".mxl", zipped({"score.xml": music_xml()}), "not a zipped MusicXML file"),
        (".mxl", zipped({"META-INF/container.xml": CONTAINER}), "not a zipped MusicXML file"),
    ],
)
def test_a_file_that_is_no_score_says_why(suffix: str, data: bytes, reason: str) -> None:
    with pytest.raises(MeiError, match=reason):
        read_score(data, suffix)


def test_no_file_is_read_that_is_larger_than_any_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.krn"
    path.write_text(KERN)
    assert score_bytes(path) == KERN.encode()
    monkeypatch.setattr(scores, "_MAX_BYTES", len(KERN) - 1)
    with pytest.raises(MeiError, match="more than 0 MiB"):
        score_bytes(path)


def test_what_verovio_says_of_a_score_is_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MeiError):
        read_score(KERN.replace("4r", "2r").encode(), ".krn")
    assert capfd.readouterr().err == ""


def test_a_quarter_divided_into_nothing_is_a_problem_of_its_measure() -> None:
    data = music_xml().replace("<divisions>1</divisions>", "<divisions>0</divisions>").encode()
    with pytest.raises(MeiError, match="divided into nothing"):
        label(read_score(data, ".xml"), 0)


def test_a_label_gives_the_first_problem() -> None:
    lower = altered("C", 0) + "<backup><duration>1</duration></backup>"
    rest = "<note><rest/><duration>1</duration><voice>2</voice><type>quarter</type></note>"
    with pytest.raises(MeiError, match="a rest beneath a note"):
        label(read_score(music_xml(lower + rest).encode(), ".xml"), 0)


def test_a_score_that_prints_no_accidental_gets_those_that_it_needs() -> None:
    notes = altered("F", 1) + altered("F", 0) + altered("G", 1) + altered("G", 1) + altered("B", -1)
    semantic = format_semantic(label(read_score(music_xml(notes, fifths=1).encode(), ".xml"), 0))
    assert semantic.endswith(
        "note-F5_quarter note-FN5_quarter note-G#5_quarter note-G5_quarter note-Bb5_quarter barline"
    )


def test_a_tied_note_needs_no_accidental() -> None:
    notes = altered("G", 1, "start") + "</measure><measure>" + altered("G", 1, "stop")
    semantic = format_semantic(label(read_score(music_xml(notes).encode(), ".xml"), 0))
    assert semantic.endswith("note-G#5_quarter tie barline note-G5_quarter barline")


def test_a_score_that_prints_an_accidental_is_left_alone() -> None:
    printed = altered("G", 1).replace("</type>", "</type><accidental>sharp</accidental>")
    root = read_score(music_xml(printed + altered("F", 1)).encode(), ".xml").root
    before = ET.tostring(root)
    assert len(missing_accidentals(root)) == 1
    print_accidentals(root)
    assert ET.tostring(root) == before


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the GrandStaff samples are not on this machine")
def test_most_staves_of_real_piano_music_can_be_said() -> None:
    readable = total = 0
    for path in sorted(SAMPLES.rglob("[!.]*.musicxml"))[::35]:
        score = read_score(path.read_bytes(), path.suffix)
        for measures in read_staves(score):
            total += 1
            readable += not any(measure.problem for measure in measures)
    assert total == 40
    assert readable > 0.7 * total


def test_every_format_is_named() -> None:
    assert {".musicxml", ".mxl", ".krn", ".bekrn", ".mei", ".abc", ".pae"} <= set(SUFFIXES)
