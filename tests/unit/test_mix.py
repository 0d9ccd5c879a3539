"""The training mix: what is drawn how often, in an order that depends on nothing but the seed and the count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import ConfigError
from datasets.pictures.distortion import distort
from datasets.seeds import seed_from
from datasets.shards import PreparedCorpus
from datasets.vocabulary import BOS, EOS, PAD, vocabulary
from omr_model.config import MixConfig
from omr_model.data import EpochOrder, StaffDataset, TrainingStaves, beginning, collate
from omr_model.mix import NEGATIVE, Draw, MixPlan, Stock, check_weights
from tests.models import printed_on

SEEDS = st.integers(0, 2**32)
SOURCES = st.lists(st.sampled_from("abc"), min_size=1, max_size=25).map(lambda names: ["a", *names])
MIXES = st.builds(
    MixConfig,
    weights=st.fixed_dictionaries({"a": st.floats(0.05, 3)}),
    negatives=st.none() | st.floats(0, 0.9),
    lengths=st.integers(1, 4),
)


def passes(plan: MixPlan, count: int) -> list[list[Draw]]:
    """The first passes of a plan."""
    return [list(plan.draws(number * plan.size, plan.size)) for number in range(count)]


def staves(draws: Iterable[Draw]) -> list[int]:
    return [draw.position for draw in draws if draw.position != NEGATIVE]


def drawn_by(order: EpochOrder, epochs: Iterable[int]) -> list[Draw]:
    draws: list[Draw] = []
    for epoch in epochs:
        order.epoch = epoch
        draws += [draw for batch in order for draw in batch]
    return draws


@given(sources=SOURCES, seed=SEEDS)
def test_by_default_a_pass_is_every_staff_once_and_whole(sources: list[str], seed: int) -> None:
    for drawn in passes(MixPlan(Stock(sources), MixConfig(), seed), 3):
        assert sorted(draw.position for draw in drawn) == list(range(len(sources)))
        assert not any(draw.cut for draw in drawn)


@given(seed=SEEDS)
def test_passes_are_shuffled_across_sources_and_differ(seed: int) -> None:
    sources = ["a"] * 40 + ["b"] * 40
    first, second = (staves(drawn) for drawn in passes(MixPlan(Stock(sources), MixConfig(), seed), 2))
    assert first != second
    assert 5 < sum(position < 40 for position in first[:40]) < 35
    assert first != staves(MixPlan(Stock(sources), MixConfig(), seed + 1).draws(0, 80))


@given(sources=SOURCES, mix=MIXES, seed=SEEDS)
def test_weights_hold_within_rounding_and_every_staff_of_a_source_has_its_turn(
    sources: list[str], mix: MixConfig, seed: int
) -> None:
    drawn = [draw for one in passes(MixPlan(Stock(sources), mix, seed), 4) for draw in one if draw.position != NEGATIVE]
    whole = Counter(draw.position for draw in drawn if not draw.cut)
    for source in set(sources):
        of_source = [whole[position] for position, name in enumerate(sources) if name == source]
        wanted = mix.weights.get(source, 1.0) * len(of_source)
        taken, rest = divmod(sum(of_source), 4)
        assert rest == 0
        assert abs(taken - wanted) <= 0.5 or (taken == 1 and wanted < 1)
        assert max(of_source) - min(of_source) <= 1  # nobody twice before everybody once


@given(sources=SOURCES, mix=MIXES, seed=SEEDS)
def test_a_staff_is_drawn_once_whole_and_otherwise_cut(sources: list[str], mix: MixConfig, seed: int) -> None:
    for drawn in passes(MixPlan(Stock(sources), mix, seed), 2):
        whole = Counter(staves(draw for draw in drawn if not draw.cut))
        cut = Counter(draw.position for draw in drawn if draw.cut)
        assert cut == Counter({position: (mix.lengths - 1) * times for position, times in whole.items()})


@given(sources=SOURCES, mix=MIXES, seed=SEEDS)
def test_negatives_have_their_share_of_every_pass(sources: list[str], mix: MixConfig, seed: int) -> None:
    for drawn in passes(MixPlan(Stock(sources), mix, seed), 2):
        music = len(staves(drawn))
        share = mix.negatives or 0
        exact = music * share / (1 - share)
        assert abs(len(drawn) - music - exact) <= 0.5
        assert not any(draw.cut for draw in drawn if draw.position == NEGATIVE)


@st.composite
def stocks(draw: st.DrawFn) -> Stock:
    """Staves of some sources, each with its own weight; one of them may be strips without music."""
    sources = draw(SOURCES)
    weights = draw(st.dictionaries(st.sampled_from("abc"), st.floats(0.05, 1)))
    silent = draw(st.sampled_from(["", "b", "c"]))
    return Stock(sources, [position for position, name in enumerate(sources) if name == silent], weights)


@given(stock=stocks(), mix=MIXES, seed=SEEDS)
def test_no_staff_of_a_source_comes_again_before_the_last_of_them(stock: Stock, mix: MixConfig, seed: int) -> None:
    drawn = [draw for one in passes(MixPlan(stock, mix, seed), 5) for draw in one if draw.position != NEGATIVE]
    for source in set(stock.sources):
        times: Counter[int] = Counter({position: 0 for position, name in enumerate(stock.sources) if name == source})
        for draw in drawn:
            if not draw.cut and draw.position in times:
                assert times[draw.position] == min(times.values())
                times[draw.position] += 1


@given(stock=stocks(), lengths=st.integers(1, 3), seed=SEEDS)
def test_with_natural_weights_no_corpus_is_begun_anew_before_all_others_are_used_up(
    stock: Stock, lengths: int, seed: int
) -> None:
    """Runs 3 to 77 of the training log mixed their corpora so."""
    everything = Counter(range(len(stock.sources)))
    for drawn in passes(MixPlan(Stock(stock.sources, stock.without_music), MixConfig(lengths=lengths), seed), 3):
        assert Counter(draw.position for draw in drawn if not draw.cut) == everything


@given(stock=stocks(), seed=SEEDS)
def test_the_weights_of_the_corpus_and_those_of_the_training_multiply(stock: Stock, seed: int) -> None:
    halves = {source: 0.5 * stock.weights.get(source, 1.0) for source in set(stock.sources)}
    once = MixPlan(Stock(stock.sources, stock.without_music, halves), MixConfig(), seed)
    both = MixPlan(stock, MixConfig(weights=dict.fromkeys(halves, 0.5)), seed)
    assert list(once.draws(0, 50)) == list(both.draws(0, 50))


def test_the_corpuss_own_negatives_are_drawn_where_it_has_some() -> None:
    stock = Stock(["a"] * 30 + ["strips"] * 10, range(30, 40))
    for share, wanted in ((None, 10), (0.0, 0), (0.1, 3), (0.5, 30)):
        plan = MixPlan(stock, MixConfig(negatives=share), seed=0)
        assert (plan.negatives, plan.taken) == (wanted, {"a": 30})
        strips = Counter(draw.position for draw in plan.draws(0, 2 * plan.size) if draw.position >= 30)
        assert strips.total() == 2 * wanted
        assert set(strips) <= set(range(30, 40))
        assert not any(draw.position == NEGATIVE for draw in plan.draws(0, plan.size))


def test_the_strips_of_a_corpus_are_never_cut() -> None:
    plan = MixPlan(Stock(["a"] * 3 + ["strips"] * 4, range(3, 7)), MixConfig(lengths=3), seed=0)
    assert plan.size == 3 * 3 + 4
    assert {draw.position for draw in plan.draws(0, 100) if draw.cut} == {0, 1, 2}


def test_a_weight_of_strips_is_how_many_of_them_a_pass_has() -> None:
    stock = Stock(["a"] * 30 + ["strips"] * 10, range(30, 40))
    assert MixPlan(stock, MixConfig(weights={"strips": 0.5}), seed=0).negatives == 5
    assert MixPlan(stock, MixConfig(weights={"strips": 0}), seed=0).negatives == 0


def test_strips_alone_are_nothing_to_train_on() -> None:
    with pytest.raises(ConfigError, match="no source of staves with music has a weight above 0"):
        MixPlan(Stock(["strips"] * 3, range(3)), MixConfig(), seed=0)


def test_negatives_stand_everywhere_in_a_pass() -> None:
    drawn = passes(MixPlan(Stock(["a"] * 300), MixConfig(negatives=0.25), seed=0), 1)[0]
    assert len(drawn) == 400
    for start in range(0, 400, 100):
        assert 10 < 100 - len(staves(drawn[start : start + 100])) < 40


def test_a_weight_of_two_draws_twice_and_of_zero_never() -> None:
    plan = MixPlan(Stock(["a"] * 10 + ["b"] * 6 + ["c"] * 5), MixConfig(weights={"a": 2, "b": 0}), seed=1)
    for drawn in passes(plan, 3):
        assert Counter(staves(drawn)) == Counter(dict.fromkeys(range(10), 2)) + Counter(range(16, 21))


def test_half_a_weight_shows_a_source_in_two_passes() -> None:
    first, second = (
        staves(drawn) for drawn in passes(MixPlan(Stock(["a"] * 10), MixConfig(weights={"a": 0.5}), seed=1), 2)
    )
    assert (len(first), sorted(first + second)) == (5, list(range(10)))


def test_another_source_does_not_change_whose_turn_it_is() -> None:
    mix = MixConfig(weights={"a": 0.5})
    alone, beside = (MixPlan(Stock(["a"] * 10 + more), mix, seed=1) for more in ([], ["b"] * 7))
    for one, other in zip(passes(alone, 3), passes(beside, 3), strict=True):
        assert sorted(staves(one)) == sorted(position for position in staves(other) if position < 10)


@given(sources=SOURCES, mix=MIXES, seed=SEEDS, first=st.integers(0, 150), count=st.integers(1, 60))
def test_a_draw_depends_on_its_number_and_the_seed_alone(
    sources: list[str], mix: MixConfig, seed: int, first: int, count: int
) -> None:
    from_the_start = list(MixPlan(Stock(sources), mix, seed).draws(0, first + count))
    assert list(MixPlan(Stock(sources), mix, seed).draws(first, count)) == from_the_start[first:]


def test_every_draw_has_a_seed_of_its_own() -> None:
    plans = (MixPlan(Stock(["a"] * 5), MixConfig(negatives=0.5, lengths=3), seed) for seed in (0, 1))
    assert len({draw.seed for plan in plans for draw in plan.draws(0, 500)}) == 1000


def test_unknown_sources_are_refused_and_the_known_ones_named() -> None:
    with pytest.raises(ConfigError, match=r"train\.mix\.weights\.organ: .* no such source; there are folk, jigs"):
        MixPlan(Stock(["jigs", "folk"]), MixConfig(weights={"organ": 2.0}), seed=0)


def test_a_mix_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.mix\.weights: .* above 0, but none of folk, jigs"):
        check_weights(MixConfig(weights={"folk": 0, "jigs": 0}), {"folk", "jigs"})
    check_weights(MixConfig(weights={"folk": 0}), {"folk", "jigs"})


# Epochs ---------------------------------------------------------------------------------------------------


@given(
    sources=SOURCES,
    mix=MIXES,
    per_epoch=st.none() | st.integers(1, 70),
    batch_size=st.integers(1, 9),
    accumulation=st.integers(1, 4),
)
def test_epochs_are_whole_steps_of_full_batches(
    sources: list[str], mix: MixConfig, per_epoch: int | None, batch_size: int, accumulation: int
) -> None:
    order = EpochOrder(MixPlan(Stock(sources), mix, seed=0), per_epoch, batch_size, accumulation)
    batches = list(order)
    assert len(batches) == len(order)
    assert {len(batch) for batch in batches} == {batch_size}
    steps, rest = divmod(len(batches), accumulation)
    assert rest == 0
    wanted = len(sources) if per_epoch is None else per_epoch
    assert steps == max(1, wanted // (batch_size * accumulation))


@given(sources=SOURCES, mix=MIXES, seed=SEEDS, epoch=st.integers(1, 5))
def test_a_resumed_order_draws_what_an_uninterrupted_one_would(
    sources: list[str], mix: MixConfig, seed: int, epoch: int
) -> None:
    def order() -> EpochOrder:
        return EpochOrder(MixPlan(Stock(sources), mix, seed), per_epoch=7, batch_size=3, accumulation=1)

    whole = drawn_by(order(), range(epoch + 1))
    assert whole[-6:] == drawn_by(order(), [epoch])
    assert whole == list(MixPlan(Stock(sources), mix, seed).draws(0, len(whole)))


# Samples --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(corpus: PreparedCorpus) -> StaffDataset:
    return StaffDataset(corpus.staves("train"), vocabulary("full"))


def test_a_cut_label_is_a_beginning_without_an_end(data: StaffDataset) -> None:
    whole = max(data.tokens, key=lambda tokens: len(tokens.rhythm))
    symbols = len(whole.rhythm) - 2
    lengths = set()
    for seed in range(300):
        cut = beginning(whole, seed)
        length = len(cut.rhythm)
        assert cut.rhythm[0] == BOS
        assert EOS not in cut.rhythm
        for branch in ("rhythm", "pitch", "lift", "note"):
            assert np.array_equal(getattr(cut, branch), getattr(whole, branch)[:length])
        lengths.add(length - 1)
    assert lengths == set(range(1, symbols))


@pytest.mark.parametrize("symbols", [0, 1])
def test_a_label_too_short_to_be_cut_stays_whole(data: StaffDataset, symbols: int) -> None:
    tokens = data.vocabulary.encode(printed_on(data, 0)[:symbols])
    assert all(np.array_equal(beginning(tokens, seed).rhythm, tokens.rhythm) for seed in range(5))


def test_a_plain_draw_is_the_staff_as_it_is(data: StaffDataset) -> None:
    samples = TrainingStaves(data, MixConfig())
    assert len(samples) == len(data)
    sample = samples[Draw(3, cut=False, seed=9)]
    assert np.array_equal(sample.image, data[3].image)
    assert np.array_equal(sample.tokens.rhythm, data[3].tokens.rhythm)


def test_a_cut_staff_is_padded_where_its_label_breaks_off(data: StaffDataset) -> None:
    samples = TrainingStaves(data, MixConfig(lengths=2))
    position = max(range(len(data)), key=lambda staff: len(data.tokens[staff].rhythm))
    whole, cut = samples[Draw(position, cut=False, seed=1)], samples[Draw(position, cut=True, seed=1)]
    assert np.array_equal(whole.image, cut.image)
    batch = collate([whole, cut])
    kept = len(cut.tokens.rhythm)
    assert 2 <= kept < batch.rhythm.shape[1] - 1
    assert batch.rhythm[0, :kept].equal(batch.rhythm[1, :kept])
    assert (batch.rhythm[1, kept:] == PAD).all()


def test_a_negative_is_an_image_with_an_empty_label(data: StaffDataset) -> None:
    samples = TrainingStaves(data, MixConfig(negatives=0.5))
    drawn = [samples[Draw(NEGATIVE, cut=False, seed=seed)] for seed in range(5)]
    assert {sample.image.shape for sample in drawn} == {(64, 256)}
    assert len({sample.image.tobytes() for sample in drawn}) == 5
    for sample in drawn:
        assert sample.tokens.rhythm.tolist() == [BOS, EOS]


def test_distortion_falls_on_staves_and_negatives_by_the_seed_of_the_draw(data: StaffDataset) -> None:
    clean, distorted = (TrainingStaves(data, MixConfig(distortion=strength)) for strength in (0.0, 0.5))
    for position in (0, NEGATIVE):
        draw = Draw(position, cut=False, seed=4)
        expected = distort(clean[draw].image, 0.5, seed_from(4, "distortion"))
        assert np.array_equal(distorted[draw].image, expected)
        assert not np.array_equal(expected, clean[draw].image)
    images = {distorted[Draw(0, cut=False, seed=seed)].image.tobytes() for seed in range(5)}
    assert len(images) == 5
