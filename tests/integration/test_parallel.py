"""Two processes that train together learn what one learns: gradients, losses, SER, and from a checkpoint on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from datasets.errors import ConfigError, DivergedError
from datasets.shards import PreparedCorpus
from omr_model import checkpoint
from omr_model import trainer as trainer_module
from omr_model.compiled import compile_regions
from omr_model.config import LossConfig, TokenWeights, TrainingConfig
from omr_model.parallel import BY_ITSELF, Parallel, StoppedError
from omr_model.trainer import EpochRecord, Trainer
from tests.integration.test_training import GROUP_NORM, numbers
from tests.models import SMALL, training
from tests.ranks import Ranks, ranks_of

GROUP = dataclasses.replace(SMALL, backbone=dataclasses.replace(SMALL.backbone, **GROUP_NORM))
INCEPTION = dataclasses.replace(
    SMALL,
    backbone=dataclasses.replace(
        SMALL.backbone, family="inception_resnet_v2", layers=(1,), channels=(), basic=False, norm="batch"
    ),
)
DROPPING = dataclasses.replace(GROUP, decoder=dataclasses.replace(GROUP.decoder, dropout=0.3))
FOCAL = LossConfig(
    focal_gamma=2.0, label_smoothing=0.1, token_weights=TokenWeights(accidental=10.0, rest=3.0, barline=0.3)
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    with ranks_of(2, tmp_path_factory.mktemp("ranks")) as running:
        yield running


@dataclass(frozen=True)
class Learnt:
    """A few steps of a training: each step's losses, the first gradient and the weights after it."""

    losses: torch.Tensor
    gradient: torch.Tensor
    state: dict[str, torch.Tensor]


def first_step(parallel: Parallel, config: TrainingConfig, corpus: Path) -> Learnt:
    """One step of the optimiser, with the gradient before it."""
    trainer = Trainer(config, PreparedCorpus.open(corpus), parallel)
    trainer.model.train()
    gradient: list[torch.Tensor] = []

    def keep(step: int) -> None:
        gradient.append(torch.cat([weight.grad.flatten() for weight in trainer.model.parameters()]))  # type: ignore[union-attr]
        Trainer._step(trainer, step)

    trainer._step = keep  # type: ignore[method-assign]
    batches = iter(trainer.loader)
    losses = [trainer._learn(next(batches), index) for index in range(config.train.accumulation)]
    state = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    return Learnt(parallel.mean(torch.stack(losses)), gradient[0].clone(), state)


def train(parallel: Parallel, config: TrainingConfig, corpus: Path, keep: Path | None = None) -> list[dict[str, float]]:
    """A whole training's numbers; the checkpoint after its first epoch is kept where that is asked for."""
    trainer = Trainer(config, PreparedCorpus.open(corpus), parallel)

    def report(record: EpochRecord) -> None:
        if keep is not None and record.epoch == 1:
            checkpoint.save(trainer, record, keep)

    return numbers(trainer.fit(report))


def go_on(parallel: Parallel, config: TrainingConfig, corpus: Path, kept: Path) -> tuple[list[dict[str, float]], Any]:
    """The rest of a training, and what there was to say about its checkpoint."""
    trainer = Trainer(config, PreparedCorpus.open(corpus), parallel)
    restored = checkpoint.restore_newest(trainer, [kept])
    return numbers(trainer.fit()), restored.notes


@pytest.mark.parametrize(
    ("config", "tolerance"),
    [
        pytest.param(training(GROUP), 1e-5, id="group norm"),
        pytest.param(training(GROUP, loss=FOCAL), 1e-5, id="weighted losses"),
        pytest.param(training(GROUP, batch_size=4, accumulation=2), 1e-5, id="accumulation"),
        pytest.param(training(SMALL), 1e-5, id="batch norm"),
        pytest.param(training(INCEPTION), 1e-3, id="many batch norms"),  # whose rounding adds up
    ],
)
def test_the_gradient_is_one_processs(
    pair: Ranks, corpus: PreparedCorpus, config: TrainingConfig, tolerance: float
) -> None:
    alone = first_step(BY_ITSELF, config, corpus.path)
    shares = pair.run(first_step, config, corpus.path)
    scale = float(alone.gradient.abs().max())
    for share in shares:
        assert float((share.gradient - alone.gradient).abs().max()) < tolerance * scale
        torch.testing.assert_close(share.losses, alone.losses, rtol=1e-5, atol=1e-6)
        for name, tensor in share.state.items():  # buffers too, which are batch norms' running statistics
            torch.testing.assert_close(tensor, alone.state[name], rtol=1e-3, atol=3e-3, msg=name)
    assert all(torch.equal(shares[0].state[name], shares[1].state[name]) for name in alone.state)


def test_a_training_of_two_is_one_processs(pair: Ranks, corpus: PreparedCorpus) -> None:
    config = training(SMALL, epochs=2, staves_per_epoch=32, validation_staves=5)  # which do not divide by two
    alone = train(BY_ITSELF, config, corpus.path)
    first, second = pair.run(train, config, corpus.path)
    assert first == second
    for one, two in zip(alone, first, strict=True):
        assert close(one, two)


def test_it_goes_on_to_the_same_numbers_and_also_alone(pair: Ranks, corpus: PreparedCorpus, tmp_path: Path) -> None:
    config = training(DROPPING, epochs=2)
    [uninterrupted, other] = pair.run(train, config, corpus.path, tmp_path / "kept")
    assert uninterrupted == other
    for rest, notes in pair.run(go_on, config, corpus.path, tmp_path / "kept"):
        assert (rest, notes) == (uninterrupted[1:], ())
    rest, notes = go_on(BY_ITSELF, config, corpus.path, tmp_path / "kept")
    assert notes == ("2 processes had trained it, 1 go on: dropout is drawn differently",)
    assert rest[0]["epoch"] == 2
    assert rest[0]["train_loss"] == pytest.approx(uninterrupted[1]["train_loss"], rel=0.1)


def test_two_go_on_with_what_one_has_trained(pair: Ranks, corpus: PreparedCorpus, tmp_path: Path) -> None:
    config = training(GROUP, epochs=2)
    alone = train(BY_ITSELF, config, corpus.path, tmp_path / "kept")
    for rest, notes in pair.run(go_on, config, corpus.path, tmp_path / "kept"):
        assert notes == ("1 processes had trained it, 2 go on: dropout is drawn differently",)
        assert close(alone[1], rest[0])


def close(one: dict[str, float], two: dict[str, float]) -> bool:
    """Whether an epoch's numbers are the same; validation losses, means over batches, are of other batches."""
    assert one.keys() == two.keys()
    return all(
        two[name] == pytest.approx(value, rel=2e-2 if name.startswith("validation_loss") else 2e-3)
        for name, value in one.items()
    )


def random_numbers(parallel: Parallel, config: TrainingConfig, corpus: Path) -> float:
    Trainer(config, PreparedCorpus.open(corpus), parallel)
    return float(torch.rand(()))


def test_each_draws_its_own_dropout_from_the_same_weights(pair: Ranks, corpus: PreparedCorpus) -> None:
    config = training(GROUP)
    first, second = pair.run(random_numbers, config, corpus.path)
    assert first == random_numbers(BY_ITSELF, config, corpus.path)
    assert first != second


def spoilt(parallel: Parallel, config: TrainingConfig, corpus: Path) -> str:
    """What a training says on each rank if the second one's loss is no number."""
    trainer = Trainer(config, PreparedCorpus.open(corpus), parallel)
    if parallel.rank == 1:
        trainer.loss.rhythm_weights = torch.full_like(trainer.loss.rhythm_weights, float("nan"))
    try:
        trainer.fit()
    except DivergedError as error:
        return str(error)
    return ""


def test_what_diverges_on_one_has_diverged_on_all(pair: Ranks, corpus: PreparedCorpus) -> None:
    first, second = pair.run(spoilt, training(GROUP), corpus.path)
    assert first == second
    assert "no longer finite within 2 steps of epoch 1" in first


def ended_by_the_first(parallel: Parallel, config: TrainingConfig, corpus: Path) -> tuple[str, int]:
    """What ends a training on each rank if the first is told to stop, and after how many epochs."""
    trainer = Trainer(config, PreparedCorpus.open(corpus), parallel)

    def report(_: EpochRecord) -> None:
        raise SystemExit

    try:
        trainer.fit(report)
    except (SystemExit, StoppedError) as error:
        return type(error).__name__, trainer.epoch
    return "", trainer.epoch


def test_the_others_end_with_the_first(pair: Ranks, corpus: PreparedCorpus) -> None:
    assert pair.run(ended_by_the_first, training(GROUP), corpus.path) == [("SystemExit", 1), ("StoppedError", 1)]


def test_a_batch_that_cannot_be_shared_is_refused(corpus: PreparedCorpus) -> None:
    with pytest.raises(ConfigError, match=r"^train\.batch_size=8: 3 processes share every batch; .* multiple of 3$"):
        Trainer(training(), corpus, Parallel(0, 3))


def first_step_compiled(parallel: Parallel, config: TrainingConfig, corpus: Path) -> Learnt:
    """`first_step` as on a GPU, where blocks are compiled before the model is shared: traced, but run as they are."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trainer_module, "pays", lambda _: True)
        patched.setattr(
            trainer_module, "compile_regions", lambda model, loss: compile_regions(model, loss, backend="eager")
        )
        return first_step(parallel, config, corpus)


def test_compiled_blocks_are_shared_too(pair: Ranks, corpus: PreparedCorpus) -> None:
    config = training(SMALL, compile=True)
    alone = first_step(BY_ITSELF, training(SMALL), corpus.path)
    for share in pair.run(first_step_compiled, config, corpus.path):
        assert float((share.gradient - alone.gradient).abs().max()) < 1e-5 * float(alone.gradient.abs().max())
