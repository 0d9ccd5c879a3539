"""A cluster whose nodes come and go: as many trials side by side as there is room for, and no trial pays for a node.

A node that joins is looked at before more trials are begun because of it; one that would train by something else ends
the search, to be gone on with. Ray may place a trial there all the same that is begun in those seconds: it knows no way
to keep the trials of one search off a node that would not also keep a trial that has lost its node off the next one.

What Tune does of its own, seen with 2.60: how many trials run side by side is said once; and a trial whose node died
counts as one that crashed, unless the node was drained with notice. `trial.retries` is for trials that crash. A node
that was killed shows itself first in trials that cannot be reached (`ActorUnavailableError`), and only seconds later as
dead; a process that dies alone hardly ever does, as its node tells of it.
"""

from __future__ import annotations

import queue
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
from search.engine import keys
from search.engine.guard import guarded
from search.engine.nodes import Node, UnfitError, nodes
from search.engine.stop import Stop
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
        check: what is to be told of a node that has joined, or a `ConfigError` if it is of no use; it may take
            minutes, and is asked aside.
        known: the nodes that were there, and asked, before the first trial.
        study: its name.
        stop: ends the search where a node would train otherwise.
        say: tells the person.
        look: the nodes that are alive.
        clock: seconds, by a clock that nobody sets.
    """

    def __init__(
        self,
        limiter: ConcurrencyLimiter,
        abreast: Callable[[Sequence[Machine]], int],
        check: Callable[[Sequence[Node]], Sequence[str]],
        known: Sequence[Node],
        study: str,
        stop: Stop,
        say: Callable[[str], None],
        look: Callable[[], Sequence[Node]] = nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limiter = limiter
        self.abreast = abreast
        self.check = check
        self.study = study
        self.stop = stop
        self.say = say
        self.look = look
        self.clock = clock
        self.alive = {node.node_id: node for node in known}
        self.counted = set(self.alive)  # those that were asked, alive or not
        self._looked = clock()
        self._answers: queue.SimpleQueue[tuple[Node, Sequence[str] | Exception]] = queue.SimpleQueue()

    def __getstate__(self) -> dict[str, object]:
        """Tune would keep its callbacks with the experiment, which nobody ever reads."""
        return {}

    @guarded
    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        changed = self._hear()
        if self.clock() - self._looked >= SECONDS_BETWEEN_LOOKS:
            self._looked = self.clock()
            changed |= self._look()
        if changed:
            able = [node for node_id, node in self.alive.items() if node_id in self.counted]
            self.limiter.max_concurrent = max(1, self.abreast([node.share for node in able]))
            self.say(f"{len(able)} nodes, {self.limiter.max_concurrent} trials at a time")

    def _look(self) -> bool:
        """Who has come, and who has gone; whether there is more or less room."""
        now = {node.node_id: node for node in self.look()}
        joined = [node for node_id, node in now.items() if node_id not in self.alive]
        left = [node for node_id, node in self.alive.items() if node_id not in now]
        self.alive = now
        for node in left:
            self.say(f"node lost    {node}; its trials go on elsewhere from their checkpoints")
        for node in joined:
            self.say(f"node joined  {node}")
            if node.share.cpus:
                threading.Thread(target=self._ask, args=(node,), daemon=True).start()
        return any(node.node_id in self.counted for node in left)

    def _ask(self, node: Node) -> None:
        try:
            self._answers.put((node, self.check([node])))
        except Exception as error:  # whatever it is, it is told
            self._answers.put((node, error))

    def _hear(self) -> bool:
        """What the nodes that have joined have answered; whether there is more room.

        Raises:
            ConfigError: one of them would train otherwise than the others.
        """
        more = False
        while not self._answers.empty():
            node, answer = self._answers.get()
            if isinstance(answer, UnfitError):
                raise ConfigError(
                    f"a node that joined cannot do the work: {answer}. Mend it or take it out of the cluster, then go "
                    f"on with: python -m search.run resume={self.study}"
                )
            if isinstance(answer, Exception):  # it left again, or the search is over
                self.say(f"{node.name}, which joined, is not counted: {str(answer) or type(answer).__name__}")
                continue
            for remark in answer:
                self.say(remark)
            self.counted.add(node.node_id)
            more |= node.node_id in self.alive
        return more


@contextmanager
def nodes_may_die() -> Iterator[None]:
    """As long as the block lasts, a trial whose node died is begun again without that it counts as a failure of its."""
    counted, deaths = Trial._handle_ray_actor_error, Counter[tuple[str, int]]()

    def handle(trial: Trial, error: RayActorError) -> None:
        place = (trial.trial_id, int((trial.last_result or {}).get(keys.STEP, 0)))
        its_node = isinstance(error, ActorUnavailableError) or NODE_DIED in str(error)
        deaths[place] += its_node
        if not its_node or deaths[place] > MOST_DEATHS:
            counted(trial, error)

    setattr(Trial, COUNTS, handle)
    try:
        yield
    finally:
        setattr(Trial, COUNTS, counted)
