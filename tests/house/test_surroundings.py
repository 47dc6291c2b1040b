"""What a user's home and environment hold for other projects changes nothing that we compute."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from artifacts import weights_file
from artifacts.run_folder import RunFolder
from records.schema import CaptionedImage
from tests.support.commands import ROOT
from tests.support.four import FOUR, four_picture
from tests.support.hostile import hostile_environment
from tests.support.records import build, records
from tests.support.training import TINY, run_evaluate, train

BUILD = {
    "dataset": "scenes",
    "scenes_images": 30,
    "features": "small_cnn",
    "encoder_weights": "random",
    "feature_dtype": "float32",
    "store": "both",
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return hostile_environment(tmp_path_factory.mktemp("home"))


def hostile(
    environment: dict[str, str], module: str, *arguments: str, **options
) -> subprocess.CompletedProcess[str]:
    """Run a command in the hostile environment and return the ended process."""
    flags = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", module, *arguments, *flags]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.slow  # Quick tests of the sources build in odd folders, too.
def test_records_are_the_same(environment, tmp_path):
    out = {name: tmp_path / name for name in ("clean", "hostile")}
    build("--runner=DirectRunner", **BUILD, data_dir=tmp_path / "a", output_dir=out["clean"])
    # A worker process, which speaks gRPC with the submitter.
    done = hostile(
        environment,
        "pipeline.build_records",
        "--runner=DirectRunner",
        "--direct_running_mode=multi_processing",
        "--direct_num_workers=1",
        **BUILD,
        data_dir=tmp_path / "b",
        output_dir=out["hostile"],
    )
    assert done.returncode == 0, done.stderr
    clean, same = (
        [image for split in ("train", "val", "test") for image in records(path, split)]
        for path in out.values()
    )
    assert len(clean) == len(same) == 30
    for expected, found in zip(clean, same, strict=True):
        # With other threads features differ by a rounding of float16.
        np.testing.assert_allclose(found.features, expected.features, rtol=2e-3, atol=2e-3)
        assert of_image(found) == of_image(expected)


def of_image(image: CaptionedImage) -> dict:
    return dataclasses.asdict(image) | {"features": None}


@pytest.mark.slow  # Compiles the training step twice.
def test_weights_are_the_same(environment, scenes_records, tmp_path):
    options = TINY | {"records_dir": scenes_records, "epochs": 1, "deterministic": True}
    assert train(**options, run_dir=tmp_path / "clean") == 0
    done = hostile(environment, "trainer.main", **options, run_dir=tmp_path / "hostile")
    assert done.returncode == 0, done.stderr
    clean, same = (
        weights_file.load(RunFolder(str(tmp_path / name)).best)[0] for name in ("clean", "hostile")
    )
    assert clean.keys() == same.keys()
    for name, array in clean.items():
        np.testing.assert_array_equal(same[name], array, err_msg=name)


@pytest.mark.slow  # Quick is that of the records: TensorFlow computes their features.
def test_captions_and_scores_are_the_same(environment, four_run_copy, tmp_path):
    for image_id in FOUR:
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"{image_id}.jpg").write_bytes(four_picture(image_id))
    options = {"run_dir": four_run_copy, "images": tmp_path / "photos", "n_best": 3}
    assert run_evaluate(**options, output_dir=tmp_path / "clean") == 0
    done = hostile(environment, "evaluation.main", **options, output_dir=tmp_path / "hostile")
    assert done.returncode == 0, done.stderr
    clean, same = (
        [json.loads(line) for line in (tmp_path / name / "captions.jsonl").open()]
        for name in ("clean", "hostile")
    )
    assert len(clean) == 4
    assert clean == same


def test_a_broken_configuration_of_dask_is_one_line(environment, tmp_path):
    done = hostile(
        environment,
        "pipeline.build_records",
        "--runner=DaskRunner",
        "--dask_client_address=tcp://127.0.0.1:9",
        output_dir=tmp_path,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: --runner=DaskRunner: Dask cannot start: ")
    assert "dask.yaml" in done.stderr and done.stderr.count("\n") == 1
