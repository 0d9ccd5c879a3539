"""ABC text: books cut into tunes, and tunes written so that Verovio's reader loses nothing of them."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

SUFFIX = ".abc"

_TUNE_START = re.compile(r"^(?=X:)", re.MULTILINE)
_FIELD_FOR_ALL = re.compile(r"^[LM]:.*\n", re.MULTILINE)  # those that a label depends on
_VOICE = re.compile(r"(?:^|\[)V:\s*([^\s\]]+)", re.MULTILINE)
_KEY = re.compile(r"^K:|\[K:", re.MULTILINE)
_TITLE = re.compile(r"^T:(.*)$", re.MULTILINE)
_NO_MUSIC = re.compile(r"[A-Za-z+]:|%|\s*$")  # a line of information, a comment, an empty one
_KINDS_OF_TUNE = frozenset(
    (
        *("a", "an", "and", "or", "the", "das", "der", "die", "ein", "eine"),
        *("air", "clog", "dance", "highland", "hornpipe", "jig", "march", "polka", "quickstep", "reel", "slip"),
        *("strathspey", "waltz"),
    )
)


def tunes_of(path: Path) -> list[str]:
    """The tunes of an ABC file, each with the meter and the length of notes that its header sets for all of them.

    Verovio would read the first tune alone, and nothing that stands before it.
    """
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    header, *tunes = _TUNE_START.split(text)
    for_all = "".join(_FIELD_FOR_ALL.findall(header))
    return [tune.replace("\n", f"\n{for_all}", 1) for tune in tunes] or [text]


def title_of(abc: str) -> str:
    """The first title as `normalised`; "" where there is none."""
    title = _TITLE.search(abc)
    return normalised(title[1]) if title else ""


def normalised(title: str) -> str:
    """A title as its words without accents, articles and kinds of tune: "The Bonnie Lass -- Reel" is "bonnie lass"."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower().replace("'", "")
    words = re.findall(r"[a-z0-9]+", plain)
    return " ".join([word for word in words if word not in _KINDS_OF_TUNE] or words)


def has_several_voices(abc: str) -> bool:
    """Whether a tune is in several voices, which Verovio's reader would put behind each other on one staff."""
    return len(set(_VOICE.findall(abc))) > 1


def changes_key(abc: str) -> bool:
    """Whether a tune goes on in another key, where `readable` ends it."""
    return len(_KEY.findall(abc)) > 1


def readable(abc: str) -> str:
    """A tune as Verovio's ABC reader needs it.

    Up to its first change of key, after which the reader would go on in the old one; with `:||:` for the `::` between
    two repeats, at which it sees no barline; and with a barline at the end, without which it drops the last measure.
    """
    lines = [line if _NO_MUSIC.match(line) else line.replace("::", ":||:") for line in abc.split("\n")]
    lines = _before_key_change("\n".join(lines)).split("\n")
    music = [number for number, line in enumerate(lines) if not _NO_MUSIC.match(line)]
    if any("|" in lines[number] for number in music):  # a tune may be without any
        line, percent, comment = lines[music[-1]].partition("%")
        if not line.rstrip().endswith(("|", "|]", ":")):
            lines[music[-1]] = f"{line.rstrip()}|{percent}{comment}"
    return "\n".join(lines)


def _before_key_change(abc: str) -> str:
    keys = list(_KEY.finditer(abc))
    if len(keys) < 2:
        return abc
    music = abc[: keys[1].start()]
    return music[: music.rindex("|") + 1] if "|" in music else music
