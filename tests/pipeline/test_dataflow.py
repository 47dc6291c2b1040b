"""Jobs for Dataflow are checked before any network is used, and a dry run ends with a request.

The quick tests run without Beam's parts for Google Cloud; the slow one needs them.
"""

import dataclasses
import importlib.util
import json
import os
import socket
import sys
import types

import pytest

from cli import command
from cli.errors import UsageError, UserError
from pipeline import build_records
from pipeline.build_flags import BuildFlags
from pipeline.engines import dry_run
from pipeline.job import features
from pipeline.prepare import prepared
from pipeline.storage import files
from tests.support.commands import ROOT

OPTIONS = {
    "runner": "DataflowRunner",
    "project": "my-project",
    "region": "us-central1",
    "temp_location": "gs://bucket/tmp",
    "setup_file": str(ROOT / "setup.py"),
}
FLAGS = BuildFlags(
    dataset="coco2017", data_dir="gs://bucket/coco", output_dir="gs://bucket/records", dry_run=True
)
_GIVEN = ("dataset", "data_dir", "output_dir", "dry_run")
IMAGE = {"sdk_container_image": "gcr.io/p/image"}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError(f"the network was used: {args}")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(files, "BeamFiles", refuse)


@pytest.fixture
def gcp(monkeypatch):
    """Let Beam's parts for Google Cloud seem installed."""
    for name in ("google.cloud", "google.cloud.dataflow"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))


def arguments(**options: str | None) -> list[str]:
    chosen = OPTIONS | options
    return [f"--{name}={value}".rstrip("=") for name, value in chosen.items() if value is not None]


def prepare(flags: BuildFlags = FLAGS, **options: str | None):
    with prepared(flags, arguments(**options), remark=lambda line: None) as config:
        return config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"project": None}, r"--runner=DataflowRunner needs --project=PROJECT"),
        ({"region": None}, r"--runner=DataflowRunner needs --region=REGION, such as us-central1"),
        ({"temp_location": None}, r"--runner=DataflowRunner needs --temp_location=gs://BUCKET/"),
        ({"setup_file": None}, r"--runner=DataflowRunner needs --setup_file=\./setup\.py"),
        ({"setup_file": "./none.py"}, r"--setup_file=\./none\.py: no such file"),
        ({"project": "12345"}, r"Beam: Invalid Project ID \(12345\)"),
        ({"region": "us-east1-b"}, r"--region=us-east1-b: .* that is a zone, its region is us-eas"),
        ({"region": "mars"}, r"--region=mars: expected one such as us-central1$"),
        ({"temp_location": "/tmp"}, r"Beam: Invalid GCS path \(/tmp\), .* temp_location"),
        ({"staging_location": "/tmp"}, r"Beam: Invalid GCS path \(/tmp\), .* staging_location"),
        ({"temp_location": "gs://B_/x"}, r"Beam: Invalid GCS bucket \(gs://B_/x\)"),
        ({"num_workers": "5", "max_num_workers": "2"}, r"Beam: num_workers \(5\) cannot exceed"),
        ({"job_name": "A_B"}, r"Beam: Invalid job_name \(A_B\)"),
        ({"template_location": "gs://b/t"}, r"--template_location: a template does not run the jo"),
        ({"update": ""}, r"--update: this job does not stream"),
        ({"streaming": ""}, r"--streaming: this job reads what there is, and ends"),
        ({"machine_typ": "n1"}, r"unknown option '--machine_typ=n1'"),
    ],
)
def test_wrong_options_are_one_line(gcp, options, message):
    with pytest.raises(UsageError, match=f"^{message}"):
        prepare(**options)


@pytest.mark.parametrize(
    ("flags", "options", "message"),
    [
        ({"dataset": None}, {}, r"--runner=DataflowRunner needs --dataset=NAME"),
        ({"dataset": "scenes"}, {}, r"--dataset=scenes: scenes are drawn on this machine"),
        ({"data_dir": "data/coco"}, {}, r"--data_dir=/.*data/coco: .* --data_dir=gs://BUCKET/FOL"),
        ({"data_dir": "gs://"}, {}, r"--data_dir=gs://: Dataflow's workers read and write gs://"),
        ({"output_dir": "s3://b/x"}, {}, r"--output_dir=s3://b/x: Dataflow's workers read and wr"),
        ({"output_dir": None}, {}, r"--output_dir=/.*/data/records/coco2017: Dataflow's workers"),
        ({"vocabulary": "v.tsv"}, {}, r"--vocabulary=/.*v\.tsv: Dataflow's workers read and"),
        ({"features": "small_cnn"}, {}, r"--features=small_cnn: Dataflow's workers need TensorFlo"),
        (
            {"features": "small_cnn", "encoder_weights": "w.h5"},
            {"requirements_file": "r.txt"},
            r"--encoder_weights=/.*w\.h5: .* --sdk_container_image=IMAGE that holds it",
        ),
        (
            {"features": "small_cnn", "encoder_weights": "gs://b/w.h5"},
            IMAGE,
            r"--encoder_weights=gs://b/w\.h5: give the path of a file on this machine",
        ),
        ({}, {"runner": "DirectRunner"}, r"--dry_run is for --runner=DataflowRunner"),
    ],
)
def test_what_workers_cannot_reach_is_one_line(gcp, flags, options, message):
    # The same holds for a job that is to run: it is refused before it asks the cloud.
    for dry in (True, False) if options.get("runner") is None else (True,):
        with pytest.raises(UsageError, match=f"^{message}"):
            prepare(dataclasses.replace(FLAGS, **flags, dry_run=dry), **options)


def test_a_file_of_the_source_must_not_lie_on_this_machine(gcp, tmp_path):
    file = tmp_path / "train.json"
    flags = dataclasses.replace(FLAGS, dataset="coco", train_annotations=str(file))
    assert prepare(flags).source_options.train_annotations == str(file)  # below data_dir
    file.touch()
    with pytest.raises(UsageError, match=f"^--train_annotations={file}: Dataflow's workers"):
        prepare(flags)


def test_a_dry_run_looks_at_nothing(gcp, monkeypatch):
    config = prepare(dataclasses.replace(FLAGS, vocabulary="gs://bucket/vocabulary.tsv"))
    assert (config.engine, config.splits, config.features) == ("dataflow", ("train", "val"), None)
    assert "dry_run" not in config.flags.every
    elsewhere = dataclasses.replace(FLAGS, dataset="coco", train_annotations="gs://bucket/a.json")
    assert prepare(elsewhere).source_options.train_annotations == "gs://bucket/a.json"
    looked_up = []
    monkeypatch.setattr(features, "load_config", lambda *args: looked_up.append(args))
    for weights in (None, "random"):
        flags = dataclasses.replace(FLAGS, features="small_cnn", encoder_weights=weights)
        prepare(flags, **IMAGE)
    # The weights of ImageNet would be downloaded.
    assert [args[:2] for args in looked_up] == [("small_cnn", "random")] * 2


def test_without_beams_parts_for_google_cloud_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.cloud.dataflow", None)
    with pytest.raises(UsageError, match=r"pip install 'captioner\[gcp\]'$"):
        prepare()


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (RuntimeError("The file r.txt\ncannot be found."), UsageError, "The file r.txt cannot be"),
        (RuntimeError("Full trace: Traceback\n x"), UserError, "python setup.py sdist"),
        (OSError(), UserError, "OSError"),
    ],
)
def test_a_job_that_beam_cannot_build_is_one_line(error, kind, line):
    failure = dry_run._failure(error)
    assert type(failure) is kind and line in str(failure) and "\n" not in str(failure)


def test_the_request_goes_to_a_file_of_this_machine():
    with pytest.raises(UsageError, match=r"^--dataflow_job_file=gs://b/x: a dry run writes to th"):
        dry_run.options(arguments(dataflow_job_file="gs://b/x"))


def has_gcp() -> bool:
    try:
        return importlib.util.find_spec("google.cloud.dataflow") is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not has_gcp(), reason="Beam's parts for Google Cloud are not installed")
def test_a_dry_run_writes_the_request(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    more = {"machine_type": "e2-standard-8", "max_num_workers": "7"}
    flags = [f"--{n}={v}" for n, v in dataclasses.asdict(FLAGS).items() if n in _GIVEN]
    argv = ["build_records", *flags, *arguments(**more)]
    assert (
        build_records.main(*command.parse(argv, build_records.define_flags, others="passed")) == 0
    )
    printed = capfd.readouterr()
    assert printed.out.startswith("dry run: ") and "workflow.tar.gz would be staged" in printed.out
    assert "not checked: " in printed.out and not printed.err
    assert os.listdir(tmp_path) == ["dataflow_job.json"]
    request = json.loads((tmp_path / "dataflow_job.json").read_text())
    (pool,) = request["job"]["environment"]["workerPools"]
    assert pool["machineType"] == "e2-standard-8"
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 7
    transforms = request["pipeline"]["components"]["transforms"].values()
    assert {"Describe", "Write shards", "Finish"} <= {t["uniqueName"] for t in transforms}
    assert "workflow.tar.gz" in request["staged"]
