"""A Flink and a Spark cluster on loopback, each process as in a real one."""

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

# What Java 17 must let both engines reach.
_OPEN = ("lang", "lang.invoke", "lang.reflect", "io", "net", "nio", "text", "time", "util")
_OPEN += ("util.concurrent", "util.concurrent.atomic", "util.concurrent.locks")
_JAVA = [
    "java",
    "-Xmx512m",
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in _OPEN),
    *(
        f"--add-opens=java.base/sun.{package}=ALL-UNNAMED"
        for package in ("nio.ch", "nio.cs", "security.action", "util.calendar")
    ),
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
]
_FLINK = {
    "jobmanager.rpc.address": "127.0.0.1",
    "jobmanager.bind-host": "127.0.0.1",
    "jobmanager.memory.process.size": "1024m",
    "taskmanager.host": "127.0.0.1",
    "taskmanager.bind-host": "127.0.0.1",
    "taskmanager.numberOfTaskSlots": "1",
    # A TaskManager that is started without Flink's script must be told all of its memory.
    "taskmanager.cpu.cores": "1.0",
    "taskmanager.memory.task.heap.size": "256m",
    "taskmanager.memory.task.off-heap.size": "0m",
    "taskmanager.memory.managed.size": "128m",
    "taskmanager.memory.network.min": "64m",
    "taskmanager.memory.network.max": "64m",
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "64m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "64m",
    "taskmanager.memory.jvm-overhead.max": "64m",
    "rest.address": "127.0.0.1",
    "rest.bind-address": "127.0.0.1",
    "heartbeat.interval": "2000",
    "heartbeat.timeout": "10000",
}
_LOG4J = """\
rootLogger.level = INFO
rootLogger.appenderRef.c.ref = C
appender.c.name = C
appender.c.type = CONSOLE
appender.c.layout.type = PatternLayout
appender.c.layout.pattern = %d{HH:mm:ss} %-5p %c{1} %m%n
"""


class Cluster:
    """Processes that end together; each writes a log into `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str], **variables: str) -> None:
        """Start a process."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=self.folder,
                env=os.environ | variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self, name: str) -> None:
        """Kill a process as `kill -9` does."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """End all processes."""
        for name in list(self.processes):
            self.kill(name)


class Flink(Cluster):
    """One JobManager and two TaskManagers of one slot each.

    Args:
        folder: Where configuration and logs go.
        libraries: Folder with Flink's jars.
    """

    def __init__(self, folder: Path, libraries: Path):
        super().__init__(folder)
        self._rest, rpc, blobs = free_ports(3)
        ports = {"rest.port": self._rest, "jobmanager.rpc.port": rpc, "blob.server.port": blobs}
        temporary = folder / "temporary"
        temporary.mkdir()
        configuration = _FLINK | ports | {"io.tmp.dirs": str(temporary)}
        lines = "".join(f"{key}: {value}\n" for key, value in configuration.items())
        (folder / "flink-conf.yaml").write_text(lines)
        (folder / "log4j.properties").write_text(_LOG4J)
        log4j = f"-Dlog4j.configurationFile=file:{folder}/log4j.properties"
        self._java = [*_JAVA, log4j, "-cp", f"{libraries}/*"]
        entry = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        session = ["--configDir", str(folder), "--executionMode", "cluster"]
        self.start("JobManager", [*self._java, entry, *session])
        for number in (1, 2):
            self.start_worker(number)

    @property
    def master(self) -> str:
        """The address for --flink_master."""
        return f"127.0.0.1:{self._rest}"

    def start_worker(self, number: int) -> None:
        """Start a TaskManager."""
        entry = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
        command = [*self._java, entry, "--configDir", str(self.folder)]
        self.start(f"TaskManager{number}", command)

    def ask(self, path: str, method: str = "GET") -> dict:
        """Return what the REST interface answers."""
        request = urllib.request.Request(f"http://{self.master}{path}", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def slots(self) -> int:
        """Return the number of free slots; 0 before the cluster answers."""
        with contextlib.suppress(OSError):
            return self.ask("/overview")["slots-available"]
        return 0

    def running(self) -> list[str]:
        """Return the ids of the jobs that have not ended."""
        ended = ("FINISHED", "FAILED", "CANCELED")
        return [
            job["jid"] for job in self.ask("/jobs/overview")["jobs"] if job["state"] not in ended
        ]


class Spark(Cluster):
    """One master and two workers of one core each.

    Args:
        folder: Where logs and work go.
        home: Folder with Spark's jars.
    """

    def __init__(self, folder: Path, home: Path):
        super().__init__(folder)
        self._port, page = free_ports(2)
        self._web = page
        java = [*_JAVA, "-cp", f"{home}/jars/*"]
        variables = {
            "SPARK_HOME": str(home),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_SCALA_VERSION": "2.12",
        }
        master = ["--host", "127.0.0.1", "--port", str(self._port), "--webui-port", str(page)]
        self.start("master", [*java, "org.apache.spark.deploy.master.Master", *master], **variables)
        wait_for(lambda: reachable(self._port), "Spark's master")
        for number in (1, 2):
            (work := folder / f"work{number}").mkdir()
            options = ["--host", "127.0.0.1", "-c", "1", "-m", "1G", "-d", str(work)]
            options += ["--webui-port", str(*free_ports(1)), self.master]
            worker = [*java, "org.apache.spark.deploy.worker.Worker", *options]
            self.start(f"worker{number}", worker, **variables)

    @property
    def master(self) -> str:
        """The address for --spark_master_url."""
        return f"spark://127.0.0.1:{self._port}"

    def workers(self) -> int:
        """Return how many workers have registered."""
        with contextlib.suppress(OSError):
            page = f"http://127.0.0.1:{self._web}/json/"
            with urllib.request.urlopen(page, timeout=10) as answer:
                return json.load(answer)["aliveworkers"]
        return 0


@contextlib.contextmanager
def running(cluster: Cluster) -> Iterator[Cluster]:
    """End a cluster with the block."""
    try:
        yield cluster
    finally:
        cluster.stop()


def wait_for(condition: Callable[[], object], what: str, seconds: float = 90) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: It does not within the time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.2)


def reachable(port: int) -> bool:
    """Return whether something listens at a port of this machine."""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nothing listens at."""
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [server.getsockname()[1] for server in servers]
