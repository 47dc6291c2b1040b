"""The dry run of a job on Dataflow: Beam builds it, and its request becomes a file.

What only the cloud knows is not checked: neither network nor credentials are used.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DebugOptions,
    PipelineOptions,
    SetupOptions,
    TestOptions,
)
from apache_beam.portability.api import beam_runner_api_pb2
from google.protobuf import json_format

from cli import atomic_file
from cli.errors import UsageError, UserError
from pipeline.engines import portable
from pipeline.storage import files

_DEFAULT_FILE = "dataflow_job.json"


def options(beam_args: Sequence[str]) -> PipelineOptions:
    """Return Beam's options for a pipeline that Beam builds and does not submit."""
    dry = PipelineOptions(list(beam_args))
    dry.view_as(SetupOptions).requirements_cache = "skip"  # pip would download what they name.
    dry.view_as(TestOptions).dry_run = True
    path = dry.view_as(DebugOptions).dataflow_job_file or _DEFAULT_FILE
    if not files.is_local(path):
        raise UsageError(f"--dataflow_job_file={path}: a dry run writes to this machine only")
    dry.view_as(DebugOptions).dataflow_job_file = path
    return dry


def write(pipeline: beam.Pipeline, dry: PipelineOptions) -> str:
    """Write the request by which Dataflow would be asked to run the job, and do not send it.

    Args:
        pipeline: The job, made with these options.
        dry: What `options` returns.

    Returns:
        What was checked, and where the request is, for the user.

    Raises:
        UserError: The job cannot be built, or the file cannot be written.
    """
    try:
        with _children_quiet(), portable.temporary_files_tidied_up():
            request = _request(pipeline.run().job)
    except Exception as error:
        raise _failure(error) from error
    path = dry.view_as(DebugOptions).dataflow_job_file
    try:
        atomic_file.write(path, json.dumps(request, indent=1, sort_keys=True).encode() + b"\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    staged = ", ".join(request["staged"]) or "nothing"
    return (
        f"dry run: flags, Beam's options and the pipeline are right, {staged} would be staged;"
        f" the request is in {path}\n"
        "not checked: what lies on gs://, and whether the project, its quota, the region and images"
        " are there for you"
    )


@contextlib.contextmanager
def _children_quiet() -> Iterator[None]:
    """Let the programs that Beam starts, pip and setuptools among them, print nothing."""
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _failure(error: Exception) -> UserError:
    """Return what to tell the user when Beam cannot build the job."""
    text = str(error).strip()
    if text.startswith("Full trace:"):  # A program that Beam has started.
        return UserError(
            "--dry_run: --setup_file makes no archive of this program; `python setup.py sdist` in"
            " its folder says why"
        )
    reason = " ".join(text.split()) or type(error).__name__
    # Beam looks at some options only now.
    kind = UsageError if isinstance(error, ValueError | RuntimeError) else UserError
    return kind(f"--dry_run: the job cannot be built: {reason}")


def _request(job: Any) -> dict[str, Any]:
    """Return what Dataflow would get, as JSON: the request, the pipeline and names of files."""
    # Private API: apache-beam 2.77.
    from apache_beam.runners.dataflow.internal.apiclient import Environment

    role = beam_runner_api_pb2.ArtifactStagingToRolePayload
    pipeline = json_format.MessageToDict(job.proto_pipeline)
    staged = sorted(
        role.FromString(dependency.role_payload).staged_name
        for environment in job.proto_pipeline.components.environments.values()
        for dependency in environment.dependencies
    )
    location = job.google_cloud_options.staging_location
    environment = Environment(
        proto_pipeline_staged_url=f"{location}/pipeline.pb",
        packages=staged,
        options=job.options,
        environment_version="8",
        proto_pipeline=job.proto_pipeline,
    )
    job.proto.environment = environment.proto
    return {"job": json.loads(job.json()), "pipeline": pipeline, "staged": staged}
