"""Running the job: on this machine by Beam's own Python runner, elsewhere by the one named."""

import contextlib
import gc
import os
from collections import Counter
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner

from cli.errors import UsageError, UserError
from pipeline.config import Config
from pipeline.engines import beam_log as quiet
from pipeline.engines import worker_handler
from pipeline.job import graph, reports, stage


def run(config: Config) -> Counter[str]:
    """Run the job to its end; returns what its workers counted (`Progress`).

    Nothing is counted on other engines than this machine and Dask: their logs are shown instead.

    Raises:
        UserError: the job met what one line explains; UsageError: Beam refuses its options.
    """
    options = PipelineOptions(list(config.beam_args))
    if config.engine == "beam":
        quiet.undo()
        _run(None, options, config)
        return Counter()
    failures: list[str] = []
    with contextlib.closing(reports.Total()) as total:
        if config.engine == "dask":
            from pipeline.engines.dask_runner import DaskRunner

            runner = DaskRunner(total.add)
            _run(runner, options, config, runner.report)
        else:
            with reports.by_file(total) as report:
                runner = _local_runner(options, config.output_dir, failures)
                _run(runner, options, config, report, failures)
        return total.counts


def _run(
    runner: PipelineRunner | None,
    options: PipelineOptions,
    config: Config,
    report: reports.Report | None = None,
    failures: Sequence[str] = (),
) -> None:
    try:
        pipeline = beam.Pipeline(runner=runner, options=options)
    except OSError as error:
        raise UserError(
            f"no temporary files can be made: {error}; TMPDIR names the place"
        ) from None
    except (ValueError, ImportError, AttributeError) as error:
        raise UsageError(f"Beam: {' '.join(str(error).split())}") from None
    try:
        graph.build(pipeline, config, report)
        gc.freeze()  # what is imported is no garbage: looking through it took a tenth of the time
        # Threads that run steps print their tracebacks, beside handing them on.
        with open(os.devnull, "w") as sink, contextlib.redirect_stderr(sink):
            pipeline.run().wait_until_finish()
    except Exception as error:
        if str(error).startswith("KeyboardInterrupt"):  # met inside a step
            raise KeyboardInterrupt from None
        known = stage.user_error(failures[0] if failures else str(error))
        if known is None:
            raise
        raise known from None


def _local_runner(options: PipelineOptions, output_dir: str, failures: list[str]) -> FnApiRunner:
    """FnApiRunner, whose subprocesses are our own quiet worker; `failures` takes theirs."""
    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode != "multi_processing":
        return FnApiRunner()
    # The runner would put Beam's command in the place of ours.
    direct.direct_running_mode = "in_memory"
    return FnApiRunner(worker_handler.environment(output_dir, failures))
