"""What the best model still gets wrong: one section of a study's page, all of it from the samples of one trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omr_model.layout import ATTENTION_FILE
from omr_model.metrics import percent
from results.page.blocks import Block, Picture, Prose, Section
from results.page.calibration import calibration_blocks
from results.page.confusion import confusion_blocks
from results.page.rates import Group, Grouping, by_class, groupings, hard_groups, percent_range, rate_blocks
from results.page.readings import ReadStaff, read_staves
from results.page.staves import staves_blocks
from results.ranking import RankedTrial
from results.samples import Samples
from results.statistics import share_interval
from results.study import StudyRecord

MOST_OF_THE_ERRORS = 2 / 3  # the classes that are named make so much of them
NAMED_GROUPS = 3


def mistakes_section(study: StudyRecord, trial: RankedTrial, samples: Samples, exported: Path | None) -> Section:
    """The section "What the best model still gets wrong".

    Args:
        study: what `study.json` says; its corpus has the staves' pictures.
        trial: the one that the study ends with.
        samples: what the trials of the study read; without rows of the trial's last epoch, the section says so.
        exported: folder of the exported trial, which may have a picture of the attention.
    """
    staves = read_staves(samples, trial)
    blocks: list[Block] = []
    if not staves:
        blocks.append(
            Prose(paragraphs=[f"What trial {trial.number} read is not known: the samples of its last epoch are gone."])
        )
    else:
        classes, grouped = by_class(staves), groupings(staves)
        blocks += [
            Prose(paragraphs=summary(trial, staves, classes, hard_groups(staves, grouped))),
            *staves_blocks(staves, study.corpus),
            *confusion_blocks(staves),
            *rate_blocks(staves, classes, grouped),
            *calibration_blocks(staves),
        ]
    return Section(
        name="mistakes", title="What the best model still gets wrong", blocks=[*blocks, *_attention(exported)]
    )


def summary(
    trial: RankedTrial, staves: Sequence[ReadStaff], classes: Sequence[Group], hard: Sequence[tuple[Grouping, Group]]
) -> list[str]:
    """In words: how many staves are right, which errors there are most of, and on which staves.

    Args:
        trial: the one that the study ends with.
        staves: that it read.
        classes: of its errors (`results.page.rates.by_class`).
        hard: groups of the staves (`results.page.rates.hard_groups`).
    """
    perfect = [staff.distance == 0 for staff in staves]
    share = sum(perfect) / len(staves)
    interval = share_interval([int(one) for one in perfect], [staff.work for staff in staves])
    told = (
        f"Trial {trial.number} reads {sum(perfect):,} of {len(staves):,} validation staves without an error "
        f"({percent(share)}{percent_range(interval, ', 95 % interval {}')})."
    )
    return [text for text in (f"{told} {_class_words(classes)}".strip(), _group_words(hard)) if text]


def _class_words(classes: Sequence[Group]) -> str:
    """The classes that make most of the errors."""
    total = sum(one.edits.distance for one in classes)
    if not total:
        return ""
    named, sum_named = [], 0
    for one in classes:
        named.append(f"{one.name} ({percent(one.edits.distance / total)})")
        sum_named += one.edits.distance
        if sum_named >= MOST_OF_THE_ERRORS * total:
            break
    listed = f"{', '.join(named[:-1])} and {named[-1]}" if named[1:] else named[0]
    return f"Of its {total:,} errors, most are in {listed}."


def _group_words(hard: Sequence[tuple[Grouping, Group]]) -> str:
    """The groups of staves that are plainly harder than all of them."""
    if not hard:
        return ""
    told = ", ".join(
        f"{grouping.name} {group.name} (SER {group.ser}{percent_range((group.low, group.high), ', 95 % interval {}')})"
        for grouping, group in hard[:NAMED_GROUPS]
    )
    return f"Plainly harder than the rest, by more than looking at many groups explains: {told}."


def _attention(exported: Path | None) -> list[Block]:
    if exported is None or not (exported / ATTENTION_FILE).is_file():
        return []
    return [
        Picture(
            name="attention",
            title="Where the model looks",
            image=(exported / ATTENTION_FILE).read_bytes(),
            description="The attention of the model over a staff, one strip for each symbol that it read.",
            caption=(
                "Cross-attention of the decoder over one staff, averaged over layers and heads: for each symbol, from "
                "top to bottom, where on the staff the model looked as it wrote it."
            ),
        )
    ]
