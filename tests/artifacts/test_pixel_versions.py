"""A run of an earlier preprocessing stays usable and says so; one of a later one is refused."""

import dataclasses
import json

import pytest

from artifacts import pixel_versions, provenance, restore
from artifacts.run_config import DataConfig, ModelConfig, RunConfig
from artifacts.run_folder import RunFolder
from cli.errors import UserError
from model.definition.decoder import DecoderConfig
from model.encoder import PREPROCESSING_VERSION
from tests.records.test_manifest import INFO


@pytest.fixture(autouse=True)
def _forget():
    pixel_versions.check.cache_clear()


def config_of(data: DataConfig) -> RunConfig:
    decoder = DecoderConfig(vocabulary_size=9, feature_depth=8)
    return RunConfig(ModelConfig("small_cnn", False, decoder), {}, data)


def test_this_version_says_nothing(capsys):
    pixel_versions.check("runs/now", PREPROCESSING_VERSION)
    assert capsys.readouterr() == ("", "")


def test_an_earlier_version_says_so_once(capsys):
    assert PREPROCESSING_VERSION == 2  # or say in pixel_versions.py what else has changed
    for _ in range(2):
        pixel_versions.check("runs/before", 1)
    out, err = capsys.readouterr()
    assert not out and len(err.splitlines()) == 1
    assert "runs/before was trained with version 1 of the preprocessing" in err


def test_another_version_is_refused_before_anything_is_built(tmp_path):
    config = config_of(DataConfig("scenes", "", "", PREPROCESSING_VERSION + 1))
    config.write(RunFolder(str(tmp_path)))
    with pytest.raises(UserError, match="trained with version 3 of the preprocessing, this"):
        restore.restore(str(tmp_path))


def test_features_of_both_versions_fit():
    assert pixel_versions.agree(1, 2) and pixel_versions.agree(2, 1) and pixel_versions.agree(3, 3)
    assert not pixel_versions.agree(2, 3) and not pixel_versions.agree(0, 1)


def test_the_training_images_of_an_earlier_run_are_known(tmp_path):
    """Else none of its scores could be trusted."""
    folder = RunFolder(str(tmp_path))
    value = json.loads(INFO.to_bytes()) | {"schema_version": 4}
    for split in value["splits"].values():
        for key in ("formats", "reencoded"):
            del split[key]
            for shard in split["shards"]:
                del shard[key]
    (tmp_path / "records.json").write_text(json.dumps(value))
    # Runs of that version keep no fingerprint of it.
    config_of(DataConfig("scenes", "", "", 1)).write(folder)
    trained_on = provenance.read(folder)
    assert trained_on == dataclasses.replace(INFO, schema_version=4)
