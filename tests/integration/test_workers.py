"""Workers may die; the rest goes on."""

from __future__ import annotations

import os
import time

import pytest

from datasets.workers import Failure, Workers

CRASHES, HANGS, FAILS = 3, 5, 7


def square(number: int) -> int:
    if number == CRASHES:
        os.abort()
    if number == HANGS:
        time.sleep(60)
    if number == FAILS:
        raise ArithmeticError("no square today")
    return number * number


def test_a_crash_and_a_timeout_cost_one_task_each_and_order_is_kept() -> None:
    with Workers(square, count=2, timeout=2.0) as workers:
        results = list(workers.map([1, 2, CRASHES, 4, HANGS, 6]))
    assert results == [1, 4, Failure("the reader crashed"), 16, Failure("took longer than 2 s"), 36]


def test_a_fault_of_ours_is_not_hidden() -> None:
    with Workers(square, count=1) as workers, pytest.raises(ArithmeticError, match="no square today"):
        list(workers.map([1, FAILS]))
