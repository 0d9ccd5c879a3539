"""The branch vocabularies: sizes, encoding, what is lacking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import ConfigError, VocabularyError
from datasets.notation import Symbol, format_semantic, parse
from datasets.vocabulary import BOS, EOS, NO_NOTE, PAD, VOCABULARIES, Vocabulary, vocabulary
from tests.strategies import sounding_staves, symbol_salad

CORPORA = Path(__file__).parents[3] / "shared" / "data"
PRIMUS_VOCABULARY = CORPORA / "primus_example" / "vocabulary_semantic.txt"

every_vocabulary = pytest.mark.parametrize("words", VOCABULARIES.values(), ids=list(VOCABULARIES))
vocabularies = st.sampled_from(list(VOCABULARIES.values()))


@pytest.mark.parametrize(("name", "rhythms"), [("full", 260), ("reduced", 70)])
def test_sizes_are_those_of_the_paper_and_of_the_training_log(name: str, rhythms: int) -> None:
    words = vocabulary(name)

    assert (len(words.rhythm), len(words.pitch), len(words.lift)) == (rhythms, 71, 7)
    assert words.version == f"{name}-1"


@every_vocabulary
def test_tokens_are_distinct_and_begin_as_the_model_expects(words: Vocabulary) -> None:
    for branch in (words.rhythm, words.pitch, words.lift):
        assert len(set(branch)) == len(branch)
    assert (words.rhythm[PAD], words.rhythm[BOS], words.rhythm[EOS]) == ("[PAD]", "[BOS]", "[EOS]")
    assert words.pitch[NO_NOTE] == words.lift[NO_NOTE] == "nonote"
    assert (words.pitch[1], words.pitch[-1]) == ("C0", "B9")


@every_vocabulary
def test_every_rhythm_is_a_token_of_the_encoding(words: Vocabulary) -> None:
    for token, is_note in zip(words.rhythm[3:], words.note_rhythm_mask[3:], strict=True):
        symbol = Symbol(token, "C4") if is_note else Symbol(token)
        assert token == "|" or parse(str(symbol)) == [symbol]


def test_encoding_puts_a_staff_between_begin_and_end() -> None:
    words = vocabulary("full")
    symbols = parse("clef-G2 note-F#4_quarter|note-D4_quarter barline")

    tokens = words.encode(symbols)

    assert [words.rhythm[i] for i in tokens.rhythm[1:-1]] == [symbol.rhythm for symbol in symbols]
    assert [words.pitch[i] for i in tokens.pitch[1:-1]] == ["nonote", "F4", "nonote", "D4", "nonote"]
    assert [words.lift[i] for i in tokens.lift[1:-1]] == ["nonote", "lift_#", "nonote", "lift_null", "nonote"]
    assert tokens.note.tolist() == [0, 0, 1, 0, 1, 0, 0]
    assert (tokens.rhythm[0], tokens.rhythm[-1]) == (BOS, EOS)
    assert tokens.pitch[[0, -1]].tolist() == tokens.lift[[0, -1]].tolist() == [NO_NOTE, NO_NOTE]
    assert tokens.rhythm.dtype == np.int64


def test_a_strip_without_music_is_begin_and_end() -> None:
    assert vocabulary("full").encode([]).rhythm.tolist() == [BOS, EOS]


@given(sounding_staves(), vocabularies)
def test_decoding_undoes_encoding(staff: list[Symbol], words: Vocabulary) -> None:
    symbols = words.reduce(staff)
    tokens = words.encode(symbols)

    assert words.decode(tokens.rhythm, tokens.pitch, tokens.lift) == symbols


@given(sounding_staves(), vocabularies)
def test_the_note_flag_agrees_with_the_rhythm(staff: list[Symbol], words: Vocabulary) -> None:
    tokens = words.encode(words.reduce(staff))

    assert np.array_equal(words.note_rhythm_mask[tokens.rhythm], tokens.note.astype(bool))


@given(symbol_salad(), vocabularies)
def test_reducing_twice_changes_nothing_more(symbols: list[Symbol], words: Vocabulary) -> None:
    once = words.reduce(symbols)

    assert words.reduce(once) == once


def test_decoding_stops_at_the_end_and_skips_padding() -> None:
    words = vocabulary("full")
    barline = words.rhythm.index("barline")
    rhythm = [BOS, barline, PAD, barline, EOS, barline]

    assert words.decode(rhythm, [0] * 6, [0] * 6) == parse("barline barline")


def test_the_rhythm_decides_what_is_a_note() -> None:
    words = vocabulary("full")
    quarter, rest = words.rhythm.index("note-quarter"), words.rhythm.index("rest-quarter")

    assert words.decode([quarter], [NO_NOTE], [NO_NOTE]) == [Symbol("note-quarter", "C0")]
    assert words.decode([rest], [words.pitch.index("F4")], [words.lift.index("lift_#")]) == [Symbol("rest-quarter")]


@pytest.mark.parametrize(
    ("label", "written"),
    [
        (
            "timeSignature-3/4 timeSignature-C timeSignature-C/",
            "timeSignature-/4 timeSignature-/4 timeSignature-/2",
        ),
        ("timeSignature-2/48 timeSignature-3/6", "timeSignature-/32 timeSignature-/4"),
        ("note-F#4_half._fermata rest-whole_fermata", "note-F#4_half. rest-whole"),
        ("note-C4_quarter.. note-C4_double_whole.", "note-C4_quarter. note-C4_double_whole"),
        ("multirest-23", "multirest"),
        ("gracenote-D5_eighth|gracenote-B4_eighth tie note-D5_half tie", "note-D5_half tie"),
        ("note-E4_half|note-C4_half barline", "note-E4_half|note-C4_half barline"),
    ],
)
def test_the_reduced_vocabulary_writes_more_simply(label: str, written: str) -> None:
    assert format_semantic(vocabulary("reduced").reduce(parse(label))) == written


@every_vocabulary
@pytest.mark.skipif(not PRIMUS_VOCABULARY.exists(), reason=f"no PrIMuS sample at {CORPORA}")
def test_every_token_of_primus_can_be_written(words: Vocabulary) -> None:
    words.check(PRIMUS_VOCABULARY.read_text().split(), where="PrIMuS")


def test_what_full_can_write_reduced_can_too() -> None:
    full, reduced = vocabulary("full"), vocabulary("reduced")
    symbols = [Symbol(t, "C4") if Symbol(t).is_note else Symbol(t) for t in full.rhythm[3:]]

    assert not reduced.missing(reduced.reduce(symbols))


def test_a_check_names_what_is_lacking_most_frequent_first() -> None:
    labels = ["timeSignature-7/32 barline", "multirest-500 timeSignature-7/32", "rest-quarter"]

    with pytest.raises(VocabularyError) as caught:
        vocabulary("full").check(labels, where="corpus fiddle")

    message = str(caught.value)
    assert message.startswith(
        "corpus fiddle: the vocabulary full-1 has no timeSignature-7/32 (2 x), multirest-500 (1 x);"
    )
    assert "full, reduced" in message


def test_a_check_shows_twenty_and_counts_the_rest() -> None:
    with pytest.raises(VocabularyError, match=r"\(1 x\) and 5 more;"):
        vocabulary("full").check([f"multirest-{bars}" for bars in range(300, 325)], where="corpus")


def test_encoding_what_is_lacking_names_it() -> None:
    with pytest.raises(VocabularyError, match="gracenote-quarter"):
        vocabulary("reduced").encode(parse("gracenote-C4_quarter"))
    with pytest.raises(VocabularyError, match="H9"):
        vocabulary("full").encode([Symbol("note-quarter", "H9")])


def test_an_unknown_vocabulary_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match="full, reduced"):
        vocabulary("ful")
