"""Run the job: on this machine by Beam's own Python runner, elsewhere by the runner named."""

import contextlib
import gc
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from types import FrameType

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner

from cli.errors import UsageError
from pipeline.config import Config
from pipeline.engines import dry_run, masters, portable, worker_handler
from pipeline.job import graph, reports


def run(config: Config) -> Counter[str]:
    """Run the job to its end.

    Returns:
        What the workers counted (`pipeline.job.reports`). On engines other than this machine and
        Dask only kept_shards and kept_images.

    Raises:
        UserError: The job failed for a reason that one line explains.
        UsageError: Beam refuses its options, or a flag does not fit the source.
    """
    options = PipelineOptions(list(config.beam_args))
    if config.engine in ("beam", "dataflow"):
        options = PipelineOptions([*config.beam_args, *masters.look(options)])
        pipeline = _pipeline(None, options, config, None)
        return portable.run(pipeline, config.output_dir, options.view_as(StandardOptions).runner)
    with contextlib.closing(reports.Monitor()) as monitor:
        try:
            if config.engine == "dask":
                from pipeline.engines.dask_runner import DaskRunner

                dask = DaskRunner(monitor.receive)
                _run_pipeline(dask, options, config, dask.report)
            else:
                with reports.through_file(monitor) as report:
                    local = _local_runner(options, config.output_dir, monitor)
                    _run_pipeline(local, options, config, report)
        except Exception:
            # Beam adds words of its own to a stage's error, or gives its text as another error.
            if monitor.failure:
                raise monitor.failure from None
            raise
        return monitor.counts


def write_request(config: Config) -> str:
    """Make a dry run: build the job for Dataflow, and return what to tell the user.

    Raises:
        UserError: It cannot be built, or its request cannot be written.
        UsageError: Beam refuses its options.
    """
    options = dry_run.options(config.beam_args)
    return dry_run.write(_pipeline(None, options, config, None), options)


def _run_pipeline(
    runner: PipelineRunner, options: PipelineOptions, config: Config, report: reports.Report
) -> None:
    pipeline = _pipeline(runner, options, config, report)
    # Threads of Beam print the traceback of a failure, besides handing it on.
    with (
        _interrupts_kept(),
        open(os.devnull, "w") as sink,
        contextlib.redirect_stderr(sink),
    ):
        pipeline.run().wait_until_finish()


def _pipeline(
    runner: PipelineRunner | None,
    options: PipelineOptions,
    config: Config,
    report: reports.Report | None,
) -> beam.Pipeline:
    """Return the job as a pipeline; without `runner` the options name one."""
    try:
        pipeline = beam.Pipeline(runner=runner, options=options)
    except OSError as error:
        raise reports.no_temporary_files(error) from None
    except (ValueError, ImportError, AttributeError) as error:
        raise UsageError(f"Beam: {' '.join(str(error).split())}") from None
    graph.build(pipeline, config, report)
    gc.freeze()  # Imported modules are no garbage; looking through them took 10% of the time.
    return pipeline


@contextlib.contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Raise KeyboardInterrupt at the block's end when Beam has made another error of one."""
    interrupted = threading.Event()

    def interrupt(signum: int, frame: FrameType | None) -> None:
        interrupted.set()
        signal.default_int_handler(signum, frame)

    # Other handlers than Python's own (ignore, a program around this one) are left alone.
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception:
        if interrupted.is_set():
            raise KeyboardInterrupt from None
        raise
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _local_runner(
    options: PipelineOptions, output_dir: str, monitor: reports.Monitor
) -> FnApiRunner:
    """Return Beam's Python runner; with multi_processing its subprocesses are our own workers."""
    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode != "multi_processing":
        return FnApiRunner()
    # In this mode the runner would replace our command by Beam's own.
    direct.direct_running_mode = "in_memory"
    return FnApiRunner(worker_handler.environment(output_dir, monitor.fail))
