import math
from statistics import NormalDist

import numpy as np
import pytest

from results.statistics import (
    difference_interval,
    largest_deviations,
    resampled_rates,
    ser_interval,
    share_interval,
    simultaneous_quantile,
    student_quantile,
)


def corpus(works: int, staves: int, seed: int, between: float = 0.1) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Staves whose error rate is 0.3 on the whole, and differs from work to work."""
    rng = np.random.default_rng(seed)
    rate = np.clip(rng.normal(0.3, between, works), 0, 1).repeat(staves)
    lengths = rng.integers(10, 30, works * staves)
    return rng.binomial(lengths, rate), lengths, [f"work-{work}" for work in np.arange(works).repeat(staves)]


def test_the_interval_holds_the_estimate() -> None:
    distances, lengths, works = corpus(40, 5, seed=0)
    low, high = ser_interval(distances, lengths, works)
    assert low < distances.sum() / lengths.sum() < high


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    """200 corpora: 95 % is 190; fewer than 176 or more than 199 has a chance below 1 in 1,000."""
    intervals = [ser_interval(*corpus(40, 3, seed), resamples=500) for seed in range(200)]
    assert 176 <= sum(low < 0.3 < high for low, high in intervals) <= 199


def test_staves_of_one_work_count_for_less_than_staves_of_many() -> None:
    distances, lengths, works = corpus(20, 20, seed=1)
    low, high = ser_interval(distances, lengths, works)
    alone_low, alone_high = ser_interval(distances, lengths, [str(staff) for staff in range(len(works))])
    assert high - low > 1.5 * (alone_high - alone_low)


def test_a_seed_repeats_and_the_order_of_staves_does_not_matter() -> None:
    distances, lengths, works = corpus(10, 3, seed=2)
    order = np.random.default_rng(0).permutation(len(works))
    shuffled = ser_interval(distances[order], lengths[order], [works[place] for place in order], seed=5)
    assert ser_interval(distances, lengths, works, seed=5) == pytest.approx(shuffled)
    assert ser_interval(distances, lengths, works, seed=6) != shuffled


def test_a_higher_level_is_wider() -> None:
    distances, lengths, works = corpus(10, 3, seed=3)
    low, high = ser_interval(distances, lengths, works, level=0.99)
    inner_low, inner_high = ser_interval(distances, lengths, works, level=0.5)
    assert low < inner_low < inner_high < high


def test_a_rate_above_one_is_reported_as_it_is() -> None:
    low, high = ser_interval([30, 50], [10, 10], ["a", "b"])
    assert (low, high) == (3.0, 5.0)


@pytest.mark.parametrize(
    ("distances", "lengths", "works"),
    [
        pytest.param([], [], [], id="no staves"),
        pytest.param([1, 2], [5, 5], ["a", "a"], id="one work"),
        pytest.param([1, 2], [0, 0], ["a", "b"], id="nothing to read"),
    ],
)
def test_no_interval_where_there_is_no_telling(distances: list[int], lengths: list[int], works: list[str]) -> None:
    assert all(map(math.isnan, ser_interval(distances, lengths, works)))


def test_works_without_symbols_do_not_divide_by_zero() -> None:
    low, high = ser_interval([1, 0, 2], [10, 0, 0], ["a", "b", "c"])
    assert 0 < low <= high


def test_pairing_shows_what_two_intervals_hide() -> None:
    distances, lengths, works = corpus(40, 3, seed=4, between=0.15)
    worse = distances + (np.arange(len(works)) % 4 == 0)
    low, high = difference_interval(distances, worse, lengths, works)
    assert 0 < low < high
    assert ser_interval(worse, lengths, works)[0] < ser_interval(distances, lengths, works)[1]


def test_a_setting_does_not_differ_from_itself() -> None:
    distances, lengths, works = corpus(10, 3, seed=5)
    assert difference_interval(distances, distances, lengths, works) == (0.0, 0.0)


def test_students_t_is_that_of_the_tables() -> None:
    for freedom, tail, value in ((1, 0.025, 12.706), (4, 0.025, 2.776), (10, 0.005, 3.169), (10_000, 0.05, 1.645)):
        assert student_quantile(tail, freedom) == pytest.approx(value, abs=1e-3)


def deviations(settings: int, alike: bool = False) -> np.ndarray:
    """Of settings that differ by chance on 60 works, each on its own or all in the same way."""
    difference_XW = np.random.default_rng(9).normal(size=(settings, 60))
    shared = difference_XW[:1] + 0.01 * difference_XW
    return largest_deviations(resampled_rates(shared if alike else difference_XW, np.full(60, 10.0)))


def test_the_largest_of_many_differences_is_larger_than_one() -> None:
    """One: that of Student's t. Many that are not related: near Bonferroni's. Many of a kind: near one's."""
    many = student_quantile(0.025 / 20, 59)
    quantiles = {
        name: simultaneous_quantile(deviations(*what), what[0], 0, 0.05, 60)
        for name, what in (("one", (1,)), ("many", (20,)), ("alike", (20, True)))
    }
    assert quantiles["one"] == pytest.approx(student_quantile(0.025, 59), rel=0.05)
    assert quantiles["many"] == pytest.approx(many, rel=0.1)
    assert quantiles["alike"] < 1.1 * quantiles["one"]


def test_settings_that_are_not_seen_make_the_largest_larger() -> None:
    quantiles = [simultaneous_quantile(deviations(5), 5, unseen, 0.05, 60) for unseen in (0, 1, 5, 50)]
    assert quantiles == sorted(quantiles)
    assert len(set(quantiles)) == 4


def test_fewer_works_and_smaller_chances_make_the_largest_larger() -> None:
    few, many = (simultaneous_quantile(deviations(5), 5, 0, 0.05, works) for works in (8, 1000))
    assert few > 1.15 * many
    seldom, never_seen = (simultaneous_quantile(deviations(5), 5, 0, alpha, 60) for alpha in (0.01, 1e-5))
    assert many < seldom < never_seen


def test_a_tail_that_the_resamples_show_is_not_taken_for_a_normal_one() -> None:
    """Heavier than normal; seen as far as ten resamples lie beyond, and not held against the settings further out."""
    heavy = np.sort(np.abs(np.random.default_rng(0).standard_t(3, 2000)))
    normal = NormalDist()
    for alpha, seen in ((0.05, True), (0.01, True), (0.002, False)):
        bonferroni = -normal.inv_cdf(alpha / 2)
        shown = heavy[-round(alpha * len(heavy))]
        assert shown > 1.1 * bonferroni
        expected = shown if seen else bonferroni
        assert simultaneous_quantile(heavy, 1, 0, alpha, 10**6) == pytest.approx(expected, rel=1e-3)


def test_few_works_stretch_the_quantile_as_far_out_as_it_lies() -> None:
    """Without resamples it is Bonferroni's among Student's t, exactly."""
    for settings in (1, 20):
        assert simultaneous_quantile(np.empty(0), 0, settings, 0.05, 10) == pytest.approx(
            student_quantile(0.025 / settings, 9)
        )


def test_settings_that_do_not_vary_say_nothing() -> None:
    assert len(largest_deviations(resampled_rates(np.zeros((3, 10)), np.ones(10)))) == 0
    assert simultaneous_quantile(np.empty(0), 1, 0, 0.05, 60) == pytest.approx(student_quantile(0.025, 59))


def test_the_share_of_independent_staves_has_wilsons_interval() -> None:
    """10 of 100: 0.0552 to 0.1744 (Wilson 1927, without a correction of continuity)."""
    hits = np.arange(100) % 10 == 0

    assert share_interval(hits.astype(int), [str(work) for work in range(100)]) == pytest.approx(
        (0.0552, 0.1744), abs=5e-5
    )


def test_a_share_of_staves_that_agree_within_a_work_is_told_by_the_works() -> None:
    hits, works = (np.arange(100) % 10 == 0).astype(int), [str(work) for work in range(100)]

    tenfold = share_interval(hits.repeat(10), list(np.repeat(works, 10)))

    assert tenfold == pytest.approx(share_interval(hits, works), rel=0.02)
    assert share_interval([1] * 50, ["a", "b"] * 25) == pytest.approx(share_interval([1, 1], ["a", "b"]))
    assert all(map(math.isnan, share_interval([1, 0], ["a", "a"])))


def test_the_share_interval_covers_where_works_differ() -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rate = rng.beta(1, 4, 60)  # mean 0.2
        hits = rng.binomial(1, rate.repeat(5))
        low, high = share_interval(hits, [str(work) for work in np.arange(60).repeat(5)])
        covered += low <= 0.2 <= high

    assert 182 <= covered <= 198
