"""Beam's own options on the command line, checked: Beam itself drops options it does not know."""

import argparse
import importlib.util
import os
from collections.abc import Sequence
from typing import NoReturn

from apache_beam.io.filesystems import FileSystems
from apache_beam.options import pipeline_options
from apache_beam.options.pipeline_options import PipelineOptions

from cli.errors import UsageError, UserError
from pipeline.config import Engine
from pipeline.engines import cluster_options, dataflow, prism

# For these names Beam 2.77 would first download and start Prism, a Go program. FnApiRunner is
# Beam's own substitute for it: it runs on this machine, in this Python.
_LOCAL_RUNNERS = {"directrunner", "switchingdirectrunner", "testdirectrunner", "fnapirunner"}
_BEAMS_RUNNERS = "apache_beam.runners."


class _Parser(pipeline_options._BeamArgumentParser):  # Private API: apache-beam 2.77.
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def checked(beam_args: Sequence[str]) -> tuple[tuple[str, ...], Engine]:
    """Check Beam's options and set up its file systems with them.

    Returns:
        The options, with those that follow from others, and the engine that they ask for.

    Raises:
        UsageError: Beam does not know an option either, or does not take its value.
        UserError: Dask cannot read the user's configuration.
    """
    beam_args = tuple(beam_args)
    runner = _runner(beam_args)
    engine = _engine(runner)
    if engine == "dask":
        _declare_dask_options()
    parser = _Parser(allow_abbrev=False)
    for group in {str(cls): cls for cls in PipelineOptions.__subclasses__()}.values():
        group._add_argparse_args(parser)  # Private API: apache-beam 2.77.
    known, unknown = parser.parse_known_args(list(beam_args))
    if unknown:
        raise UsageError(
            f"unknown option {unknown[0]!r}: neither a flag of this command (--help lists them)"
            " nor a Beam option"
        )
    if engine == "dask" and not (known.address or known.scheduler_file):
        raise UsageError(
            "--runner=DaskRunner needs --dask_client_address=tcp://HOST:8786, as `dask scheduler`"
            " prints it; for processes on this machine alone, --direct_num_workers=N needs no"
            " cluster"
        )
    if runner == "prismrunner" and not known.job_endpoint:
        prism.check(known.prism_location)
    cluster_options.check(runner, known)
    if known.streaming:
        raise UsageError("--streaming: this job reads what there is, and ends")
    if known.setup_file and engine != "local":
        _check_setup_file(known.setup_file)
    if engine == "dataflow":
        # The stages are in modules; Beam would pickle the command besides.
        beam_args = (*beam_args, "--no_save_main_session")
        dataflow.check(beam_args)
    mode_given = any(arg.partition("=")[0] == "--direct_running_mode" for arg in beam_args)
    if engine == "local" and known.direct_num_workers != 1 and not mode_given:
        # Beam's default, in_memory, has one worker whatever number is asked for.
        beam_args = (*beam_args, "--direct_running_mode=multi_processing")
    FileSystems.set_options(PipelineOptions(list(beam_args)))
    return beam_args, engine


def _runner(beam_args: Sequence[str]) -> str:
    """Return the name of the runner in lower case: one for all that Beam takes for it."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--runner", default="direct")
    try:
        runner: str = parser.parse_known_args(list(beam_args))[0].runner.lower()
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from None
    if runner.startswith(_BEAMS_RUNNERS):
        runner = runner.rpartition(".")[2]
    return runner if "." in runner or runner.endswith("runner") else f"{runner}runner"


def _engine(runner: str) -> Engine:
    if runner in _LOCAL_RUNNERS:
        return "local"
    if runner == "daskrunner":
        return "dask"
    return "dataflow" if runner == "dataflowrunner" else "beam"


def _check_setup_file(path: str) -> None:
    # Beam 2.77 makes the distribution by it when the job has begun.
    if not os.path.isfile(path):
        raise UsageError(f"--setup_file={path}: no such file; ./setup.py is this program's")
    if not importlib.util.find_spec("setuptools"):
        raise UsageError(f"--setup_file={path} needs setuptools: pip install setuptools")


def _declare_dask_options() -> None:
    """Import Beam's Dask runner, which declares its options."""
    if not importlib.util.find_spec("distributed"):
        raise UsageError("--runner=DaskRunner needs Dask: pip install 'captioner[dask]'")
    try:
        import apache_beam.runners.dask.dask_runner  # noqa: F401
    except Exception as error:  # Dask reads the user's configuration when it is imported.
        reason = " ".join(str(error).split())
        raise UserError(f"--runner=DaskRunner: Dask cannot start: {reason}") from None
