"""On what terms the music and the pictures of a corpus may be used, as far as whoever publishes them says so.

Only what was found is said, and where; it was looked up in November 2026, and is no legal advice. A model is not under
its data's licence by itself, but whoever passes one on has to know what it was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

UNKNOWN = "see the corpus's own terms"


@dataclass(frozen=True)
class Terms:
    """Attributes.

    corpus: its name in words.
    says: what its publisher says of its use.
    found: where that stands, "" for nowhere.
    """

    corpus: str
    says: str = UNKNOWN
    found: str = ""


_MUSIC21 = (
    "distributed with music21 by permission of the encoders and as US copyright law permits; some pieces may not be "
    "used commercially, or have other restrictions of their own"
)
_OF_MUSIC21 = "corpus/license.txt in the music21 package"


def _tunes(collection: str) -> Terms:
    return Terms(f"{collection}, as music21 ships it", _MUSIC21, _OF_MUSIC21)


TERMS: Mapping[str, Terms] = {
    "airdsAirs": _tunes("James Aird's Airs"),
    "miscFolk": _tunes("American fife music and Northumbrian minstrelsy"),
    "oneills1850": _tunes("O'Neill's Music of Ireland"),
    "ryansMammoth": _tunes("Ryan's Mammoth Collection"),
    "chorales": _tunes("Bach's chorales"),
    "piano": _tunes("Piano music"),
    "essenFolksong": Terms(
        "Essen folksong collection, as music21 ships it",
        "NON-COMMERCIAL distribution and use only; its legal status is called unclear, as many people entered the data",
        "corpus/essenFolksong/license.txt in the music21 package",
    ),
    "camera_primus": Terms(
        "Camera-PrIMuS or PrIMuS",
        f"no licence was found, and a catalogue of such corpora lists it as unknown; {UNKNOWN}",
        "https://grfia.dlsi.ua.es/primus/ and https://github.com/apacha/OMR-Datasets",
    ),
    "grandstaff": Terms(
        "GrandStaff", f"no licence was found; {UNKNOWN}", "https://sites.google.com/view/multiscore-project/datasets"
    ),
    "cpms": Terms(
        "Camera Printed Music Staves (CPMS)",
        f"its README names no licence; {UNKNOWN}",
        "https://github.com/itec-hust/CPMS",
    ),
    "diw": Terms(
        "Strips without music: Documents in the Wild (DIW) where its pictures were given, else drawn by this project",
        "the repository that links DIW is under the MIT licence, which speaks of software; its pictures have none of "
        "their own",
        "https://github.com/cvlab-stonybrook/PaperEdge",
    ),
    "photographed": Terms("Photographs out of a folder of the user's", "the terms of whoever gave the folder"),
    "scores": Terms("Scores out of a folder of the user's", "the terms of whoever gave the folder"),
}
"""By the `source` of a staff."""


def terms(source: str) -> Terms:
    """What is known of a source; of one that nobody has looked up, that its own terms hold."""
    return TERMS.get(source, Terms(source))
