"""What a trial asks Ray for: a share of a GPU, or all of one for a trial that needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ray import tune

from search.engine import keys

Request: TypeAlias = (
    dict[str, float] | tune.PlacementGroupFactory | Callable[[Mapping[str, Any]], tune.PlacementGroupFactory]
)


def request_of(cpus: int, gpus: float) -> Request:
    """Cores and GPUs of a trial, as `tune.with_resources` takes them; where GPUs are shared, by its configuration."""
    if gpus > 1:  # a process for each, and Tune's own beside the first (`search.engine.distributed`)
        share = {"CPU": float(cpus // int(gpus)), "GPU": 1.0}
        return tune.PlacementGroupFactory([{}, *[share] * int(gpus)], strategy="PACK")
    if not 0 < gpus < 1:
        return {"cpu": cpus, "gpu": gpus}

    def request(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": float(cpus), "GPU": 1.0 if config.get(keys.ALONE) else gpus}])

    return request
