"""Trials as one batched model: `python -m tests.benchmarks.fused_trials`.

Settings that change no tensor's shape (learning rate, weight decay, token weights, seeds) could be trained as one model
whose weights have one more dimension: `torch.func.stack_module_state` and `vmap`. This measures whether it pays:

    one after another   one process with all threads trains the trials in turn
    side by side        a process a core (on a GPU: a process a trial), as `trial.gpus=` does it
    fused               one process, one batched model; every trial has its own learning rate and weight decay

All take the same steps on the same batches. What is told is how quick they are, as ratios within this run, and how far
the fused trials' weights are from those of trials trained alone. `docs/decisions/fused-trials.md` has the result.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from datasets.command_line import main
from omr_model.loss import TrOMRLoss
from omr_model.model import Batch, TrOMR
from omr_model.presets import PRESETS
from tests.benchmarks.ratio import paired
from tests.models import random_batch

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True, kw_only=True)
class FusedConfig:
    """What is measured.

    Attributes:
        preset: whose model; dropout is off, so that the ways can be compared.
        trials: that are fused.
        batch: staves a step.
        steps: of every trial in one round.
        rounds: of each way.
        device: cpu or cuda.
        compile: torch.compile of every way's step.
    """

    preset: str = "tiny"
    trials: int = 4
    batch: int = 16
    steps: int = 4
    rounds: int = 7
    device: str = "cpu"
    compile: bool = False


class Trials:
    """Trials of one shape, each with a seed, a learning rate and a weight decay of its own."""

    def __init__(self, config: FusedConfig, numbers: range) -> None:
        self.config = config
        preset = PRESETS[config.preset]
        self.batch: Batch = random_batch(preset.model, staves=config.batch, symbols=12).to(config.device)
        self.models = []
        for number in numbers:
            torch.manual_seed(number)
            self.models.append(TrOMR(preset.model).to(config.device))
        self.rates = [1e-3 * 0.7**number for number in numbers]
        self.decays = [0.01 * 2**number for number in numbers]
        self.loss = TrOMRLoss(preset.loss, self.models[0].vocabulary).to(config.device)


class Separate(Trials):
    """One trial after the other, by torch's fused AdamW."""

    def __init__(self, config: FusedConfig, numbers: range) -> None:
        super().__init__(config, numbers)
        self.optimizers = [
            torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, fused=True)
            for model, rate, decay in zip(self.models, self.rates, self.decays, strict=True)
        ]
        self.forwards: list[Callable[[Batch], object]] = [
            torch.compile(model) if config.compile else model for model in self.models
        ]

    def run(self) -> None:
        """All steps of one trial, then those of the next."""
        for forward, optimizer in zip(self.forwards, self.optimizers, strict=True):
            for _ in range(self.config.steps):
                optimizer.zero_grad(set_to_none=True)
                self.loss(forward(self.batch), self.batch).total.backward()  # type: ignore[arg-type]
                optimizer.step()
        _wait(self.config.device)

    def weights(self) -> dict[str, Tensor]:
        """Of all trials, stacked."""
        states = [dict(model.named_parameters()) for model in self.models]
        return {name: torch.stack([state[name].detach() for state in states]) for name in states[0]}


class Fused(Trials):
    """All trials as one model; a weight has shape [K, ...]."""

    def __init__(self, config: FusedConfig, numbers: range) -> None:
        super().__init__(config, numbers)
        self.parameters, self.buffers = stack_module_state(self.models)  # type: ignore[arg-type]
        self.parameters = {name: weight.detach() for name, weight in self.parameters.items()}
        skeleton = copy.deepcopy(self.models[0]).to("meta")

        def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
            logits = functional_call(skeleton, (parameters, buffers), (self.batch,))
            return self.loss(logits, self.batch).total  # type: ignore[no-any-return]

        gradients = vmap(grad(loss), randomness="different")
        self.gradients = torch.compile(gradients) if config.compile else gradients
        self.means = {name: torch.zeros_like(weight) for name, weight in self.parameters.items()}
        self.squares = {name: torch.zeros_like(weight) for name, weight in self.parameters.items()}
        self.taken = 0

    def run(self) -> None:
        """All steps of all trials at once."""
        for _ in range(self.config.steps):
            # torch 2.15 has no batching rule for its other kernels of attention, and takes the trials one by one: as it
            # still does in the decoder, whose own choice of kernels this does not reach
            with sdpa_kernel(SDPBackend.MATH):
                gradients = self.gradients(self.parameters, self.buffers)
            self._step(gradients)
        _wait(self.config.device)

    def weights(self) -> dict[str, Tensor]:
        return self.parameters

    @torch.no_grad()
    def _step(self, gradients: dict[str, Tensor]) -> None:
        """AdamW (arXiv 1711.05101) with a learning rate and a weight decay for each trial."""
        self.taken += 1
        names = list(self.parameters)
        weights, means = [self.parameters[name] for name in names], [self.means[name] for name in names]
        squares, slopes = [self.squares[name] for name in names], [gradients[name] for name in names]
        torch._foreach_lerp_(means, slopes, 1 - BETA1)
        torch._foreach_mul_(squares, BETA2)
        torch._foreach_addcmul_(squares, slopes, slopes, 1 - BETA2)
        denominators = torch._foreach_sqrt(squares)
        torch._foreach_div_(denominators, (1 - BETA2**self.taken) ** 0.5)
        torch._foreach_add_(denominators, EPSILON)
        rate_K = torch.tensor(self.rates, device=self.config.device)
        decay_K = 1 - rate_K * torch.tensor(self.decays, device=self.config.device)
        torch._foreach_mul_(weights, [_beside(decay_K, weight) for weight in weights])
        updates = torch._foreach_div(means, denominators)
        torch._foreach_mul_(updates, [_beside(-rate_K / (1 - BETA1**self.taken), weight) for weight in weights])
        torch._foreach_add_(weights, updates)


class SideBySide:
    """Processes that train a trial at a time each, as many as there are cores, or on a GPU trials."""

    def __init__(self, config: FusedConfig) -> None:
        context = multiprocessing.get_context("spawn")
        count = min(config.trials, os.cpu_count() or 1) if config.device == "cpu" else config.trials
        self.ends: list[Connection] = []
        self.processes = []
        for number in range(count):
            ours, theirs = context.Pipe()
            numbers = range(number, config.trials, count)
            process = context.Process(target=_trains, args=(config, numbers, theirs), daemon=True)
            process.start()
            self.ends.append(ours)
            self.processes.append(process)

    def run(self) -> None:
        for end in self.ends:
            end.send(True)
        for end in self.ends:
            end.recv()

    def close(self) -> None:
        for end in self.ends:
            end.send(False)
        for process in self.processes:
            process.join()


def _trains(config: FusedConfig, numbers: range, end: Connection) -> None:
    if config.device == "cpu":
        torch.set_num_threads(1)
    trials = Separate(config, numbers)
    while end.recv():
        trials.run()
        end.send(None)


def measure(config: FusedConfig) -> None:
    """Measure the three ways.

    python -m tests.benchmarks.fused_trials preset=tiny trials=4
    """
    warnings.filterwarnings("ignore", message="There is a performance drop")  # of x-transformers' attention; see below
    everyone = range(config.trials)
    alone, fused = Separate(config, everyone), Fused(config, everyone)
    alone.run()
    fused.run()
    print(f"weights after {config.steps} steps differ by {difference(alone, fused):.2g} of what they have moved")
    print(paired("fused against one after another", alone.run, fused.run, rounds=config.rounds))
    processes = SideBySide(config)
    try:
        print(paired("fused against side by side", processes.run, fused.run, rounds=config.rounds))
        print(paired("side by side against one after another", alone.run, processes.run, rounds=config.rounds))
    finally:
        processes.close()


def difference(alone: Separate, fused: Fused) -> float:
    """How far apart the same trials have come, as a share of how far they have moved; norms over all weights."""
    began = Separate(alone.config, range(alone.config.trials)).weights()
    pairs = [(weight, fused.weights()[name], began[name]) for name, weight in alone.weights().items()]
    apart = sum(float((one - other).square().sum()) for one, other, _ in pairs)
    moved = sum(float((one - first).square().sum()) for one, _, first in pairs)
    return float((apart / moved) ** 0.5)


def _beside(values_K: Tensor, weight: Tensor) -> Tensor:
    return values_K.view(-1, *[1] * (weight.ndim - 1))


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main(measure, FusedConfig())
