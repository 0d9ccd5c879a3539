"""The embedded corpus: the contract of every corpus, and what is its own."""

from __future__ import annotations

import pytest

from datasets.shards import PreparedCorpus
from datasets.sources import EngravedSource, Request, by_name
from datasets.sources.engraved import COLLECTIONS, STAVES_OF_A_TUNE, before_key_change, normalised_title
from datasets.staff import STAFF_SIZES
from tests.contracts.corpus import CorpusContract

REQUEST = Request(size=STAFF_SIZES["short"])


class TestEngraved(CorpusContract):
    data = "engraved"


class TestEngravedFull(CorpusContract):
    data = "engraved"
    staff = "full"
    limit = 20


def test_all_collections_take_part(corpus: PreparedCorpus) -> None:
    assert set(corpus.staves("train").sources()) == set(COLLECTIONS)


def test_the_source_of_a_staff_is_the_collection_of_its_tune(corpus: PreparedCorpus) -> None:
    staves = corpus.staves("train")
    assert corpus.manifest.sources.keys() == set(COLLECTIONS)
    assert staves.sources() == [staff.work.partition("/")[0] for staff in staves]
    assert staves.sources() == [staff.source for staff in staves]


def test_a_tune_gives_few_staves(corpus: PreparedCorpus) -> None:
    works = [staff.work for split in corpus.manifest.splits for staff in corpus.staves(split)]
    assert max(works.count(work) for work in works) <= STAVES_OF_A_TUNE


def test_there_are_enough_tunes_for_both_sizes() -> None:
    source = EngravedSource()
    limits = [source.default_limit(size) or 0 for size in STAFF_SIZES.values()]
    assert min(limits) >= 6000
    assert len(source.pieces(REQUEST)) > max(limits)


@pytest.mark.parametrize(
    ("title", "normalised"),
    [
        ("The Bonnie Lass -- Reel", "bonnie lass"),
        ("Bonny Lass, The", "bonny lass"),
        ("Das Mädchen", "madchen"),
        ("Saint Patrick's Day", "saint patricks day"),
        ("The Reel", "the reel"),
    ],
)
def test_titles_are_compared_by_their_words(title: str, normalised: str) -> None:
    assert normalised_title(title) == normalised


def test_one_title_means_one_split() -> None:
    by_title: dict[str, set[str]] = {}
    for piece in EngravedSource().pieces(REQUEST):
        by_title.setdefault(piece.group, set()).add(piece.split)
    assert max(map(len, by_title.values())) == 1


@pytest.mark.parametrize(
    ("abc", "kept"),
    [
        ("K:G\nAB|cd|\n", "K:G\nAB|cd|\n"),
        ("K:G\nAB|cd|\nK:D\nef|", "K:G\nAB|cd|"),
        ("K:G\nAB|c[K:D]d|", "K:G\nAB|"),
    ],
)
def test_a_tune_ends_where_its_key_changes(abc: str, kept: str) -> None:
    assert before_key_change(abc) == kept


def test_two_sources_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two sources are called engraved"):
        by_name([EngravedSource(), EngravedSource()])
