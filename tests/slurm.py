"""A Slurm cluster of one node, this machine: slurmctld, slurmd and munged of Debian's packages, with a folder of their own."""

import os
import secrets
import shutil
import socket
import subprocess
import time

_PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
_START_LIMIT_S = 60
_CONF = """
ClusterName=test
SlurmctldHost={host}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
MinJobAge=600
NodeName={host} NodeAddr=127.0.0.1 CPUs=3 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def is_here():
    """Says whether this machine has the programs, and may run them."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    return os.geteuid() == 0 and all(shutil.which(program, path=path) for program in _PROGRAMS)


def _free_ports(count):
    with socket.socket() as one, socket.socket() as other:
        for sock in (one, other):
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in (one, other)][:count]


class Slurm:
    """Runs while its context lasts."""

    def __init__(self, folder):
        self.folder = folder
        self.env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
        self._processes = []

    def __enter__(self):
        host = socket.gethostname().partition(".")[0]
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        (self.folder / "slurm.conf").write_text(_CONF.format(host=host, folder=self.folder, ports=_free_ports(2)))
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(64))
        key.chmod(0o600)
        files = {what: self.folder / f"munge.{what}" for what in ("key", "socket", "log", "pid", "seed")}
        options = {"key": "key-file", "log": "log-file", "pid": "pid-file", "seed": "seed-file"}
        of_munge = [f"--{options.get(what, what)}={file}" for what, file in files.items()]
        self._start("munged", "--foreground", "--force", *of_munge)
        self._start("slurmctld", "-D", "-c")
        self._start("slurmd", "-D", "-N", host)
        deadline_s = time.monotonic() + _START_LIMIT_S
        while "idle" not in (state := self.run("sinfo", "-h", "-o", "%T", check=False)):
            assert time.monotonic() < deadline_s, f"{state}\n{self._logs()}"
            time.sleep(0.5)
        return self

    def __exit__(self, *_):
        for process in reversed(self._processes):
            process.kill()
            process.wait()

    def _start(self, name, *words):
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen([name, *words], env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._processes.append(process)

    def _logs(self):
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(self.folder.glob("*.log")))

    def run(self, *words, check=True):
        """Runs a command of Slurm; returns what it prints."""
        done = subprocess.run(list(map(str, words)), env=self.env, capture_output=True, text=True, timeout=60, check=False)
        assert not check or not done.returncode, f"{done.stderr}\n{self._logs()}"
        return done.stdout.strip()

    def wait(self, job, limit_s):
        """Waits until a job is over; returns the states of its tasks."""
        deadline_s = time.monotonic() + limit_s
        while True:
            states = self.run("squeue", "-h", "-t", "all", "-j", job, "-o", "%T").split()
            if states and not set(states) & {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING"}:
                return states
            assert time.monotonic() < deadline_s, f"{states}\n{self._logs()}"
            time.sleep(0.5)
