"""Flink, Spark and Prism write byte for byte what DirectRunner writes, and fail in one line."""

import re

import pytest

from tests.engines.conftest import assert_same

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "options",
    [(), ("--features=small_cnn", "--encoder_weights=random", "--store=both")],
    ids=["images", "features"],
)
def test_shards_are_those_of_direct_runner(engine, source, direct, tmp_path, options):
    expected = direct(*options)
    code, text = engine.build(*source, *options, f"--output_dir={tmp_path}")
    assert code == 0, text
    assert_same(tmp_path, expected)
    assert "the engine has taken the job" in text and "Traceback" not in text
    written = sum(1 for path in tmp_path.iterdir() if path.name.endswith(".tfrecord"))
    assert f"{written} of {written}" in text


def test_a_rerun_keeps_what_is_finished(engine, source, direct, tmp_path):
    code, text = engine.build(*source, f"--output_dir={tmp_path}")
    assert code == 0, text
    (tmp_path / "train-00003-of-00020.tfrecord.json").unlink()
    code, text = engine.build(*source, f"--output_dir={tmp_path}")
    assert code == 0, text
    written = sum(1 for path in tmp_path.iterdir() if path.name.endswith(".tfrecord"))
    assert f"{written - 1} of {written} shards were finished before and kept" in text
    assert_same(tmp_path, direct())


def test_an_error_is_one_line(engine, source, tmp_path):
    code, text = engine.build(*source, "--val_shards=9999", f"--output_dir={tmp_path}")
    assert code == 2
    error = text.splitlines()[-1]
    assert re.fullmatch(r"error: --val_shards=9999: the split \w+ has 50 images only", error)
    assert text.count("error: ") == 1 and "Traceback" not in text and "\tat " not in text
