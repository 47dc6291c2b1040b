"""Running the job: on this machine by Beam's own Python runner, elsewhere by the one named."""

import contextlib
import os
from collections import Counter

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline import graph, progress, quiet, step, workers
from pipeline.config import Config
from records.errors import UsageError


def run(config: Config) -> Counter[str]:
    """Run the job to its end; returns what its workers counted (`Progress`), nothing for others.

    Raises:
        UserError: the job met what one line explains; UsageError: Beam refuses its options.
    """
    failures: list[str] = []
    pipeline = _pipeline(config, failures)
    if not config.local:
        quiet.undo()
    with progress.shown(config.local) as (path, counts):
        try:
            graph.build(pipeline, config, path)
            # Threads that run steps print their tracebacks, beside handing them on.
            with open(os.devnull, "w") as sink, contextlib.redirect_stderr(sink):
                pipeline.run().wait_until_finish()
        except Exception as error:
            if str(error).startswith("KeyboardInterrupt"):  # met inside a step
                raise KeyboardInterrupt from None
            known = step.user_error(failures[0] if failures else str(error))
            if known is None:
                raise
            raise known from None
    return counts


def _pipeline(config: Config, failures: list[str]) -> beam.Pipeline:
    options = PipelineOptions(list(config.beam_args))
    try:
        return beam.Pipeline(
            runner=_local_runner(options, config.output_dir, failures) if config.local else None,
            options=options,
        )
    except (ValueError, ImportError, AttributeError) as error:
        raise UsageError(f"Beam: {' '.join(str(error).split())}") from None


def _local_runner(options: PipelineOptions, output_dir: str, failures: list[str]) -> FnApiRunner:
    """FnApiRunner, whose subprocesses are our own quiet worker; `failures` takes theirs."""
    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode != "multi_processing":
        return FnApiRunner()
    # The runner would put Beam's command in the place of ours.
    direct.direct_running_mode = "in_memory"
    return FnApiRunner(workers.environment(output_dir, failures))
