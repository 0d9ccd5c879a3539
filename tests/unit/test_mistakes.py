"""The page's section on what the best model still gets wrong: what it chooses, what it says, and what it can miss."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.images import encode_png
from datasets.notation import BARLINE, Symbol, parse_written
from datasets.shards import PreparedCorpus
from datasets.workers import Failure
from omr_model.metrics import align
from results.gather import gather
from results.page import rates
from results.page import staves as staves_module
from results.page.blocks import Block, Chart, Fold, Grid, Picture, Points, Prose, Row, Section
from results.page.mistakes import mistakes_section, summary
from results.page.rates import by_class
from results.page.readings import ReadStaff, read_staves
from results.page.staves import LEAST_SYMBOLS, Marked, choose, lines
from results.page.words import edit_list
from results.ranking import RankedTrial, rank
from results.samples import LoadedSamples, Samples
from results.statistics import Interval, ser_interval
from results.study import CorpusRecord, StudyRecord
from tests.strategies import symbol_salad
from tests.studies import FakeTrial, make_study, study_record


def read(prediction: str, reference: str, name: str = "w") -> ReadStaff:
    one, other = parse_written(prediction), parse_written(reference)
    return ReadStaff(name, name, "diw", one, other, align(one, other), None)


@pytest.fixture
def made_up(tmp_path: Path) -> tuple[StudyRecord, RankedTrial, Samples]:
    """A study without a corpus, its only trial and samples."""
    tables = gather(make_study(tmp_path, [FakeTrial(0, (0.5, 0.3, 0.3))]))
    return study_record(), rank(tables.trials)[0], tables.samples


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Verovio: what is marked stands in the drawing."""
    monkeypatch.setattr(staves_module, "engrave", lambda tasks: [f"<svg>{sorted(marked)}</svg>" for _, marked in tasks])


def every(blocks: Sequence[Block]) -> Iterator[Block]:
    for block in blocks:
        yield block
        if isinstance(block, (Fold, Row)):
            yield from every(block.blocks)


def texts(section: Section) -> str:
    return " ".join(text for block in every(section.blocks) if isinstance(block, Prose) for text in block.paragraphs)


# The staves ---------------------------------------------------------------------------------------------------


def test_the_worst_have_the_most_errors_per_symbol_and_the_median_ones_stand_in_the_middle() -> None:
    wrong = [read("tie " * count, "barline " * 20, f"{count:02}") for count in range(1, 21)]  # 20 errors in any case
    staves = [read("barline " * (20 - count), "barline " * 20, f"s{count:02}") for count in range(20)]
    worst, median = choose([*staves, read("tie", "barline " * (LEAST_SYMBOLS - 1), "short")])

    assert [one.staff.staff_id for one in worst] == ["s19", "s18", "s17", "s16", "s15", "s14"]
    assert {one.staff.staff_id for one in median} == {"s12", "s11", "s10", "s09", "s08", "s07"}
    assert [one.staff.staff_id for one in median[:3]] == ["s09", "s10", "s08"]
    assert [one.staff.staff_id for one in choose(wrong[::-1])[0]] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7, 9])
def test_few_staves_are_shown_once_each(count: int) -> None:
    worst, median = choose([read("tie", "barline " * 5, f"{number}") for number in range(count)])

    ids = [one.staff.staff_id for one in (*worst, *median)]
    assert sorted(ids) == [str(number) for number in range(count)]


@pytest.mark.parametrize(
    ("prediction", "reference", "told"),
    [
        ("barline note-C5_quarter", "barline note-D5_quarter", "bar 2: quarter note D5 read as C5"),
        ("note-F4_half.", "note-F#4_half.", "bar 1: dotted half note F♯4 read as F4"),
        ("note-F4_half", "note-F4_half_fermata", "bar 1: half note with fermata F4 read as half note F4"),
        ("rest-eighth", "gracenote-GN4_thirty_second", "bar 1: thirty-second grace note G♮4 read as eighth rest"),
        ("", "multirest-3", "bar 1: rest of 3 bars missed"),
        ("barline tie", "barline", "bar 2: tie made up"),
        ("keySignature-BbM", "keySignature-EbM", "bar 1: key signature of E♭ major read as key signature of B♭ major"),
        ("clef-G2", "clef-F4", "bar 1: F4 clef read as G2 clef"),
        ("timeSignature-C", "timeSignature-4/4", "bar 1: time signature 4/4 read as time signature C"),
        ("note-C4_half", "note-C4_half |", "bar 1: chord joiner missed"),
        ("note-C0_half", "note-C4_half", "bar 1: half note C4 read as half note without pitch"),
        ("tie tie tie", "", "bar 1: tie made up, 3 times"),
        (
            "clef-G2 keySignature-CM barline clef-F4 keySignature-CM barline",
            "clef-G2 keySignature-CM barline clef-F4 keySignature-CM barline rest-half",
            "lower staff, bar 2: half rest missed",
        ),
    ],
)
def test_an_error_is_told_in_words(prediction: str, reference: str, told: str) -> None:
    assert edit_list(read(prediction, reference)) == [told]


def test_every_error_is_marked_where_it_stands(corpus: PreparedCorpus, undrawn: None) -> None:  # noqa: ARG001
    section = of_corpus(corpus)

    pictures = {block.name: block for block in every(section.blocks) if isinstance(block, Picture)}
    chosen = next(staff for staff in damaged(corpus) if staff[0] in caption(pictures, "worst-1-seen"))
    places = [place for place, symbol in enumerate(parse_written(chosen[2])) if symbol.is_note]
    assert pictures["worst-1-printed"].image == f"<svg>{places}</svg>"
    assert pictures["worst-1-read"].image == f"<svg>{places}</svg>"


@given(st.lists(st.tuples(symbol_salad(), symbol_salad()), max_size=8))
def test_the_lines_of_a_staff_hold_every_symbol_and_every_mark(bars: list[tuple[list[Symbol], list[Symbol]]]) -> None:
    prediction = [symbol for bar, _ in bars for symbol in (*bar, Symbol(BARLINE))]
    reference = [symbol for _, bar in bars for symbol in (*bar, Symbol(BARLINE))]
    staff = ReadStaff("s", "w", "diw", prediction, reference, align(prediction, reference), None)
    wrong = [pair for pair in staff.pairs if staff.differs(pair)]

    for side, symbols in ((1, prediction), (0, reference)):
        drawn = [line[side] for line in lines(staff)]
        repeated = sum(len(line) for line, _ in drawn) - len(symbols)
        assert 0 <= repeated <= 2 * (len(drawn) - 1)
        marks = [line[place] for line, marked in drawn for place in sorted(marked)]
        assert marks == [symbols[pair[1 - side]] for pair in wrong if pair[1 - side] is not None]


def test_a_long_staff_is_cut_where_both_have_a_barline_and_a_line_begins_with_what_holds_there() -> None:
    bar = "note-C4_quarter " * 12 + "barline "
    staff = read("clef-G2 keySignature-DM " + bar * 4, "clef-F4 keySignature-DM " + bar * 4)

    (first, first_read), (second, second_read) = lines(staff)

    assert [len(line) for line, _ in (first, first_read, second, second_read)] == [28, 28, 28, 28]
    assert (first[1], first_read[1], second[1], second_read[1]) == ({0}, {0}, set(), set())
    assert [str(symbol) for symbol in second[0][:3]] == ["clef-F4", "keySignature-DM", "note-C4_quarter"]


def caption(pictures: dict[str, Picture], name: str) -> str:
    return pictures[name].caption


# A whole section --------------------------------------------------------------------------------------------------


def damaged(corpus: PreparedCorpus) -> list[tuple[str, str, str]]:
    """(staff_id, prediction, reference) of the validation staves: every note is read as a note without pitch."""
    staves = corpus.staves("validation")
    found = []
    for place in range(len(staves)):
        reference = staves.semantic(place).replace("|", " ")
        prediction = [replace(one, pitch="C0") if one.is_note else one for one in parse_written(reference)]
        found.append((staves.staff_id(place), " ".join(map(str, prediction)), reference))
    return found


def of_corpus(corpus: PreparedCorpus, content_hash: str | None = None, exported: Path | None = None) -> Section:
    trial = RankedTrial(1, "t", 4, "completed", 0, "", None, 3, 0.5, None, None, None, {})
    rows = [
        {"trial_id": "t", "epoch": 3, "staff_id": name, "work": name, "source": "engraved"}
        | {"prediction": prediction, "reference": reference, "confidences": [0.5] * len(parse_written(prediction))}
        for name, prediction, reference in damaged(corpus)
    ]
    record = CorpusRecord("engraved-short", str(corpus.path), content_hash or corpus.manifest.content_hash)
    read = LoadedSamples(pa.Table.from_pylist(rows))
    return mistakes_section(replace(study_record(), corpus=record), trial, read, exported)


def test_the_chosen_staves_are_shown_as_they_were_seen_and_engraved(corpus: PreparedCorpus) -> None:
    pictures = {block.name: block for block in every(of_corpus(corpus).blocks) if isinstance(block, Picture)}

    seen = pictures["worst-1-seen"]
    staves = corpus.staves("validation")
    (place,) = (place for place in range(len(staves)) if f"`{staves.staff_id(place)}`" in seen.caption)
    assert seen.image == encode_png(staves.image(place))
    for part in ("printed", "read"):
        drawing = pictures[f"worst-1-{part}"].image
        assert isinstance(drawing, str)
        assert "<svg" in drawing
        assert "wrong" in drawing


def test_a_section_says_in_words_what_its_figures_show(
    made_up: tuple[StudyRecord, RankedTrial, Samples],
    undrawn: None,  # noqa: ARG001
) -> None:
    section = mistakes_section(*made_up, None)
    blocks = list(every(section.blocks))

    names = [block.name for block in blocks if isinstance(block, (Chart, Grid, Picture))]
    assert len(names) == len(set(names))
    assert {"ser-by-class", "confusion-rhythm", "confusions", "worst-1-read", "median-3-printed"} <= set(names)
    assert all(block.description.strip() for block in blocks if isinstance(block, (Chart, Picture)))
    assert all(block.caption for block in blocks if isinstance(block, (Chart, Grid)))
    assert all(json.dumps(block.spec, allow_nan=False) for block in blocks if isinstance(block, Chart))
    assert "bar 1: bar line missed" in [
        point for block in blocks if isinstance(block, Points) for point in block.points
    ]
    assert "Whether the model knows how sure it may be" in texts(section)


def test_every_interval_is_drawn_once(
    made_up: tuple[StudyRecord, RankedTrial, Samples],
    monkeypatch: pytest.MonkeyPatch,
    undrawn: None,  # noqa: ARG001
) -> None:
    drawn: list[object] = []

    def counted(*counts: Any) -> Interval:
        drawn.append(counts)
        return ser_interval(*counts)

    monkeypatch.setattr(rates, "ser_interval", counted)
    section = mistakes_section(*made_up, None)
    rows = {block.name: len(block.rows) for block in every(section.blocks) if isinstance(block, Grid)}
    assert len(drawn) == rows["errors-by-class"] + rows["ser-by-group"]


def test_the_summary_counts_what_is_right_and_names_the_classes_that_make_most_errors() -> None:
    staves = [
        read("clef-G2 note-C4_half barline", "clef-G2 note-C4_half barline", "a"),
        read("clef-G2 note-D4_half barline", "clef-G2 note-C4_half barline", "b"),
        read("clef-G2 note-D4_half barline", "clef-G2 note-C4_half barline", "c"),
        read("clef-G2 note-C4_half", "clef-G2 note-C4_half barline", "d"),
    ]
    trial = RankedTrial(1, "t", 4, "completed", 0, "", None, 3, 0.5, None, None, None, {})

    assert summary(trial, staves, by_class(staves), []) == [
        "Trial 4 reads 1 of 4 validation staves without an error (25.0 %, 95 % interval 4.6 to 69.9 %). Of its 3 "
        "errors, most are in pitch (66.7 %)."
    ]
    assert summary(trial, staves[:1], by_class(staves[:1]), []) == [
        "Trial 4 reads 1 of 1 validation staves without an error (100.0 %)."
    ]


# What it does without ------------------------------------------------------------------------------------------------


def test_without_samples_it_says_so(made_up: tuple[StudyRecord, RankedTrial, Samples]) -> None:
    study, trial, samples = made_up

    section = mistakes_section(study, replace(trial, epochs=99), samples, None)

    assert "the samples of its last epoch are gone" in texts(section)


def test_a_trial_without_an_error_leaves_nothing_to_confuse(
    made_up: tuple[StudyRecord, RankedTrial, Samples],
    undrawn: None,  # noqa: ARG001
) -> None:
    study, trial, samples = made_up
    table = samples.table()
    perfect = LoadedSamples(table.set_column(table.column_names.index("prediction"), "prediction", table["reference"]))

    section = mistakes_section(study, trial, perfect, None)

    assert "reads 24 of 24 validation staves without an error" in texts(section)
    assert "Nothing is confused" in texts(section)
    assert "(read without an error)" in texts(section)


def test_without_the_corpus_or_with_another_one_there_are_no_pictures_and_the_reason(
    made_up: tuple[StudyRecord, RankedTrial, Samples],
    corpus: PreparedCorpus,
    undrawn: None,  # noqa: ARG001
) -> None:
    gone, changed = mistakes_section(*made_up, None), of_corpus(corpus, content_hash="0123")

    assert "no prepared corpus here" in texts(gone)
    assert "prepared anew since the study" in texts(changed)
    for section in (gone, changed):
        pictures = [block for block in every(section.blocks) if isinstance(block, Picture)]
        assert pictures
        assert not [picture.name for picture in pictures if isinstance(picture.image, bytes)]


@pytest.mark.parametrize("reason", ["the reader crashed", "the page would grow too large"])
def test_what_cannot_be_engraved_stands_as_text_with_the_reason(
    made_up: tuple[StudyRecord, RankedTrial, Samples], monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    def refuse(tasks: Sequence[Marked]) -> list[str | Failure]:
        return [Failure(reason) if "crashed" in reason else "<svg>" + "x" * 2_000_000 for _ in tasks]

    monkeypatch.setattr(staves_module, "engrave", refuse)
    section = mistakes_section(*made_up, None)

    assert not [block for block in every(section.blocks) if isinstance(block, Picture)]
    assert f"(Not engraved: {reason}.)" in texts(section)


def test_the_attention_is_shown_where_the_export_has_it(
    made_up: tuple[StudyRecord, RankedTrial, Samples],
    tmp_path: Path,
    undrawn: None,  # noqa: ARG001
) -> None:
    assert "attention" not in [
        block.name for block in every(mistakes_section(*made_up, tmp_path).blocks) if isinstance(block, Picture)
    ]
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "attention.png").write_bytes(b"a picture")

    last = mistakes_section(*made_up, tmp_path).blocks[-1]

    assert isinstance(last, Picture)
    assert last.image == b"a picture"


def test_samples_are_read_back_with_their_confidences_and_of_the_last_epoch_alone() -> None:
    trial = RankedTrial(1, "t", 0, "completed", 0, "", None, 2, 0.5, None, None, None, {})
    row = {"trial_id": "t", "staff_id": "s", "work": "w", "source": "diw", "reference": "note-C4_half|note-E4_half"}
    rows = [
        row | {"epoch": 1, "prediction": "", "confidences": []},
        row | {"epoch": 2, "prediction": "note-C4_half||note-E4_half", "confidences": [0.9, 0.5, 0.4, 0.9]},
    ]

    (staff,) = read_staves(LoadedSamples(pa.Table.from_pylist(rows)), trial)

    assert (staff.distance, staff.length) == (1, 3)
    assert staff.confidences == [0.9, 0.5, 0.4, 0.9]
