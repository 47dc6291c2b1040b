"""Look at the Flink or Spark cluster before the job goes there.

Beam's job server would try for a minute to reach a master that does not answer, would take a Flink
of another version than its own, and would use one slot of it.
"""

import http
import json
import socket
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    SparkRunnerOptions,
    StandardOptions,
)

from cli.errors import UsageError, UserError

_CONNECT_SECONDS = 10
_LONGEST_ANSWER = 1_000_000  # Bytes.


def look(options: PipelineOptions) -> list[str]:
    """Check that the master answers that the options name.

    Returns:
        Options that follow from what runs there: its version and number of slots, unless given.

    Raises:
        UserError: No master answers at that address.
        UsageError: The address is none, or the given version of Flink is not the one that runs.
    """
    if options.view_as(PortableOptions).job_endpoint:
        return []  # The job server has its own options, and perhaps another network.
    runner = options.view_as(StandardOptions).runner.lower()
    if runner == "flinkrunner":
        return _look_at_flink(options)
    if runner == "sparkrunner":
        _look_at_spark(options.view_as(SparkRunnerOptions).spark_master_url)
    return []


def _look_at_flink(options: PipelineOptions) -> list[str]:
    flink = options.view_as(FlinkRunnerOptions)
    master = flink.flink_master.strip()
    if master in ("[auto]", "[local]"):
        return []
    version, slots = _flink_overview(master)
    given = options.get_all_options(drop_default=True)
    follows = []
    if not flink.flink_job_server_jar:
        follows.append(f"--flink_version={_job_server_version(master, version, given)}")
    if "parallelism" not in given and slots:
        follows.append(f"--parallelism={slots}")
    print(f"Flink {version} at {master}, {slots} slots:", *follows or ["as asked"], flush=True)
    return follows


def _flink_overview(master: str) -> tuple[str, int]:
    """Return the version and the number of slots that Flink's REST interface tells."""
    url = f"{master if '://' in master else f'http://{master}'}/overview"
    try:
        # The job server goes there directly, too.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=_CONNECT_SECONDS) as answer:
            overview = json.loads(answer.read(_LONGEST_ANSWER))
        return str(overview["flink-version"]), int(overview["slots-total"])
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"--flink_master={master}: no Flink answers at {url}: {reason}; expected HOST:8081, the"
            " address of the JobManager's web page"
        ) from None


def _job_server_version(master: str, version: str, given: dict[str, Any]) -> str:
    """Return the --flink_version that suits the Flink that runs."""
    running = ".".join(version.split(".")[:2])
    versions = FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    if running not in versions:
        raise UsageError(
            f"--flink_master={master}: Flink {version} runs there, and Beam has job servers for"
            f" {', '.join(versions)}; name one for {running} by --flink_job_server_jar"
        )
    asked = given.get("flink_version", running)
    if asked != running:
        raise UsageError(
            f"--flink_version={asked}: Flink {version} runs at {master}; leave the option out"
        )
    return running


def _look_at_spark(master: str) -> None:
    if not master.startswith("spark://"):
        return  # local[N], yarn, k8s://...
    # Several masters may stand by for each other.
    for address in master.removeprefix("spark://").split(","):
        try:
            parts = urlsplit(f"spark://{address}")
            if not parts.hostname or not parts.port:
                raise ValueError("no host and port")
            socket.create_connection((parts.hostname, parts.port), _CONNECT_SECONDS).close()
            return
        except (OSError, ValueError) as error:
            reason = error
    raise UserError(
        f"--spark_master_url={master}: no Spark answers there: {reason}; expected spark://HOST:7077,"
        " as the master's web page names it"
    )
