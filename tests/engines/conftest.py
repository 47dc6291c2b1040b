"""The clusters, started once, and the records that all engines must write."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.engines import clusters, downloads, versions
from tests.support.commands import ROOT, users_environment
from tests.support.records import contents


def pytest_sessionstart(session):
    """Show what is downloaded, although pytest captures what tests print."""
    capture = session.config.pluginmanager.get_plugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", flush=True)

    if capture:
        downloads.say = say


@dataclasses.dataclass(frozen=True)
class Engine:
    """An engine that runs the job.

    Attributes:
        cluster: Its processes; None for an engine that the command starts.
        options: Beam's options that send the job there, except the workers' environment.
    """

    cluster: clusters.Cluster | None
    options: tuple[str, ...]

    def start(self, *options: str, environment: str = "LOOPBACK") -> "subprocess.Popen[str]":
        """Start a build there, in a process group of its own."""
        environment_option = f"--environment_type={environment}"
        return start_build([*self.options, environment_option, *options])

    def build(self, *options: str, environment: str = "LOOPBACK") -> tuple[int, str]:
        """Return the exit code of a build there, and all that it printed."""
        return outcome(self.start(*options, environment=environment))


def start_build(options: Sequence[str]) -> "subprocess.Popen[str]":
    """Start the command that builds records, as a user does."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.build_records", *options],
        cwd=ROOT,
        env=users_environment() | {"SPARK_LOCAL_IP": "127.0.0.1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def outcome(process: "subprocess.Popen[str]", seconds: float = 600) -> tuple[int, str]:
    """Return the exit code of a build, and all that it printed."""
    output, _ = process.communicate(timeout=seconds)
    print(output)
    return process.returncode, output


def assert_same(ours: Path, theirs: Path) -> None:
    """Compare all files but the manifest, which names the output directory."""
    some, others = contents(ours), contents(theirs)
    assert some.pop("dataset_info.json") and others.pop("dataset_info.json")
    assert some == others


@pytest.fixture(scope="session")
def flink(tmp_path_factory):
    """A Flink cluster with two TaskManagers."""
    main = "org.apache.beam.runners.flink.FlinkJobServerDriver"
    jar, chosen = downloads.job_server("flink", main, versions.FLINK)
    libraries = downloads.engine_folder("apache-flink-libraries", chosen.engine) / "lib"
    cluster = clusters.Flink(tmp_path_factory.mktemp("flink"), libraries)
    with clusters.running(cluster):
        clusters.wait_for(lambda: cluster.slots() == 2, "two TaskManagers")
        options = ("--runner=FlinkRunner", f"--flink_master={cluster.master}")
        yield Engine(cluster, (*options, f"--flink_job_server_jar={jar}"))


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """A Spark cluster with two workers."""
    main = "org.apache.beam.runners.spark.SparkJobServerDriver"
    jar, chosen = downloads.job_server("spark", main, versions.SPARK)
    home = downloads.engine_folder("pyspark", chosen.engine)
    cluster = clusters.Spark(tmp_path_factory.mktemp("spark"), home)
    with clusters.running(cluster):
        clusters.wait_for(lambda: cluster.workers() == 2, "two workers")
        options = ("--runner=SparkRunner", f"--spark_master_url={cluster.master}")
        yield Engine(cluster, (*options, f"--spark_job_server_jar={jar}"))


@pytest.fixture(scope="session")
def prism():
    """Prism, which each command starts and ends by itself."""
    return Engine(None, ("--runner=PrismRunner", f"--prism_location={downloads.prism()}"))


@pytest.fixture(params=["flink", "spark", "prism"])
def engine(request):
    """Each of the engines."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """Options of a build of 500 drawn images into many shards."""
    data = tmp_path_factory.mktemp("scenes")
    options = ["--dataset=scenes", "--scenes_images=500", f"--data_dir={data}"]
    return [*options, "--train_shards=20", "--min_word_count=1"]


@pytest.fixture(scope="session")
def direct(source, tmp_path_factory):
    """A function that returns the records that DirectRunner writes with these options."""
    built: dict[tuple[str, ...], Path] = {}

    def build(*options: str) -> Path:
        if options not in built:
            output = tmp_path_factory.mktemp("direct")
            command = ["--runner=DirectRunner", *source, *options, f"--output_dir={output}"]
            code, text = outcome(start_build(command))
            assert code == 0, text
            built[options] = output
        return built[options]

    return build


@pytest.fixture
def boot(tmp_path):
    """A command for --environment_config: Beam's boot program with this Python."""
    program = downloads.boot()
    script = tmp_path / "boot.sh"
    script.write_text(
        "#!/bin/sh\n"
        f'export PATH="{Path(sys.executable).parent}:$PATH" PYTHONPATH="{ROOT}"\n'
        # Without it the program makes an environment that lacks what this one has.
        "export RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1\n"
        f'exec "{program}" "$@"\n'
    )
    os.chmod(script, 0o755)
    return script
