"""Beam's own options on the command line, checked: Beam itself drops what it does not know."""

import argparse
import importlib.util

from apache_beam.io.filesystems import FileSystems
from apache_beam.options import pipeline_options
from apache_beam.options.pipeline_options import PipelineOptions

from cli.errors import UsageError

# Beam 2.77 would first download and start Prism, a Go program, for these. FnApiRunner is what they
# fall back to: it runs here, in this Python, from nothing but what is installed.
_LOCAL_RUNNERS = {"directrunner", "direct", "switchingdirectrunner", "fnapirunner"}
_DASK_RUNNERS = {"daskrunner", "apache_beam.runners.dask.dask_runner.daskrunner"}


class _Parser(pipeline_options._BeamArgumentParser):
    def error(self, message: str):
        raise UsageError(message)


def checked(rest: list[str]) -> tuple[tuple[str, ...], str]:
    """(Beam's options, the engine they ask for); Beam's file systems are set up with them.

    The engine is "local" (Beam's Python runner, on this machine), "dask", or "beam" for any other
    runner of Beam.

    Raises:
        UsageError: an option that Beam does not know either, or a value that it does not take.
    """
    engine = _engine(rest)
    if engine == "dask":
        _declare_dask_options()
    parser = _Parser(allow_abbrev=False)
    for group in {str(cls): cls for cls in PipelineOptions.__subclasses__()}.values():
        group._add_argparse_args(parser)
    known, unknown = parser.parse_known_args(rest)
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
    mode_given = any(arg.partition("=")[0] == "--direct_running_mode" for arg in rest)
    if engine == "local" and known.direct_num_workers != 1 and not mode_given:
        # Beam's default, in_memory, has one worker whatever is asked.
        rest = [*rest, "--direct_running_mode=multi_processing"]
    FileSystems.set_options(PipelineOptions(rest))
    return tuple(rest), engine


def _engine(rest: list[str]) -> str:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--runner", default="direct")
    try:
        runner = parser.parse_known_args(rest)[0].runner.lower()
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from None
    return "local" if runner in _LOCAL_RUNNERS else "dask" if runner in _DASK_RUNNERS else "beam"


def _declare_dask_options() -> None:
    """Beam knows them once this module is imported."""
    if not importlib.util.find_spec("distributed"):
        raise UsageError("--runner=DaskRunner needs Dask: pip install 'captioner[dask]'")
    import apache_beam.runners.dask.dask_runner  # noqa: F401
