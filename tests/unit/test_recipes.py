"""What `docs/recipes/` and the page on clusters tell people to run, as far as one machine can tell that it works."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from search.compose import compose
from tests.end_to_end.commands import ROOT
from tests.end_to_end.documented import snippets

RECIPES = ROOT / "docs" / "recipes"
SBATCH = RECIPES / "slurm.sbatch"

# What KubeRay's Go types have (ray-operator/apis/ray/v1, read 2026-11); its CRD refuses no unknown field, but drops it.
JOB_FIELDS = {
    *("activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate", "metadata", "clusterSelector"),
    *("submitterConfig", "managedBy", "deletionStrategy", "entrypoint", "runtimeEnvYAML", "jobId", "submissionMode"),
    *("entrypointResources", "entrypointNumCpus", "entrypointNumGpus", "ttlSecondsAfterFinished", "suspend"),
    "shutdownAfterJobFinishes",
}
CLUSTER_FIELDS = {
    *("headGroupSpec", "workerGroupSpecs", "rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "suspend"),
    *("headServiceAnnotations", "authOptions"),
}
GROUP_FIELDS = {"rayStartParams", "template"}
WORKER_FIELDS = {*GROUP_FIELDS, "groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "scaleStrategy"}
POD_FIELDS = {"containers", "volumes", "terminationGracePeriodSeconds"}  # those that are used
CONTAINER_FIELDS = {"name", "image", "env", "ports", "resources", "volumeMounts"}


@pytest.fixture(scope="module")
def job() -> Any:
    return yaml.safe_load((RECIPES / "kuberay-rayjob.yaml").read_text(encoding="utf-8"))


def test_the_ray_job_has_fields_that_kuberay_has(job: Any) -> None:
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"].keys() <= JOB_FIELDS
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster.keys() <= CLUSTER_FIELDS
    assert cluster["headGroupSpec"].keys() == GROUP_FIELDS
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert group.keys() <= WORKER_FIELDS
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        assert pod.keys() <= POD_FIELDS
        [container] = pod["containers"]
        assert container.keys() <= CONTAINER_FIELDS
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert all(isinstance(variable["value"], str) for variable in container["env"])
        assert container["resources"]["requests"] == container["resources"]["limits"]  # no pod is evicted for another
        assert all(isinstance(amount, str) for amount in container["resources"]["limits"].values())
        assert {"name": "RAY_memory_monitor_refresh_ms", "value": "0"} in container["env"]
    assert cluster["authOptions"]["mode"] == "token"
    assert {option(name) for group in (cluster["headGroupSpec"],) for name in group["rayStartParams"]} <= ray_options()


def test_the_ray_jobs_command_is_a_search_or_goes_on(job: Any, tmp_path: Path) -> None:
    """Its shell is run, with a `python` that says what it was called with, before and after the study is there."""
    shared, bin_ = tmp_path / "shared", tmp_path / "bin"
    say(bin_, "python", 'echo "$@"')
    path = f"{bin_}:{os.environ['PATH']}"
    entry = job["spec"]["entrypoint"].replace("/shared", str(shared)).replace("/omr-search", str(tmp_path))

    def words() -> list[str]:
        done = subprocess.run(shlex.split(entry), env={"PATH": path}, capture_output=True, text=True, check=True)
        return done.stdout.split()

    first = words()
    assert first[:2] == ["-m", "search.run"]
    assert compose(first[2:]).cluster.name == "attach"
    (shared / "studies" / "night").mkdir(parents=True)
    (shared / "studies" / "night" / "study.json").touch()
    assert words()[2:4] == ["resume=night", "cluster=attach"]
    told = yaml.safe_load(job["spec"]["runtimeEnvYAML"])
    assert told == {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}}


def test_the_batch_script_is_sound_shell() -> None:
    subprocess.run(["bash", "-n", str(SBATCH)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(SBATCH)], check=True)


def say(folder: Path, name: str, script: str) -> None:
    """A program of that name that runs a few lines of shell instead."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


class Slurm:
    """An allocation of three nodes on this machine: `srun` runs a command here, once, and the head's port is open."""

    def __init__(self, root: Path) -> None:
        self.root, self.said, self.bin = root, root / "said", root / "bin"
        say(
            self.bin, "scontrol", f'if [ "$1" = show ]; then printf "n1\\nn2\\nn3\\n"; else echo "$@" >>{self.said}; fi'
        )
        say(self.bin, "srun", 'while [[ $1 == --* ]]; do shift; done\nexec "$@"')
        say(self.bin, "hostname", "echo 127.0.0.1 10.0.0.1")
        listen = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(30)"
        say(
            self.bin,
            "ray",
            f'echo "ray $* mode=$RAY_AUTH_MODE token=$(stat -c %a:%s "$RAY_AUTH_TOKEN_PATH")" >>{self.said}\n'
            'for word in "$@"; do case $word in --port=*) port=${word#--port=};; esac; done\n'
            f'[[ ${{port:-}} ]] && exec {shlex.quote(shutil.which("python3") or "python3")} -c "{listen}" "$port"\n'
            "exec sleep 30",
        )
        python = (
            f'if [ "$1" = -c ]; then exec {shlex.quote(shutil.which("python3") or "python3")} "$@"; fi\n'
            f"trap 'echo told >>{self.said}; exit 130' USR1\n"
            f'echo "python $*" >>{self.said}\n'
            "[[ $* == *resume=* ]] && exit 0\n"
            "sleep 30 & wait"
        )
        say(self.bin, "python", python)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        environment = {
            **{"PATH": f"{self.bin}:/usr/bin:/bin", "STUDY": "night", "SHARED": str(self.root), "SLURM_JOB_ID": "4242"},
            **{"SLURM_JOB_NODELIST": "n[1-3]", "SLURM_JOB_NUM_NODES": "3", "SLURM_CPUS_PER_TASK": "8"},
            "SLURM_GPUS_ON_NODE": "2",
        }
        return subprocess.Popen(["bash", str(SBATCH), *words], env=environment, cwd=self.root, start_new_session=True)

    def lines(self) -> list[str]:
        return self.said.read_text().splitlines() if self.said.exists() else []

    def until(self, text: str) -> None:
        patience = time.monotonic() + 60
        while not any(text in line for line in self.lines()):
            assert time.monotonic() < patience, self.lines()
            time.sleep(0.05)


def end(batch: subprocess.Popen[bytes]) -> None:
    """End it, and the pretended Ray, which would end with the allocation."""
    with contextlib.suppress(ProcessLookupError):  # all of it has ended
        os.killpg(batch.pid, signal.SIGKILL)
    batch.wait()


def test_the_batch_script_queues_itself_again_when_its_time_is_up_and_goes_on(tmp_path: Path) -> None:
    slurm = Slurm(tmp_path)
    batch = slurm.start("space=dropout", "model=tiny")
    try:
        for line in ("python -m search.run", "ray start --head", "ray start --block --address"):
            slurm.until(line)
        os.kill(batch.pid, signal.SIGUSR1)
        assert batch.wait(60) == 130
    finally:
        end(batch)
    head, node = sorted(
        (line for line in slurm.lines() if line.startswith("ray")), key=lambda line: "--head" not in line
    )
    assert "ray start --head --block --node-ip-address=127.0.0.1 --port=24242 --num-cpus=8 --num-gpus=2" in head
    assert "ray start --block --address=127.0.0.1:24242 --num-cpus=8 --num-gpus=2" in node
    assert all(line.endswith("mode=token token=600:64") for line in (head, node))  # nobody else reads it
    [search] = [line.split()[3:] for line in slurm.lines() if line.startswith("python")]
    config = compose(search)
    assert (config.study, config.cluster.name, config.cluster.address) == ("night", "attach", "127.0.0.1:24242")
    assert {"told", "requeue 4242"} <= set(slurm.lines())
    assert list(tmp_path.glob(".ray-token-*")) == []

    study = tmp_path / "results" / "studies" / "night"
    study.mkdir(parents=True)
    (study / "study.json").touch()
    slurm.said.unlink()
    batch = slurm.start("space=dropout")
    try:
        assert batch.wait(60) == 0
    finally:
        end(batch)
    [search] = [line.split()[3:] for line in slurm.lines() if line.startswith("python")]
    assert search[:3] == ["resume=night", "cluster=attach", "cluster.address=127.0.0.1:24242"]
    assert not any("requeue" in line for line in slurm.lines())


def ray_commands() -> list[list[str]]:
    """Every command of Ray's on the page."""
    lines = [line for snippet in snippets("bash") for line in snippet.text.splitlines()]
    return [words[1:] for line in lines if (words := shlex.split(line))[0] == "ray"]


def option(name: str) -> str:
    return f"--{name}"


def ray_options() -> set[str]:
    """Those of `ray start`."""
    from ray.scripts.scripts import start

    return {name for parameter in start.params for name in parameter.opts}


@pytest.mark.parametrize("words", ray_commands(), ids=" ".join)
def test_rays_commands_have_these_options(words: list[str]) -> None:
    from ray.scripts.scripts import cli

    command: Any = cli
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    ours = words[: words.index("--")] if "--" in words else words
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word.partition("=")[0] for word in ours if word.startswith("--")} <= known
    if "--" in words:
        entry = words[words.index("--") + 1 :]
        assert entry[:3] == ["python", "-m", "search.run"]
        assert compose(entry[3:]).cluster.name == "attach"
