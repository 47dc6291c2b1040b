"""A runner of Beam pipelines on a Dask cluster.

Beam 2.77's own DaskRunner adds up the results of bundles that meet in a process (so every word is
counted twice), computes a side input again for each bundle, and gives all shards to one worker.
This runner takes the same options and runs what the job consists of, in the global window: Create,
ParDo with side inputs, GroupByKey. It refuses anything else.
"""

import contextlib
import functools
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import distributed
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pipeline import Pipeline
from apache_beam.runners.dask.dask_runner import DaskOptions
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState
from distributed import Client

from cli.errors import UserError
from pipeline.engines.dask_transforms import Submission
from pipeline.job.reports import Message, Report

# Dask would wait 30 s for a mistyped address.
_CONNECT_SECONDS = 10


class DaskRunner(PipelineRunner):
    """Runs a pipeline to its end.

    Args:
        on_report: Called, from another thread, with each message that a stage gives to `report`.
    """

    def __init__(self, on_report: Callable[[Message], None]):
        super().__init__()
        self._topic = f"build-records-{uuid.uuid4().hex}"
        self._on_report = on_report

    @property
    def report(self) -> Report:
        """What a stage calls on its worker to send a message to `on_report`."""
        return functools.partial(_report, self._topic)

    def is_fnapi_compatible(self) -> bool:
        """Return False: pipelines are run as they are, not as Beam's protocol buffers."""
        return False

    def run_pipeline(self, pipeline: Pipeline, options: PipelineOptions) -> PipelineResult:
        """Run a pipeline, and return when everything is done.

        Args:
            pipeline: The pipeline.
            options: Beam's options, those of its Dask runner among them.

        Raises:
            UserError: The cluster cannot be reached, was lost, or lacks this program.
            Exception: Whatever a stage raised on its worker.
        """
        dask_options = options.view_as(DaskOptions).get_all_options(
            drop_default=True, current_only=True
        )
        partitions = dask_options.pop("npartitions", None)
        partition_size = dask_options.pop("partition_size", None)
        with _connected(dask_options) as client, _cluster_errors_explained():
            _check_imports(client)
            client.subscribe_topic(self._topic, lambda event: self._on_report(event[1]))
            submission = Submission(client, partitions, partition_size)
            pipeline.visit(submission)
            submission.wait()
        return PipelineResult(PipelineState.DONE)


def _report(topic: str, message: Message) -> None:
    distributed.get_worker().log_event(topic, message)


@contextlib.contextmanager
def _connected(options: dict[str, Any]) -> Iterator[Client]:
    address, file = options.get("address"), options.get("scheduler_file")
    try:
        if file:
            open(file).close()  # Dask would wait for a missing file.
        client = Client(**{"timeout": _CONNECT_SECONDS} | options)
    except Exception as error:  # Anything may answer at that address.
        reason = " ".join(str(error).split())
        raise UserError(f"no Dask scheduler answers at {address or file}: {reason}") from None
    with client:
        yield client


def _check_imports(client: Client) -> None:
    """Import this module everywhere: a worker that cannot do so dies and tells only its own log."""
    statement = f"import {__name__}"
    client.run_on_scheduler(exec, statement, {})
    if not client.nthreads():
        address = client.scheduler.address
        print(f"no worker at {address} yet: waiting for `dask worker {address}`", flush=True)
        # A waiting task makes clusters grow that can grow.
        client.submit(exec, statement, {}).result()
    client.run(exec, statement, {})


@contextlib.contextmanager
def _cluster_errors_explained() -> Iterator[None]:
    """Turn what goes wrong with the cluster into a line; let errors of stages through."""
    again = "; what is finished is kept: run the same command again to continue"
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"the Dask cluster cannot import {error.name!r}: install this program and what it needs"
            " where its scheduler and workers run (`pip install .[dask]` in its folder), or start"
            " them with its folder in PYTHONPATH"
        ) from None
    except distributed.KilledWorker as error:
        raise UserError(
            f"{error.allowed_failures + 1} Dask workers died in the same task, perhaps for lack of"
            f" memory: their logs say more{again}"
        ) from None
    except distributed.client.FutureCancelledError:
        raise UserError(f"the connection to the Dask scheduler was lost{again}") from None
