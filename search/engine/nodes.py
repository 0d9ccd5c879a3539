"""What the nodes of a running cluster have: their shares, their code, their packages, the folders that they see.

A search whose nodes differ is not refused by Ray: its trials fail on some nodes only, or, worse, are trained by other
code. So each node is asked, before the first trial, by a task that runs on that node. The task is sent by value, as
it must run where this code is missing; it changes nothing but for a file that it writes into the study's folder and
deletes again.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, TypeAlias

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from datasets.errors import ConfigError
from results.provenance import imported_digest
from search.engine.cluster import Witness
from search.resources import Machine

SECONDS_TO_ANSWER = 180.0  # a node may have to unpack the code and start its first process
SAME = ("ray", "torch")  # packages of which all nodes must have one version
NEEDED = (*SAME, "timm", "x-transformers", "numpy", "pyarrow", "safetensors")
ACCELERATOR = "accelerator_type:"
Told: TypeAlias = tuple[str, dict[str, str], str, dict[str, str]]


class UnfitError(ConfigError):
    """A node that is there and would not train as this process does, or not at all."""


@dataclass(frozen=True)
class Node:
    """A node that is alive.

    Attributes:
        node_id: Ray's.
        name: its address, as Ray knows it.
        share: cores and GPUs that Ray may use of it.
        accelerator: the kind of its GPUs, as Ray says it; empty if it has none.
    """

    node_id: str
    name: str
    share: Machine
    accelerator: str = ""

    def __str__(self) -> str:
        gpus = f" and {self.share.gpus} GPU{'s' * (self.share.gpus > 1)}" if self.share.gpus else ""
        return f"{self.name}: {self.share.cpus} cores{gpus}{f' ({self.accelerator})' if self.accelerator else ''}"


@dataclass(frozen=True)
class Answer:
    """What a node says of itself.

    Attributes:
        python: version of its interpreter.
        packages: version by name, or nothing where one is missing.
        code: digest of this project's code there, or why it cannot be imported.
        unseen: why not, by the field of a witness that it does not see.
    """

    node: Node
    python: str
    packages: Mapping[str, str]
    code: str
    unseen: Mapping[str, str]


def nodes() -> list[Node]:
    """Those that are alive, in the order of their addresses."""
    alive: Any = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return sorted((_node(one) for one in alive), key=lambda node: (node.name, node.node_id))


def check_nodes(asked: Sequence[Node], witnesses: Sequence[Witness], upload: bool) -> list[str]:
    """Ask each node, and compare it with this process; what is worth telling of nodes that may be used all the same.

    Raises:
        UnfitError: a node cannot import the code, has another version of it or of what trains, or does not see the
            folders.
        ConfigError: a node does not answer.
    """
    answers = _ask(asked, witnesses)
    packages = {name: metadata.version(name) for name in NEEDED if _installed(name)}
    here = (platform.python_version(), imported_digest())
    for problem in (*_no_code(answers, upload), *_other(answers, here, packages, upload), *_unseen(answers, witnesses)):
        raise UnfitError(problem)
    versions = [
        f"{name} is {version} here, and not on {_names(differ)}: numbers may differ in their last digits"
        for name, version in packages.items()
        if (differ := [answer.node for answer in answers if answer.packages[name] != version])
    ]
    return [*versions, *_unlike(nodes())]


def _no_code(answers: Sequence[Answer], upload: bool) -> Iterator[str]:
    """Nodes on which nothing can be imported: a package that trains is missing there, or the code itself."""
    for package in NEEDED:
        without = [answer.node for answer in answers if not answer.packages[package]]
        if without and _installed(package):
            yield (
                f"cluster=attach: {_names(without)} {_have(without)} no {package}; every node needs this project's "
                "environment: the same image, or `pip install` of the checkout there"
            )
    broken = {answer.code for answer in answers if answer.code.startswith("!")}
    for why in sorted(broken):
        on = [answer.node for answer in answers if answer.code == why]
        way_out = "" if upload else "; cluster.upload=true sends it"
        yield f"cluster=attach: {_names(on)} cannot import this code ({why[1:]}){way_out}"


def _other(
    answers: Sequence[Answer], here: tuple[str, str], packages: Mapping[str, str], upload: bool
) -> Iterator[str]:
    """Nodes that would train by something else than this process says."""
    python, code = here
    for name, version in (("Python", python), *((name, packages[name]) for name in SAME)):
        theirs = {answer.node: answer.python if name == "Python" else answer.packages[name] for answer in answers}
        if differ := [node for node, found in theirs.items() if found != version]:
            found = ", ".join(sorted({theirs[node] for node in differ}))
            yield f"cluster=attach: {name} is {version} here and {found} on {_names(differ)}; there must be one version"
    if differ := [answer.node for answer in answers if answer.code != code and not answer.code.startswith("!")]:
        way_out = "another copy of it is found first" if upload else "cluster.upload=true sends the code that is here"
        yield f"cluster=attach: {_names(differ)} {_have(differ)} other code than this process; {way_out}"


def _unseen(answers: Sequence[Answer], witnesses: Sequence[Witness]) -> Iterator[str]:
    for witness in witnesses:
        if blind := [answer for answer in answers if witness.field in answer.unseen]:
            why = blind[0].unseen[witness.field]
            yield (
                f"{witness.field}: {_names([answer.node for answer in blind])} {_have(blind)} not the same "
                f"{witness.path.parent} ({why}); there are a folder that all nodes share under one path (NFS), and an "
                f"address such as {witness.field}=s3://bucket/{witness.field.rpartition('.')[2]}"
            )


def _unlike(everywhere: Sequence[Node]) -> Iterator[str]:
    """Whether GPUs are of several kinds, which may have trials trained in several precisions."""
    kinds = sorted({node.accelerator for node in everywhere if node.accelerator})
    if len(kinds) > 1:
        where = "; ".join(
            f"{kind} on {_names([one for one in everywhere if one.accelerator == kind])}" for kind in kinds
        )
        yield (
            f"GPUs of several kinds ({where}): SERs differ a little between them, and where one has no bf16 it trains "
            "in fp16; train.precision=fp16 has all do so"
        )


def _ask(asked: Sequence[Node], witnesses: Sequence[Witness]) -> list[Answer]:
    files = [
        (one.field, str(one.path), hashlib.sha256(one.path.read_bytes()).hexdigest(), one.written) for one in witnesses
    ]
    look: Any = ray.remote(num_cpus=0, max_retries=2)(_looker())
    pending: dict[Any, Node] = {}
    for node in asked:
        there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        pending[look.options(scheduling_strategy=there).remote(NEEDED, files)] = node
    done, late = ray.wait(list(pending), num_returns=len(pending), timeout=SECONDS_TO_ANSWER) if pending else ([], [])
    if late:
        raise ConfigError(
            f"cluster=attach: {_names([pending[one] for one in late])} did not answer in {SECONDS_TO_ANSWER:g} s"
        )
    answers = []
    for one in done:
        try:
            told: Told = ray.get(one)
        except Exception as error:  # a process that cannot be started there, whatever the reason
            words = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "")
            raise ConfigError(f"cluster=attach: {pending[one].name} cannot run a process of ours: {words}") from None
        answers.append(Answer(pending[one], *told))
    return sorted(answers, key=lambda answer: answer.node.name)


def _looker() -> Callable[[Sequence[str], Sequence[tuple[str, str, str, bool]]], Told]:
    """The task, made here so that it is sent by value; it may use nothing of this module."""

    def look(packages: Sequence[str], files: Sequence[tuple[str, str, str, bool]]) -> Told:
        import hashlib
        import platform
        import tempfile
        from importlib import metadata
        from pathlib import Path

        def version(name: str) -> str:
            try:
                return metadata.version(name)
            except metadata.PackageNotFoundError:
                return ""

        def trouble(path: Path, digest: str, written: bool) -> str:
            try:
                if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                    return f"{path.name} is another one there"
                if written:
                    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".node-"):
                        pass
            except OSError as error:
                return f"{path.name}: {error.strerror}"
            return ""

        try:
            from results.provenance import imported_digest

            code = imported_digest()
        except Exception as error:
            code = f"!{type(error).__name__}: {error}"
        found = {name: version(name) for name in packages}
        unseen = {field: why for field, path, digest, written in files if (why := trouble(Path(path), digest, written))}
        return platform.python_version(), found, code, unseen

    return look


def _node(told: Mapping[str, Any]) -> Node:
    resources = told["Resources"]
    kinds = [name.removeprefix(ACCELERATOR) for name in resources if name.startswith(ACCELERATOR)]
    share = Machine(int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))
    return Node(told["NodeID"], told["NodeManagerAddress"], share, ", ".join(sorted(kinds)) if share.gpus else "")


def _installed(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


def _names(some: Sequence[Node]) -> str:
    names = list(dict.fromkeys(node.name for node in some))
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _have(some: Collection[Any]) -> str:
    return "has" if len(some) == 1 else "have"
