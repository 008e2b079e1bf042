"""A Slurm of two nodes on this machine: a real slurmctld, and a real slurmd for each node."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from programs import ROOT, Ended

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "unshare", "nsenter", "ip")
NODES = ("n9", "n10")  # sorted as texts, n10 comes first

# Each node has a network of its own, since TensorFlow listens on all addresses of a host, and its
# name in /etc/hosts. All is private to the processes started here, and ends with them: they are
# those of a process namespace, which ends when the test closes the input of its first process.
WORLD = """
set -e
mount --bind hosts /etc/hosts
ip link set lo up
ip link add name hub type bridge
ip address add 10.77.0.1/24 dev hub
ip link set hub up
here=$(readlink /proc/self/ns/net)
for node in "$@"; do
    unshare --net bash -c '
        until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
        ip link set lo up
        ip address add "10.77.0.${0#n}/24" dev eth0
        ip link set eth0 up
        exec slurmd -D -N "$0"
    ' "$node" </dev/null &
    while [[ $(readlink /proc/$!/ns/net) == "$here" ]]; do sleep 0.05; done
    ip link add name "to-$node" type veth peer name eth0 netns $!
    ip link set "to-$node" master hub up
done
slurmctld -D -c </dev/null &
read -r || true
"""

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(10.77.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=30
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
PartitionName=main Nodes=ALL Default=YES MaxTime=1-0 PriorityTier=1
PartitionName=graceful Nodes=ALL MaxTime=1-0 PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=ALL MaxTime=1-0 PriorityTier=2 PreemptMode=OFF
"""
NODE = """NodeName={node} NodeHostname={host} NodeAddr={address} CPUs=4 RealMemory=4000 \\
    Gres=gpu:a100:2
"""
# GPUs by name only: Slurm asks for no more than a file.
GRES = "Name=gpu Type=a100 File=/dev/null\nName=gpu Type=a100 File=/dev/zero\n"


def missing() -> str:
    """Why it cannot run here; nothing if it can."""
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if absent:
        return f"not on the PATH: {', '.join(absent)}"
    if os.getuid() != 0:
        return "slurmd and namespaces need root"
    tried = subprocess.run(
        ["unshare", "--pid", "--fork", "--net", "--mount", "ip", "link", "add", "type", "veth"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if tried.returncode == 0 else f"no namespaces here: {tried.stderr.strip()}"


class Slurm:
    """Runs the daemons until `close`; all their files are in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        host = socket.gethostname()
        (folder / "state").mkdir()
        addresses = {node: f"10.77.0.{node[1:]}" for node in NODES}
        conf = CONFIGURATION.format(host=host, folder=folder)
        for node, address in addresses.items():
            (folder / f"spool-{node}").mkdir()
            conf += NODE.format(node=node, host=host, address=address)
        (folder / "slurm.conf").write_text(conf)
        (folder / "gres.conf").write_text(GRES)
        lines = ["127.0.0.1 localhost", f"10.77.0.1 {host}"]
        lines += [f"{address} {node}" for node, address in addresses.items()]
        (folder / "hosts").write_text("\n".join(lines) + "\n")
        self._said = folder / "said.txt"
        with self._said.open("w") as said:
            self._world = subprocess.Popen(
                [
                    *("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"),
                    *("--net", "--mount", "bash", "-c", WORLD, "world", *NODES),
                ],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                cwd=folder,
                env=self._environment(),
            )
        try:
            self.wait(self._first)
            self.wait(self.idle)
        except BaseException:
            self.close()
            raise

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def _first(self) -> str:
        """The process that holds the namespaces."""
        pid = self._world.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()

    def idle(self) -> bool:
        """Tells whether both nodes are up and free."""
        return self.run("sinfo", "--noheader", "--format=%D%T", "-pmain").stdout == "2idle\n"

    def cancel_all(self) -> None:
        """Ends what a test left running, so that the next one finds both nodes free."""
        self.run("scancel", "--full", "--signal=KILL", "--user=root")
        self.run("scancel", "--user=root")
        self.wait(self.idle, 90)

    def run(self, *command: object, cwd: Path = ROOT, **environment: str) -> Ended:
        """Runs a command as on a login node of the cluster, to its end."""
        enter = ["nsenter", f"--target={self._first()}", "--mount", "--net", "--pid"]
        done = subprocess.run(
            [*enter, "env", f"--chdir={cwd}", *map(str, command)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env={**self._environment(), **environment},
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def wait(self, done: Callable[[], object], seconds: float = 90) -> None:
        """Waits until `done`; fails after so many seconds."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.1)

    def sbatch(self, script: Path, *options: str) -> str:
        """Submits a script; the number of the job."""
        ended = self.run("sbatch", "--parsable", *options, script)
        assert ended.status == 0, ended.stderr
        return ended.stdout.strip()

    def state(self, job: str) -> dict[str, str]:
        """Slurm's record of a job: JobState, Restarts, ExitCode and so on."""
        shown = self.run("scontrol", "--oneliner", "show", "job", job).stdout
        return dict(re.findall(r"(\S+?)=(\S*)", shown))

    def wait_for_state(self, job: str, state: str, seconds: float = 90) -> None:
        """Waits until a job is in a state, such as RUNNING; fails where it ends in another."""

        def there() -> bool:
            found = self.state(job)
            ended = found["JobState"] in {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"}
            output = Path(found["StdOut"])
            if ended and found["JobState"] != state:
                said = output.read_text() if output.is_file() else ""
                raise AssertionError(f"{found['JobState']}, not {state}: {said}")
            return found["JobState"] == state

        self.wait(there, seconds)

    def logs(self) -> str:
        """The daemons' logs."""
        files = [self._said, *sorted(self.folder.glob("*.log"))]
        return "\n".join(f"== {file.name}\n{file.read_text()[-3000:]}" for file in files)

    def close(self) -> None:
        """Ends the daemons and all that they started."""
        self._world.communicate(timeout=30)
