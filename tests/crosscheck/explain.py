"""Every reason for a difference, in the order in which they are tried."""

from __future__ import annotations

from tests.crosscheck.abc_rules import ABC_RULES
from tests.crosscheck.bars import Bar
from tests.crosscheck.compare import Difference
from tests.crosscheck.score_rules import SCORE_RULES

RULES = (*ABC_RULES, *SCORE_RULES)


def explanation(difference: Difference, suffix: str, text: str) -> str:
    """The reason of the first rule that holds, or "" where none does.

    Args:
        suffix, text: of the source.
    """
    nothing = Bar("", "")
    ours, theirs = difference.ours or nothing, difference.theirs or nothing
    for rule in RULES:
        if suffix in rule.suffixes and difference.aspect in rule.aspects and rule.holds(ours, theirs, text):
            return rule.reason
    return ""
