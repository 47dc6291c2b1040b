"""TF_CONFIG: the workers of a cluster, and which of them this process is."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from cli.errors import UsageError

_EXAMPLE = (
    '{"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task": {"type": "worker", "index": 0}}'
)
_ADDRESS = re.compile(r"(\S+):(\d{1,5})")


class Task(NamedTuple):
    """One worker of a cluster.

    Attributes:
        worker: Its number, from 0; the chief is worker 0.
        addresses: `HOST:PORT` of every worker; empty without a cluster.
    """

    worker: int = 0
    addresses: tuple[str, ...] = ()

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return max(1, len(self.addresses))


def parse_tf_config(tf_config: str) -> Task:
    """Read which worker this process is.

    Args:
        tf_config: The value of TF_CONFIG; empty for a single worker.

    Raises:
        UsageError: It does not describe a cluster of workers and one of them.
    """
    if not tf_config.strip():
        return Task()
    try:
        config = json.loads(tf_config)
        jobs, kind, index = config["cluster"], config["task"]["type"], int(config["task"]["index"])
        if jobs.keys() - {"chief", "worker"}:
            raise ValueError(f"its jobs are {', '.join(sorted(jobs))}")
        addresses = _addresses(jobs)
        if not 0 <= index < len(jobs[kind]):
            raise ValueError(f"there is no {kind} {index}")
        chiefs = len(jobs.get("chief", [])) if kind == "worker" else 0  # a chief is worker 0
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"TF_CONFIG: expected {_EXAMPLE}, found {tf_config[:200]!r}"
            f" ({type(error).__name__}: {error})"
        ) from None
    return Task(chiefs + index, addresses)


def _addresses(jobs: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the address of every worker in order; raise ValueError for what is none."""
    for job, listed in jobs.items():
        if not isinstance(listed, list):
            raise ValueError(f"{job} is no list of addresses")
    if len(jobs.get("chief", [])) > 1:
        raise ValueError("there is more than one chief")
    addresses = [*jobs.get("chief", []), *jobs.get("worker", [])]
    for address, count in Counter(map(str, addresses)).items():
        match = _ADDRESS.fullmatch(address)
        if not match or not 0 < int(match[2]) < 1 << 16:
            raise ValueError(f"{address} is no HOST:PORT")
        if count > 1:
            raise ValueError(f"{address} comes twice")
    return tuple(addresses)
