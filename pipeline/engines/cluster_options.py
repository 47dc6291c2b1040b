"""The options of a job on a Flink or Spark cluster, checked before the cluster is asked."""

import argparse
import json
import os
import re
import zipfile

from cli.errors import UsageError

_ENVIRONMENTS = ("LOOPBACK", "PROCESS", "DOCKER", "EXTERNAL")
# Flink and Spark start themselves in the job server, or find their cluster in another way.
_NO_MASTERS = re.compile(r"\[auto\]|\[local\]|local(\[.+\])?|yarn|k8s://.+|mesos://.+")
_ADDRESS = r"(\[[0-9a-fA-F:]+\]|[^\s/:@\[\]]+):\d+"
_FLINK = re.compile(rf"(https?://)?{_ADDRESS}")
_SPARK = re.compile(rf"spark://{_ADDRESS}(,{_ADDRESS})*")


def check(runner: str, options: argparse.Namespace) -> None:
    """Check the options that send the job to a Flink or Spark cluster.

    Args:
        runner: Name of the runner in lower case.
        options: All of Beam's options, parsed.

    Raises:
        UsageError: One is missing or wrong.
    """
    if runner not in ("flinkrunner", "sparkrunner"):
        return
    _check_environment(options)
    name = "flink" if runner == "flinkrunner" else "spark"
    jar = getattr(options, f"{name}_job_server_jar")
    if jar and "://" not in jar and not (os.path.isfile(jar) and zipfile.is_zipfile(jar)):
        raise UsageError(
            f"--{name}_job_server_jar={jar}: there is no jar; expected Beam's job server"
        )
    if options.parallelism == 0 or options.parallelism < -1:
        raise UsageError(f"--parallelism={options.parallelism}: expected 1 or more")
    if options.job_endpoint:
        return
    master = options.flink_master.strip() if name == "flink" else options.spark_master_url
    option = "flink_master" if name == "flink" else "spark_master_url"
    example = "HOST:8081" if name == "flink" else "spark://HOST:7077"
    if _NO_MASTERS.fullmatch(master):
        return
    if not (_FLINK if name == "flink" else _SPARK).fullmatch(master):
        shown = "..." if "@" in master else master  # A password is nobody's business.
        raise UsageError(
            f"--{option}={shown}: expected {example}, without a path and without a user's name"
        )
    if not options.environment_type:
        raise UsageError(
            f"--{option}={master} needs --environment_type, which says where workers find this"
            " program: LOOPBACK to try it on this machine, PROCESS or DOCKER; docs/operations.md"
            " has examples"
        )


def _check_environment(options: argparse.Namespace) -> None:
    kind, config = options.environment_type, options.environment_config
    if not kind:
        return
    if kind not in _ENVIRONMENTS and not kind.startswith("beam:env:"):
        raise UsageError(f"--environment_type={kind}: expected one of {', '.join(_ENVIRONMENTS)}")
    if kind == "PROCESS" and config:
        try:
            command = json.loads(config).get("command")
        except (ValueError, AttributeError):
            command = None
        if not isinstance(command, str) or not command:
            raise UsageError(
                f"--environment_config={config}: expected JSON such as"
                ' {"command": "/opt/captioner/boot.sh"}, a program on every worker\'s machine'
            )
    if kind == "DOCKER" and not (config or options.sdk_container_image):
        raise UsageError(
            "--environment_type=DOCKER needs --environment_config=IMAGE: Beam's own image lacks"
            " this program, docker/worker.Dockerfile makes one that has it"
        )
