"""A cluster whose nodes come and go: as many trials side by side as there is room for, and no trial pays for a node.

What Tune does of its own, seen with 2.60: how many trials run side by side is said once; and a trial whose node died
counts as one that crashed, unless the node was drained with notice. `trial.retries` is for trials that crash. A node
that was killed shows itself first in trials that cannot be reached (`ActorUnavailableError`), and only seconds later as
dead; a process that dies alone hardly ever does, as its node tells of it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ray import tune
from ray.exceptions import ActorUnavailableError, RayActorError
from ray.tune.experiment import Trial
from ray.tune.search import ConcurrencyLimiter

from datasets.errors import ConfigError
from search.engine.nodes import Node, nodes
from search.engine.searcher import STEP
from search.resources import Machine

SECONDS_BETWEEN_LOOKS = 5.0
MOST_DEATHS = 10
"""So many nodes that died under a trial at the same epoch: it is the trial, which may have filled their memory."""
NODE_DIED = "node has died"
COUNTS = "_handle_ray_actor_error"  # how Tune's trial counts a process of its that died


class Elastic(tune.Callback):
    """Has as many trials run side by side as the nodes of the moment have room for.

    Args:
        limiter: what says so to Tune.
        abreast: how many fit on nodes of such shares.
        check: what is to be told of nodes that have joined, or a `ConfigError` if they are of no use; it may take
            minutes, and is asked aside.
        say: tells the person.
        look: the nodes that are alive.
        clock: seconds, by a clock that nobody sets.
    """

    def __init__(
        self,
        limiter: ConcurrencyLimiter,
        abreast: Callable[[Sequence[Machine]], int],
        check: Callable[[Sequence[Node]], Sequence[str]],
        say: Callable[[str], None],
        look: Callable[[], Sequence[Node]] = nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limiter = limiter
        self.abreast = abreast
        self.check = check
        self.say = say
        self.look = look
        self.clock = clock
        self.known = {node.node_id: node for node in look()}
        self._looked = clock()
        self._unsaid: list[str] = []

    def __getstate__(self) -> dict[str, object]:
        """Tune would keep its callbacks with the experiment, which nobody ever reads."""
        return {}

    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        while self._unsaid:
            self.say(self._unsaid.pop(0))
        if self.clock() - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        self._looked = self.clock()
        now = {node.node_id: node for node in self.look()}
        joined = [node for node_id, node in now.items() if node_id not in self.known]
        left = [node for node_id, node in self.known.items() if node_id not in now]
        self.known = now
        if not (joined or left):
            return
        self.limiter.max_concurrent = max(1, self.abreast([node.share for node in now.values()]))
        for node in left:
            self.say(f"node lost    {node}; its trials go on elsewhere from their checkpoints")
        for node in joined:
            self.say(f"node joined  {node}")
        self.say(f"{len(now)} nodes, {self.limiter.max_concurrent} trials at a time")
        if joined:
            threading.Thread(target=self._check, args=(joined,), daemon=True).start()

    def _check(self, joined: Sequence[Node]) -> None:
        try:
            self._unsaid.extend(self.check([node for node in joined if node.share.cpus]))
        except ConfigError as error:
            self._unsaid.append(f"a node that joined cannot do the work, take it out: {error}")
        except Exception as error:  # it left again, or the search is over
            self._unsaid.append(f"a node that joined was not checked: {type(error).__name__}")


@contextmanager
def nodes_may_die() -> Iterator[None]:
    """As long as the block lasts, a trial whose node died is begun again without that it counts as a failure of its."""
    counted, deaths = Trial._handle_ray_actor_error, Counter[tuple[str, int]]()

    def handle(trial: Trial, error: RayActorError) -> None:
        place = (trial.trial_id, int((trial.last_result or {}).get(STEP, 0)))
        its_node = isinstance(error, ActorUnavailableError) or NODE_DIED in str(error)
        deaths[place] += its_node
        if not its_node or deaths[place] > MOST_DEATHS:
            counted(trial, error)

    setattr(Trial, COUNTS, handle)
    try:
        yield
    finally:
        setattr(Trial, COUNTS, counted)
