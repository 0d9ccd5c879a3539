"""What is to be prepared, as the command line says it: a frozen dataclass, checked when it is built."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from datasets.addresses import is_address, joined, working_folder
from datasets.command_line import check_choice, check_range
from datasets.errors import ConfigError
from datasets.manifest import CORPORA as CORPORA
from datasets.manifest import Settings
from datasets.mixture import data_names, parts_of, root_of
from datasets.sources import SOURCES, Source
from datasets.staff import STAFF_SIZES, StaffSize


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What can be said of a corpus wherever one is named: `datasets.prepare`, a training, a search.

    Attributes:
        root: the user's files: a folder, or an archive as it was downloaded. For a mixture a folder that holds such
            by the corpora's names (`cpms`, `grandstaff.tgz`).
        accidentals, images, mei, split: options of some of the sources; "" is the source's own choice.
        limit: how many staves (of each part of a mixture that is to be prepared); None for as many as the source
            makes of this size.
    """

    root: str = ""
    accidentals: str = ""
    images: str = ""
    mei: str = ""
    split: str = ""
    limit: int | None = None

    @property
    def options(self) -> dict[str, str]:
        """The options that are chosen."""
        chosen = {name: getattr(self, name) for name in ("accidentals", "images", "mei", "split")}
        return {name: choice for name, choice in chosen.items() if choice}

    def choices(self) -> dict[str, Any]:
        """All of them by name, to be handed on."""
        return {each.name: getattr(self, each.name) for each in fields(Choices)}


@dataclass(frozen=True, kw_only=True)
class PrepareConfig(Choices):
    """The fields of the command line.

    Attributes:
        data: a source, a named mixture, or sources joined by `+`.
        staff: a name in `STAFF_SIZES`, or `auto`: short ones of the embedded corpus, else full ones.
        max_rejects: stop if more than this share of the pieces gives no staff.
        seed: of the choice and order of pieces and of the typography.
        workers: processes; None for one a core.
        corpora: the folder that the corpus's folder is made in; or an address, where it is published.
        overwrite: replace a corpus that was prepared with other settings; the parts of a mixture never are.
    """

    data: str = "engraved"
    staff: str = "auto"
    max_rejects: float = 0.9
    seed: int = 0
    workers: int | None = None
    corpora: str = field(default_factory=lambda: str(CORPORA))
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_choice("staff", self.staff, ["auto", *STAFF_SIZES])
        check_range("seed", self.seed, 0)
        check_range("max_rejects", self.max_rejects, 0, 1)
        for name in ("limit", "workers"):
            if (value := getattr(self, name)) is not None:
                check_range(name, value, 1)
        if self.parts:
            self._check_mixture()
        else:
            self._check_source()

    def _check_source(self) -> None:
        check_choice("data", self.data, data_names())
        for name, chosen in self.options.items():
            self._check_option(name, chosen)
        if self.size.staves not in self.source.staves_an_image:
            fitting = [size.name for size in STAFF_SIZES.values() if size.staves in self.source.staves_an_image]
            raise ConfigError(f"staff={self.staff}: not with data={self.data}, which has {', '.join(fitting)}")

    def _check_mixture(self) -> None:
        names = [part.data for part in self.parts]
        for option, chosen in self.options.items():
            if not any(option in part.options for part in self.parts):
                raise ConfigError(f"{option}={chosen}: not an option of any of {', '.join(names)}")
        if self.root and not any(part.root for part in self.parts):
            raise ConfigError(
                f"root={self.root}: for data={self.data} it is a folder that holds those of its corpora, or their "
                f"archives, by the names {', '.join(names)}; it holds none of them"
            )

    @property
    def parts(self) -> tuple[PrepareConfig, ...]:
        """How each corpus of a mixture is prepared; nothing for any other corpus."""
        return tuple(self._part(name) for name in parts_of(self.data))

    def _part(self, name: str) -> PrepareConfig:
        source = SOURCES[name]
        root = root_of(name, Path(self.root)) if self.root else ""
        foreign: dict[str, Any] = {option: "" for option in self.options if option not in source.options}
        return replace(self, data=name, staff=self.size.name, root=root, overwrite=False, **foreign)

    @property
    def source(self) -> Source:
        return SOURCES[self.data]

    @property
    def size(self) -> StaffSize:
        """The image that every staff fits into."""
        if self.staff != "auto":
            return STAFF_SIZES[self.staff]
        source = SOURCES.get(self.data)
        return STAFF_SIZES[source.default_staff if source else Source.default_staff]

    @property
    def folder(self) -> Path:
        """Where the corpus is, or will be, on this machine."""
        return working_folder(self.corpora) / self.name

    @property
    def name(self) -> str:
        """The name of that folder."""
        return f"{self.data}-{self.size.name}"

    @property
    def address(self) -> str | None:
        """Where it is published; None for a plain folder."""
        return joined(self.corpora, self.name) if is_address(self.corpora) else None

    @property
    def settings(self) -> Settings:
        """What decides the contents."""
        return Settings(
            data=self.data,
            staff=self.size.name,
            seed=self.seed,
            limit=self.limit or (None if self.root else self.source.default_limit(self.size)),
            recipe=self.source.recipe,
            root=str(Path(self.root).resolve()) if self.root else None,
            options={name: self.options.get(name, choices[0]) for name, choices in self.source.options.items()},
        )

    def command(self) -> str:
        """The command that prepares it, with a placeholder for the files where they are needed and not named."""
        needs_root = not self.parts and self.source.needs_root
        named = {
            "data": self.data,
            "staff": self.size.name,
            "root": self.root or ("<folder or archive>" if needs_root else ""),
            **self.options,
            "limit": self.limit or "",
            "seed": self.seed or "",
            "corpora": self.corpora if self.corpora != str(CORPORA) else "",
        }
        return " ".join(["python -m datasets.prepare", *(f"{name}={value}" for name, value in named.items() if value)])

    def _check_option(self, name: str, chosen: str) -> None:
        choices = self.source.options.get(name)
        if choices is None:
            with_it = ", ".join(known for known, source in SOURCES.items() if name in source.options)
            raise ConfigError(f"{name}={chosen}: not an option of data={self.data}, but of {with_it}")
        check_choice(name, chosen, choices)
