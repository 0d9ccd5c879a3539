"""The embedded corpus: the contract of every corpus, and what is its own."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from datasets.seeds import seed_from
from datasets.shards import PreparedCorpus
from datasets.sources import EngravedSource, Harvest, Piece, Reject, Request, UnusableError, by_name
from datasets.sources.engraved import COLLECTIONS, STAVES_OF_A_TUNE
from datasets.staff import STAFF_SIZES
from tests.contracts.corpus import CorpusContract, FilesContract
from tests.corpora import scores

REQUEST = Request(size=STAFF_SIZES["short"])


class TestEngraved(CorpusContract):
    data = "engraved"


class TestEngravedFull(CorpusContract):
    data = "engraved"
    staff = "full"
    limit = 12


class TestEngravedGrand(CorpusContract):
    data = "engraved"
    staff = "grand"
    limit = 12


class TestScoresOfAUser(FilesContract):
    data = "engraved"
    outcomes: ClassVar[dict[str, str]] = {
        "good": "accepted",
        "with spaces, and commas": "accepted",
        "cut_short": "not well-formed XML",
        "no_picture_at_all": "not well-formed XML",
        "._leftover": "not seen",
    }

    @classmethod
    def make_root(cls, folder: Path) -> str:
        scores.make(folder, 21)
        return str(folder)

    @classmethod
    def picture(cls) -> bytes:  # type: ignore[override]
        return scores.music_xml(1000).encode()

    @classmethod
    def label(cls) -> bytes:  # type: ignore[override]
        return b""

    @classmethod
    def add(cls, root: Path, name: str, picture: bytes | None, label: bytes | None) -> None:
        del label
        assert picture is not None
        own_music = scores.music_xml(seed_from(0, name)).encode()  # the same twice would stand in two splits
        scores.add(root, name, own_music if picture == cls.picture() else picture)


def test_every_staff_of_a_users_score_and_every_tune_of_a_book_is_taken(tmp_path: Path) -> None:
    scores.make(tmp_path, 3)
    source, request = EngravedSource(), Request(size=STAFF_SIZES["full"], root=tmp_path)
    names = {staff.staff_id for piece in source.pieces(request) for staff in source.staves(piece, request).staves}
    assert names == {
        "piano/piece 0.musicxml/staff-1/1",
        "piano/piece 0.musicxml/staff-2/1",
        "songs/piece 1.musicxml/staff-1/1",
        "songs/piece 2.musicxml/staff-1/1",
        "songs/book.abc/1/staff-1/1",
        "songs/book.abc/2/staff-1/1",
        "songs/book.abc/3/staff-1/1",
    }


def harvest_of(folder: Path, name: str, score: str) -> Harvest:
    """What a user's folder with one score gives."""
    (folder / name).write_text(score, encoding="utf-8")
    request = Request(size=STAFF_SIZES["full"], root=folder)
    (piece,) = EngravedSource().pieces(request)
    return EngravedSource().staves(piece, request)


def test_a_staff_that_cannot_be_read_costs_itself_alone(tmp_path: Path) -> None:
    bass = "<clef><sign>F</sign><line>4</line></clef>"
    octave_below = "<clef><sign>G</sign><line>2</line><clef-octave-change>-1</clef-octave-change></clef>"
    harvest = harvest_of(tmp_path, "song.musicxml", scores.music_xml(0, parts=2).replace(bass, octave_below))
    assert [staff.staff_id for staff in harvest.staves] == ["song.musicxml/staff-1/1"]
    assert harvest.rejects == (Reject("song.musicxml/staff-2", "octave clef"),)


def test_no_measure_of_a_users_score_is_lost_where_the_image_ends(tmp_path: Path) -> None:
    harvest = harvest_of(tmp_path, "chant.abc", "X:1\nM:4/4\nL:1/1\nK:C\n" + "c|" * 40)  # wide for its symbols
    assert harvest.rejects == ()
    assert sum(staff.semantic.split().count("barline") for staff in harvest.staves) == 40


def test_what_follows_a_change_of_key_is_a_reject(tmp_path: Path) -> None:
    harvest = harvest_of(tmp_path, "air.abc", "X:1\nM:2/4\nL:1/8\nK:G\nABcd|\nK:D\nefga|\n")
    assert len(harvest.staves) == 1
    assert harvest.rejects == (Reject("air.abc", "music after a change of key is left out"),)


def test_a_tune_in_several_voices_is_rejected(tmp_path: Path) -> None:
    duet = "X:1\nM:2/4\nL:1/8\nK:G\nV:1\nABcd|\nV:2\nGABc|\n"
    with pytest.raises(UnusableError, match="ABC in several voices"):
        harvest_of(tmp_path, "duet.abc", duet)
    with pytest.raises(UnusableError, match="ABC in several voices"):
        EngravedSource().staves(Piece("folk/duet", "folk/duet", "duet", duet), REQUEST)


def test_a_users_score_may_take_longer_than_a_tune() -> None:
    of_a_user = Request(size=STAFF_SIZES["full"], root=Path("scores"))
    assert EngravedSource().seconds_a_piece(of_a_user) > EngravedSource().seconds_a_piece(REQUEST)


def test_the_grand_staves_of_a_users_piano_music_are_taken(tmp_path: Path) -> None:
    scores.make(tmp_path, 3)
    source, request = EngravedSource(), Request(size=STAFF_SIZES["grand"], root=tmp_path)
    harvests: dict[str, Harvest | str] = {}
    for piece in source.pieces(request):
        try:
            harvests[piece.name] = source.staves(piece, request)
        except UnusableError as error:
            harvests[piece.name] = error.reason
    piano = harvests.pop("piano/piece 0.musicxml")
    assert isinstance(piano, Harvest)
    assert [staff.staff_id for staff in piano.staves] == ["piano/piece 0.musicxml/1"]
    assert piano.staves[0].semantic.count("clef-") == 2
    assert piano.staves[0].source == "scores"
    assert set(harvests.values()) == {"no grand staff"}


def test_settings_of_one_chorale_tune_stand_in_one_split() -> None:
    pieces = EngravedSource().pieces(Request(size=STAFF_SIZES["grand"]))
    groups = {piece.work.removeprefix("chorales/"): piece.group for piece in pieces}
    # "O Haupt voll Blut und Wunden" in E minor, F major and A minor
    assert groups["bwv244.15"] == groups["bwv244.54"] == groups["bwv270"]
    assert len(set(groups.values())) > 200


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
    limits = [source.default_limit(size) or 0 for size in STAFF_SIZES.values() if size.staves == 1]
    assert min(limits) >= 6000
    assert len(source.pieces(REQUEST)) > max(limits)


def test_one_title_means_one_split() -> None:
    by_title: dict[str, set[str]] = {}
    for piece in EngravedSource().pieces(REQUEST):
        by_title.setdefault(piece.group, set()).add(piece.split)
    assert max(map(len, by_title.values())) == 1


def test_two_sources_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two sources are called engraved"):
        by_name([EngravedSource(), EngravedSource()])
