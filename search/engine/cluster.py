"""Ray as a search needs it: started on this machine, or a cluster that is joined (`search.engine.attached`).

On this machine it is started quietly, with its dashboard and its token, and for this machine alone.

What Ray does of its own, seen with 2.60: the kernel is told to take workers before anything else when memory runs out
(their oom_score_adj is 1000); and when this process is killed, all of Ray's end: workers and the dashboard within two
seconds, the raylet's two agents within a minute.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.errors import ConfigError
from search.config import ClusterConfig
from search.resources import Machine

if TYPE_CHECKING:  # it imports Ray
    from search.engine.nodes import Node

OPEN_TO_THE_NETWORK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"

# Each is read when Ray is imported or started, so they are set before. Values of the user's own are kept.
ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's own tables; ours is search.console
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard a trial; ours is the journal
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean the same everywhere
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # search.engine.tuning has its own, for SIGTERM too
    "RAY_memory_monitor_refresh_ms": "0",  # a trial that it kills aborts the whole search
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",  # if the GCS dies; Ray waits a minute, and then ends this process
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    OPEN_TO_THE_NETWORK: "0",  # every port on loopback, as on those; else they are open to the network
    "RAY_ROTATION_MAX_BYTES": str(16 * 2**20),  # of each log file; Ray's own default is 512 MiB
    "RAY_ROTATION_BACKUP_COUNT": "2",
    "PYTHONWARNINGS": "ignore::FutureWarning,ignore::DeprecationWarning",  # in Ray's own processes
}


@dataclass(frozen=True)
class Witness:
    """A file that every node must see as this process does; its folder must be writable if trials write there."""

    field: str
    path: Path
    written: bool = False


@dataclass(frozen=True)
class Cluster:
    """A running Ray.

    Attributes:
        cpus, gpus: what trials may use in all.
        dashboard: the page's address, or None where it was not wanted.
        token: what the page asks for once; None if Ray runs without authentication, or others run it.
        metrics: the address of its metrics, ours among them (`search.engine.gauges`), as Prometheus reads them.
        nodes: their shares, where there are several; no trial is spread over two, unless it has several GPUs.
        remarks: what a person should know of the cluster before the search begins.
        check: asks nodes that have joined whether they can do the work; None where no node ever does.
        checked: the nodes that were asked before the first trial.
    """

    cpus: int
    gpus: int
    dashboard: str | None
    token: str | None
    metrics: str | None = None
    nodes: tuple[Machine, ...] = ()
    remarks: tuple[str, ...] = ()
    check: Callable[[Sequence[Node]], Sequence[str]] | None = None
    checked: tuple[Node, ...] = ()


def cluster_of(
    config: ClusterConfig, job: Mapping[str, str] | None = None, witnesses: Sequence[Witness] = ()
) -> AbstractContextManager[Cluster]:
    """Ray as the configuration wants it, for as long as the block lasts.

    Args:
        job: what the dashboard says of this process, by name.
        witnesses: files that every node of a running cluster must see.

    Raises:
        ConfigError: as `local_cluster` and `attached_cluster`.
    """
    if config.name == "local":
        return local_cluster(config, job)
    from search.engine.attached import attached_cluster  # it needs the names here

    return attached_cluster(config, job, witnesses)


@contextmanager
def local_cluster(config: ClusterConfig, job: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """Ray on this machine for as long as the block lasts.

    Args:
        job: what the dashboard says of this process, by name.

    Raises:
        ConfigError: more GPUs are asked for than the machine has, or the dashboard cannot be started.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray  # after the environment: Ray reads it when it is imported
    from ray._private import ray_constants
    from ray.job_config import JobConfig

    # This one decides who can reach the search, so it is read again: Ray may have been imported before.
    ray_constants.ENABLE_RAY_CLUSTER = os.environ[OPEN_TO_THE_NETWORK] == "1"
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        with _out_of_reach_of_signals():
            context: Any = ray.init(
                address="local",  # never somebody else's cluster that runs on this machine
                num_cpus=config.cpus,
                num_gpus=config.gpus,
                include_dashboard=config.dashboard,
                dashboard_host=config.dashboard_host,
                dashboard_port=_free_port(config.dashboard_port),
                job_config=JobConfig(metadata=dict(job or {})),
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
            )
    except Exception as error:  # it raises a bare one where the machine is too busy to start it in time
        ray.shutdown()
        raise ConfigError(f"Ray did not start: {str(error).strip().partition(chr(10))[0]}") from None
    try:
        _tighten(Path(context.address_info["session_dir"]))
        total = ray.cluster_resources()  # type: ignore[no-untyped-call]
        yield Cluster(
            cpus=int(total.get("CPU", 0)),
            gpus=int(total.get("GPU", 0)),
            dashboard=f"http://{context.dashboard_url}" if context.dashboard_url else None,
            token=_token(),
            metrics=f"http://127.0.0.1:{context.address_info['metrics_export_port']}/metrics",
        )
    finally:
        ray.shutdown()


@contextmanager
def _out_of_reach_of_signals() -> Iterator[None]:
    """Have Ray start its processes in sessions of their own.

    A signal to a whole group, as `timeout`, a shell and a closed terminal send it, then comes to this process alone,
    which ends the trials first. Ray has no setting for that. On macOS they stay in this process's group, by which Ray
    finds them to end them with it; on Linux the kernel does that.
    """
    from ray._private import services

    before = services.ConsolePopen
    if sys.platform == "linux":
        services.ConsolePopen = partial(before, start_new_session=True)  # type: ignore[misc,assignment]
    try:
        yield
    finally:
        services.ConsolePopen = before  # type: ignore[misc]


def _free_port(wanted: int) -> int:
    """The wanted port, or any that is free: Ray would take another too, but says so in a line of its own."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Ray: a port just left is free
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return wanted


def _token_file() -> Path:
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))


def _tighten(session: Path) -> None:
    """Ray makes its token readable by everybody, and the folder of its sockets and logs writable."""
    session.chmod(0o700)
    path = _token_file()
    if path.exists():
        path.chmod(0o600)


def _token() -> str | None:
    """What `ray get-auth-token` prints, without the seconds that it takes."""
    named = os.environ.get("RAY_AUTH_TOKEN")
    if named:
        return named
    path = _token_file()
    return path.read_text(encoding="utf-8").strip() if path.exists() else None
