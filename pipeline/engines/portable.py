"""Run the job through Beam's portable runners: Flink, Spark, Prism, Dataflow.

Their workers are processes of the engine, so progress is what lies in the output directory, and an
error comes as text among the text of the engine.
"""

import atexit
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO, cast

import apache_beam as beam
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.runner import PipelineState
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

from cli.errors import UserError
from pipeline.engines import failures
from pipeline.engines.shard_watch import ShardWatch
from pipeline.job import reports


def _stop_no_worker(
    pool: BeamFnExternalWorkerPoolServicer,
    request: beam_fn_api_pb2.StopWorkerRequest,
    context: Any,
) -> beam_fn_api_pb2.StopWorkerResponse:
    return beam_fn_api_pb2.StopWorkerResponse()


# Private API: apache-beam 2.77. With --environment_type=LOOPBACK the workers are threads of this
# process. Each machine of the engine numbers its own from 1, so one machine would stop the workers
# of another. A thread ends without this, when its connection does.
BeamFnExternalWorkerPoolServicer.StopWorker = _stop_no_worker


def run(pipeline: beam.Pipeline, output_dir: str, runner: str) -> Counter[str]:
    """Run the job to its end.

    Args:
        pipeline: The job.
        output_dir: Directory that the job writes to.
        runner: Name of Beam's runner, as the user gave it.

    Returns:
        How many shards and images were finished before (`kept_shards`, `kept_images`).

    Raises:
        UserError: The job failed, or was cancelled from the engine's side.
        UsageError: A flag does not fit the source.
    """
    with _ended_by_signals(), ShardWatch(output_dir) as watch:
        try:
            state = _run(pipeline)
        except BaseException as error:
            # With LOOPBACK, threads of this process still work, and print how they fail at its end.
            sys.stderr = cast(TextIO, _MainThreadsStream(sys.stderr))
            if isinstance(error, Exception):
                raise failures.explained(error, runner) from error
            raise
    if state != PipelineState.DONE:
        raise UserError(f"--runner={runner}: the job ended as {state}; {failures.AGAIN}")
    return watch.kept()


class _MainThreadsStream:
    """A stream that passes on what the main thread writes, and drops the rest."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or do nothing in another thread."""
        main = threading.current_thread() is threading.main_thread()
        return self._stream.write(text) if main else len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _run(pipeline: beam.Pipeline) -> str:
    """Run the job and return its last state; cancel it when this process is told to end."""
    # Threads of Beam print tracebacks, also after the end: the sink is never closed.
    sink = open(os.devnull, "w")  # noqa: SIM115
    with temporary_files_tidied_up(), contextlib.redirect_stderr(sink):
        result = pipeline.run()
        print("the engine has taken the job", flush=True)
        # Beam's handler would stop the job server, which is needed to cancel the job.
        with _ended_by_signals():
            try:
                return str(result.wait_until_finish())
            except (KeyboardInterrupt, SystemExit):
                with contextlib.suppress(Exception):
                    result.cancel()
                raise


@contextlib.contextmanager
def temporary_files_tidied_up() -> Iterator[None]:
    """Give the block a folder for temporary files, which goes at the exit: Beam leaves some."""
    before = tempfile.tempdir
    try:
        folder = tempfile.mkdtemp(prefix="build-records-")
    except OSError as error:
        raise reports.no_temporary_files(error) from None
    # Exit handlers run in the opposite order: Beam's job server, which uses it, stops first.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Make the signals that end a command exceptions, so that Beam can tidy up."""

    def terminate(signum: int, frame: FrameType | None) -> None:
        sys.exit(128 + signum)

    if threading.current_thread() is not threading.main_thread():
        yield  # A program around this one cares for signals.
        return
    handlers = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: terminate,
        signal.SIGHUP: terminate,
    }
    before = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        if signal.getsignal(number) is not signal.SIG_IGN  # As nohup makes it.
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
