"""Join a Ray cluster that runs already, having seen that every node of it can do the work.

The cluster is not ours: it keeps its dashboard, its token and its own settings, and goes on when the search ends. This
process must run on a node of it, as Ray's drivers do. What differs from a Ray of our own:

- The nodes have their own files: this code is sent to them (`cluster.upload`), corpora and studies are on folders or
  addresses that all of them see, and each node is asked before the first trial (`search.engine.nodes`).
- Nodes come and go: what they offer is read anew while the search runs (`search.engine.elastic`).
- The head may die. Ray then ends this process sooner or later, in its own words; so its port is looked at first
  (`head_is_gone`), and the search ends in ours.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from datasets.errors import ConfigError
from results.provenance import PACKAGES
from search.config import ClusterConfig
from search.engine.cluster import ENVIRONMENT, OPEN_TO_THE_NETWORK, Cluster, Witness
from search.engine.nodes import check_nodes, nodes
from search.resources import Machines
from search.runtime_env import excluded, passed

SECONDS_TO_CONNECT = 5.0
SECONDS_TO_RETURN = 20.0  # of a network that is gone; a port at which nobody listens is looked at only once again
OF_THE_CLUSTER = (OPEN_TO_THE_NETWORK, "RAY_memory_monitor_refresh_ms", "RAY_gcs_rpc_server_reconnect_timeout_s")
"""Of `ENVIRONMENT`, what the processes of the cluster have had to know when they were started."""
INHERITED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # where Ray tells a job's driver its runtime environment
TOKEN_HELP = (
    "`ray get-auth-token` on its head prints the token; RAY_AUTH_TOKEN_PATH=FILE or RAY_AUTH_TOKEN=TOKEN tells it here"
)


@contextmanager
def attached_cluster(
    config: ClusterConfig, job: Mapping[str, str] | None = None, witnesses: Sequence[Witness] = ()
) -> Iterator[Cluster]:
    """The Ray cluster at `config.address`, for as long as the block lasts; it runs on afterwards.

    Args:
        job: what the dashboard says of this process, by name.
        witnesses: files that every node must see.

    Raises:
        ConfigError: no cluster is there, it does not let us in, or a node of it cannot do the work.
    """
    for name, value in ENVIRONMENT.items():
        if name not in OF_THE_CLUSTER:
            os.environ.setdefault(name, value)
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    with _reachable():
        context = _joined(_found(config.address), config, job)
        try:
            here = nodes()
            able = [node for node in here if node.share.cpus]
            if not able:
                raise ConfigError(f"cluster.address={config.address}: no node of the cluster has a core for a trial")
            remarks = check_nodes(able, witnesses, config.upload)
            offer = Machines.of(config, (node.share for node in able))
            url = context.dashboard_url
            yield Cluster(
                cpus=offer.cpus,
                gpus=offer.gpus,
                dashboard=f"http://{url}" if url else None,
                token=None,
                metrics=f"http://{context.address_info['node_ip_address']}:"
                f"{context.address_info['metrics_export_port']}/metrics",
                nodes=offer.nodes,
                remarks=(*(f"{node}" for node in here), *remarks, *_way_in(url)),
                check=partial(check_nodes, witnesses=witnesses, upload=config.upload),
                checked=tuple(here),
            )
        finally:
            ray.shutdown()


def head_is_gone(address: str) -> bool:
    """Whether nobody listens at the head's address any more; a network that is gone has a while to come back."""
    until = time.monotonic() + SECONDS_TO_RETURN
    refused = 0
    while refused < 2:
        try:
            _connect(address)
        except ConnectionRefusedError:
            refused += 1
        except OSError:
            if time.monotonic() > until:
                return True
        else:
            return False
        time.sleep(0.5)
    return True


def _connect(address: str, seconds: float = SECONDS_TO_CONNECT) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), seconds).close()


def _found(address: str) -> str:
    """HOST:PORT of a head at which somebody listens; Ray itself would try for minutes.

    Raises:
        ConfigError: nobody does.
    """
    from ray._private import services

    try:
        found = str(services.canonicalize_bootstrap_address(address) or "")
        if not found:
            raise ConnectionError("this machine is not a node of a cluster")
        _connect(found)
    except (OSError, ValueError) as error:
        why = error.strerror or str(error).splitlines()[0] if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"cluster.address={address}: no Ray cluster is there ({why}); `ray start --head` starts one, "
            "`ray start --address=HOST:6379` makes a machine a node of it"
        ) from None
    return found


def _joined(address: str, config: ClusterConfig, job: Mapping[str, str] | None) -> Any:
    """Be a driver of the cluster.

    Raises:
        ConfigError: of another version, without its token, or on a machine that is no node of it.
    """
    import ray
    from ray._private.authentication import authentication_token_setup
    from ray.job_config import JobConfig

    os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"  # ours names some of a job's variables again
    try:
        authentication_token_setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        with tempfile.TemporaryDirectory() as empty:
            return ray.init(
                address=address,
                runtime_env=_runtime_env(config, empty),
                job_config=JobConfig(metadata=dict(job or {})),
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
            )
    except Exception as error:  # Ray raises bare ones, too
        ray.shutdown()
        raise ConfigError(f"cluster.address={address}: {_why(error)}") from None


def _why(error: Exception) -> str:
    """Why a cluster that is there was not joined, and the way out."""
    text = " ".join(str(error).split())
    if "ersion mismatch" in text:
        return f"the cluster runs other versions: {text}; there must be one of Python and one of Ray on all nodes"
    if "raylet" in text or "node info" in text.lower():
        return (
            "this machine is no node of the cluster: `ray start --address=HOST:PORT --num-cpus=0` makes it one "
            f"on which no trial runs ({text})"
        )
    if isinstance(error, ConnectionError) or "uthenticat" in text or "token" in text:
        return f"the cluster is there, and did not let us in: {TOKEN_HELP} ({text})"
    return text or type(error).__name__


def _runtime_env(config: ClusterConfig, empty: str) -> dict[str, Any]:
    """What processes of the search have on every node: variables, and this code unless it is there.

    They are to import what was sent, and not what lies on the node where this process has its working folder: Ray puts
    that first, unless there is a working folder to send, and so an empty one is.
    """
    ours = [name for name in (*ENVIRONMENT, *INHERITED) if name in os.environ and name not in OF_THE_CLUSTER]
    made: dict[str, Any] = {"env_vars": passed(os.environ) | {name: os.environ[name] for name in ours}}
    submitted = json.loads(os.environ.get(JOB) or "{}").get("runtime_env") or {}
    if config.upload and not submitted.get("working_dir"):  # else Ray has sent the job's folder to every node
        (Path(empty) / "nothing").touch()  # Ray sends no folder without a file
        made |= {"working_dir": empty, "py_modules": _packages(), "excludes": excluded()}
    return made


def _packages() -> list[str]:
    specs = [importlib.util.find_spec(package) for package in PACKAGES]
    return [str(next(iter(spec.submodule_search_locations or ()))) for spec in specs if spec is not None]


def _way_in(url: str | None) -> list[str]:
    """How a person gets at the dashboard, which listens on its head alone unless it was told otherwise."""
    if not url or not url.startswith(("127.", "localhost")):
        return [f"the dashboard asks once for the cluster's token: {TOKEN_HELP.partition(';')[0]}"] if url else []
    port = url.rpartition(":")[2]
    return [
        f"the dashboard listens on the cluster's head alone: `ssh -L {port}:localhost:{port} HEAD` brings it here; "
        f"{TOKEN_HELP.partition(';')[0]}"
    ]


@contextmanager
def _reachable() -> Iterator[None]:
    """Let the nodes reach this process, whatever a Ray of our own in it has been told before; not for longer."""
    from ray._private import ray_constants

    before, was = os.environ.get(OPEN_TO_THE_NETWORK), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[OPEN_TO_THE_NETWORK], ray_constants.ENABLE_RAY_CLUSTER = "1", True
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = was
        if before is None:
            del os.environ[OPEN_TO_THE_NETWORK]
        else:
            os.environ[OPEN_TO_THE_NETWORK] = before
