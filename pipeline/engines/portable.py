"""Run the job through Beam's portable runners: Flink, Spark, Prism, Dataflow.

Their workers are processes of the engine, so progress is what lies in the output directory, and an
error comes as text among the text of the engine.
"""

import contextlib
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.runners.runner import PipelineResult, PipelineState

from cli.errors import UsageError, UserError
from pipeline.engines.shard_watch import ShardWatch

# A line of a traceback that names an exception of Python or Java and what it says.
_EXCEPTION = re.compile(r"^(?:Caused by: )?([\w.$]*(?:Error|Exception): .*)$", re.MULTILINE)
# What Beam adds to the message of a stage's error.
_STAGE = re.compile(r" \[while running '[^']*'\]$")
_OURS = re.compile(r"\bcli\.errors\.(UserError|UsageError): (.*)$", re.MULTILINE)
_LONGEST_LINE = 500
_AGAIN = "what is finished is kept: run the same command again to continue"


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
    with ShardWatch(output_dir) as watch:
        try:
            state = _run(pipeline)
        except Exception as error:
            raise _failure(error, runner) from error
    if state != PipelineState.DONE:
        raise UserError(f"--runner={runner}: the job ended as {state}; {_AGAIN}")
    return watch.kept()


def _run(pipeline: beam.Pipeline) -> str:
    """Run the job and return its last state."""
    # Threads of Beam print the traceback of a failure, besides handing it on.
    with open(os.devnull, "w") as sink, contextlib.redirect_stderr(sink):
        result = pipeline.run()
        print("the engine has taken the job", flush=True)
        with _cancelled_by_interrupt(result):
            return str(result.wait_until_finish())


@contextlib.contextmanager
def _cancelled_by_interrupt(result: PipelineResult) -> Iterator[None]:
    """Cancel the job when the user interrupts the block: the engine would go on."""
    # Beam's own handler would stop the job server, by which the job is cancelled.
    main = threading.current_thread() is threading.main_thread()
    beams = signal.signal(signal.SIGINT, signal.default_int_handler) if main else None
    try:
        yield
    except KeyboardInterrupt:
        with contextlib.suppress(Exception):
            result.cancel()
        raise
    finally:
        if main:
            signal.signal(signal.SIGINT, beams)


def _failure(error: Exception, runner: str) -> UserError:
    """Return what to tell the user when the job has failed with `error`."""
    if isinstance(error, UserError):  # The runner works in this process.
        return type(error)(_STAGE.sub("", str(error)))
    if ours := _OURS.search(str(error)):
        kind, message = ours.groups()
        return (UsageError if kind == "UsageError" else UserError)(_STAGE.sub("", message))
    if isinstance(error, FileNotFoundError) and error.filename == "java":
        return UserError(
            f"--runner={runner}: no Java is on the PATH, which Beam's job server needs; install"
            " one, name it by --job_server_java_launcher, or name a running job server by"
            " --job_endpoint"
        )
    return UserError(f"--runner={runner}: the job failed: {_one_line(error)}; {_AGAIN}")


def _one_line(error: Exception) -> str:
    """Return what an error says, without the tracebacks that engines put into its text."""
    exceptions = _EXCEPTION.findall(str(error))
    text = exceptions[-1] if exceptions else str(error) or type(error).__name__
    return " ".join(text.split())[:_LONGEST_LINE]
