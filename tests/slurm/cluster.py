"""A SLURM cluster of one node on the loopback interface, started and stopped by process id.

Needs root and Debian's packages slurm-wlm, slurm-wlm-basic-plugins and munge. Nothing outside the
given folder is written but a link at /etc/slurm/slurm.conf, which must not exist before: srun
inside a job looks there, because Snakemake's plugin strips SLURM_CONF from a job's environment.
"""

import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
SYSTEM_CONF = Path("/etc/slurm/slurm.conf")

SLURM_CONF = """\
ClusterName=loop
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=bf_interval=5,sched_interval=5
ReturnToService=2
MpiDefault=none
KillWait=5
MinJobAge=300
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog={folder}/constrain.sh
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 Gres=gpu:fake:2 CPUs={cpus} CoresPerSocket={cpus} \
RealMemory={memory}
PartitionName=main Nodes={host} Default=YES MaxTime=1-00:00:00 DefMemPerCPU=1000 State=UP
"""


# As with ConstrainDevices=yes, which needs control groups that containers lack: whatever card a job
# was given, it sees that one alone, as number 0.
CONSTRAIN = """\
#!/bin/sh
[ -z "$SLURM_JOB_GPUS$SLURM_STEP_GPUS" ] || echo "export CUDA_VISIBLE_DEVICES=0"
"""


def missing_requirements() -> str:
    """Why no cluster can be started here; empty when one can."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=search_path()) is None]
    if missing:
        return f"SLURM's {', '.join(missing)} not installed (apt-get install slurm-wlm munge)"
    if SYSTEM_CONF.exists():
        return f"{SYSTEM_CONF} exists: this machine has a SLURM of its own"
    return "" if os.geteuid() == 0 else "SLURM's node daemon needs root"


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def search_path() -> str:
    return os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


class Cluster:
    """`with Cluster(folder) as cluster:` submit with `cluster.environment()`."""

    def __init__(self, folder: Path, cpus: int = 2, memory: int = 64000) -> None:
        self.folder, self.cpus, self.memory = folder, cpus, memory
        self.host = socket.gethostname().partition(".")[0]
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def environment(self) -> dict[str, str]:
        return os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": search_path()}

    def __enter__(self) -> "Cluster":
        for name in ("state", "spool", "dev"):
            (self.folder / name).mkdir(parents=True)
        # SLURM wants GPUs to be character devices with a number; these are /dev/null.
        for index in range(2):
            os.mknod(self.folder / f"dev/nvidia{index}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        settings = {
            "folder": self.folder,
            "host": self.host,
            "cpus": self.cpus,
            "memory": self.memory,
            "controller_port": free_port(),
            "node_port": free_port(),
        }
        (self.folder / "slurm.conf").write_text(SLURM_CONF.format(**settings))
        SYSTEM_CONF.parent.mkdir(exist_ok=True)
        SYSTEM_CONF.unlink(missing_ok=True)  # left dangling by a killed run, or absent
        SYSTEM_CONF.symlink_to(self.folder / "slurm.conf")
        (self.folder / "gres.conf").write_text(
            f"NodeName={self.host} Name=gpu Type=fake File={self.folder}/dev/nvidia[0-1]\n"
        )
        prolog = self.folder / "constrain.sh"
        prolog.write_text(CONSTRAIN)
        prolog.chmod(0o755)
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=yes\n")
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        try:
            self._start_munge()
            self.start_controller()
            self._start("slurmd", ["slurmd", "-D"])
            self._wait("an idle node", lambda: self.ask("sinfo", "-h", "-o", "%T") == "idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("slurmd", "slurmctld", "munged"):
            self.stop(name)
        SYSTEM_CONF.unlink(missing_ok=True)

    def ask(self, *command: str) -> str:
        """What a SLURM command prints; empty where it fails."""
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True)
        return done.stdout.strip()

    def start_controller(self) -> None:
        self._start("slurmctld", ["slurmctld", "-D"])
        self._wait("the controller", lambda: "UP" in self.ask("scontrol", "ping"))

    def stop(self, name: str) -> None:
        process = self.running.pop(name, None)
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start_munge(self) -> None:
        files = {
            "--key-file": "munge.key",
            "--socket": "munge.socket",
            "--pid-file": "munge.pid",
            "--log-file": "munge.log",
            "--seed-file": "munge.seed",
        }
        options = [f"{option}={self.folder / name}" for option, name in files.items()]
        self._start("munged", ["munged", "--foreground", "--force", "--num-threads=2", *options])
        self._wait("munge", (self.folder / "munge.socket").exists)

    def _start(self, name: str, command: list[str]) -> None:
        log = (self.folder / f"{name}.out").open("ab")
        # Its own session, so that an interrupt of the tests reaches it only through `stop`.
        self.running[name] = subprocess.Popen(
            command, env=self.environment(), stdout=log, stderr=log, start_new_session=True
        )
        log.close()

    def _wait(self, what: str, ready: Callable[[], bool], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                logs = "\n".join(
                    path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log")
                )
                raise RuntimeError(f"no {what} within {seconds:.0f} s\n{logs}")
            time.sleep(0.1)
