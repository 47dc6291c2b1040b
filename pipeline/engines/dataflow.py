"""Google Cloud Dataflow: what can be checked of a job before the cloud is asked, or money is spent.

No network and no credentials are used here. `pipeline.engines.dry_run` goes on from here to the
job's request.
"""

import importlib
import re
from collections.abc import Sequence

from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    TestOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

from cli.errors import UsageError
from pipeline.build_flags import BuildFlags
from pipeline.datasets.options import PATHS
from pipeline.storage import files

_REGION = re.compile(r"[a-z]+-[a-z]+\d+")
_PLACE = re.compile(r"gs://[a-z0-9][-_.a-z0-9]+[a-z0-9](/.*)?")
_NEEDED = {
    "project": "PROJECT",
    "region": "REGION, such as us-central1",
    "temp_location": "gs://BUCKET/FOLDER",
}
# Beam would ask the cloud about an earlier job, or end before the records are built.
_REFUSED = {
    "update": "this job does not stream, so that none can be updated",
    "template_location": "a template does not run the job, and --output_dir is locked for it here;"
    " --dry_run writes what a template holds",
}
_NEEDS_BEAMS_PARTS = (
    "--runner=DataflowRunner needs Beam's parts for Google Cloud: pip install 'captioner[gcp]'"
)


def check(beam_args: Sequence[str]) -> None:
    """Check Beam's options for a job on Dataflow.

    Raises:
        UsageError: One is missing or wrong, or Beam's parts for Google Cloud are not installed.
    """
    options = PipelineOptions(list(beam_args))
    cloud = options.view_as(GoogleCloudOptions)
    for name, example in _NEEDED.items():
        if not getattr(cloud, name):
            raise UsageError(f"--runner=DataflowRunner needs --{name}={example}")
    for name, reason in _REFUSED.items():
        if getattr(cloud, name):
            raise UsageError(f"--{name}: {reason}")
    if not _REGION.fullmatch(cloud.region):
        zone = cloud.region.rpartition("-")[0]
        of_zone = f"; that is a zone, its region is {zone}" if _REGION.fullmatch(zone) else ""
        raise UsageError(f"--region={cloud.region}: expected one such as us-central1{of_zone}")
    _check_workers(options)
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner  # Takes a while.

    # With a dry run Beam's own checks do not ask the cloud.
    options.view_as(TestOptions).dry_run = True
    validator = PipelineOptionsValidator(options, DataflowRunner())
    locations = ("temp_location", "staging_location")
    problems = [
        problem
        for name in locations
        if getattr(cloud, name)
        for problem in validator.validate_gcs_path(cloud, name)
    ]
    # A wrong location would let Beam make a bucket.
    if problems := problems or validator.validate():
        raise UsageError(f"Beam: {' '.join(problems[0].split())}")
    try:
        importlib.import_module("google.cloud.dataflow")
    except ImportError:
        raise UsageError(_NEEDS_BEAMS_PARTS) from None


def _check_workers(options: PipelineOptions) -> None:
    """Check that workers can have this program."""
    setup = options.view_as(SetupOptions).setup_file
    image = options.view_as(WorkerOptions).sdk_container_image
    if not (setup or image):
        raise UsageError(
            "--runner=DataflowRunner needs --setup_file=./setup.py, which brings this program to"
            " the workers, or --sdk_container_image=IMAGE that has it"
        )


def check_flags(flags: BuildFlags, beam_args: Sequence[str]) -> None:
    """Check that workers can reach what the flags of the job name.

    Args:
        flags: The flags, with the data set and the places of data and records.
        beam_args: Beam's own options, checked.

    Raises:
        UsageError: They cannot.
    """
    if flags.dataset == "scenes":
        raise UsageError(
            "--dataset=scenes: scenes are drawn on this machine, where Dataflow's workers cannot"
            " read them; --runner=DirectRunner builds them"
        )
    for name in ("data_dir", "output_dir", "vocabulary", *PATHS):
        path = getattr(flags, name)
        # What does not exist as it is given lies below data_dir.
        if not path or (name in PATHS and files.is_local(path) and not files.exists(path)):
            continue
        if not _PLACE.fullmatch(path):
            raise UsageError(
                f"--{name}={path}: Dataflow's workers read and write gs:// only, as in"
                f" --{name}=gs://BUCKET/FOLDER"
            )
    if flags.features:
        _check_features(flags, PipelineOptions(list(beam_args)))


def _check_features(flags: BuildFlags, options: PipelineOptions) -> None:
    setup = options.view_as(SetupOptions)
    image = options.view_as(WorkerOptions).sdk_container_image
    if not (image or setup.requirements_file or setup.extra_packages):
        raise UsageError(
            f"--features={flags.features}: Dataflow's workers need TensorFlow, which --setup_file"
            " does not bring; give --sdk_container_image=IMAGE that has it, or"
            " --requirements_file=FILE that lists it"
        )
    weights = flags.encoder_weights
    if weights in (None, "imagenet", "random"):
        return
    if not (image and files.is_local(weights)):
        raise UsageError(
            f"--encoder_weights={weights}: give the path of a file on this machine, and"
            " --sdk_container_image=IMAGE that holds it at the same path: workers read it there"
        )
