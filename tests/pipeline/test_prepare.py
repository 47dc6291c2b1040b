"""From flags to the job's configuration: defaults, their order, what the job is told."""

import dataclasses

import pytest

from cli import command, flags
from cli.errors import UsageError, UserError
from pipeline import prepare
from pipeline.build_flags import BuildFlags
from pipeline.build_records import define_flags
from pipeline.datasets.options import SourceOptions
from pipeline.prepare import prepared
from tests.support.records import CocoFolder


def parsed(*args: str) -> BuildFlags:
    values, beam_args = command.parse(["build_records", *args], define_flags, others="passed")
    assert beam_args == []
    return flags.read(BuildFlags, values)


@pytest.fixture
def coco_flags(tmp_path):
    folder = CocoFolder(tmp_path / "coco")
    places = {"data_dir": str(folder.path), "output_dir": str(tmp_path / "out")}
    return BuildFlags(dataset="coco2017", **places)


def test_the_command_line_gives_the_defaults_of_the_dataclass():
    assert parsed() == BuildFlags()


def test_every_field_is_a_flag():
    values = {
        field.name: getattr(BuildFlags(), field.name) for field in dataclasses.fields(BuildFlags)
    }
    texts = {"store": "both", "feature_dtype": "float32", "verify": "decode"}
    args, expected = [], {}
    for name, default in values.items():
        if isinstance(default, bool):
            args.append(f"--{name}")
            expected[name] = True
        elif isinstance(default, float):
            args.append(f"--{name}=0.5")
            expected[name] = 0.5
        elif isinstance(default, int):
            args.append(f"--{name}=1")
            expected[name] = 1
        else:
            expected[name] = texts.get(name, "text")
            args.append(f"--{name}={expected[name]}")
    assert parsed(*args) == BuildFlags(**expected)


@pytest.mark.parametrize(
    "arg", ["--train_shards=-1", "--captions_per_record=2", "--store=jpeg", "--max_vocabulary=-1"]
)
def test_a_value_out_of_range_is_wrong_usage(arg):
    with pytest.raises(UsageError, match=arg[2:].partition("=")[0]):
        parsed(arg)


def test_the_configuration_is_complete(coco_flags):
    remarks = []
    with prepared(coco_flags, ["--direct_num_workers=2"], remarks.append) as config:
        assert config.splits == ("train", "val")
        assert config.engine == "local"
        assert config.beam_args[-1] == "--direct_running_mode=multi_processing"
    assert (config.store, config.features, config.decodes_images) == ("image", None, False)
    assert config.flags.store == "image" and config.flags.every["features"] is None
    assert config.flags.every.keys() == {field.name for field in dataclasses.fields(BuildFlags)} - {
        "download",
        "download_url",
        "dry_run",
        "max_vocabulary",  # 0: as in manifests of before this flag
    }
    assert remarks == [f"building coco2017 from {config.data_dir} into {config.output_dir}"]


def test_the_limit_of_the_vocabulary_is_recorded(coco_flags):
    flags = dataclasses.replace(coco_flags, max_vocabulary=5000)
    with prepared(flags, remark=[].append) as config:
        assert config.max_vocabulary == config.flags.max_vocabulary == 5000
        assert config.flags.every["max_vocabulary"] == 5000


def test_features_fill_in_what_depends_on_them(coco_flags):
    flags = dataclasses.replace(coco_flags, features="small_cnn", encoder_weights="random", seed=3)
    remarks = []
    with prepared(flags, remark=remarks.append) as config:
        pass
    assert config.store == config.flags.store == "features" and config.decodes_images
    assert (
        config.features.info.dtype == config.flags.every["feature_dtype"] in ("float32", "bfloat16")
    )
    assert config.features.info.grid == (8, 8, 128)
    assert remarks[1].startswith("features of small_cnn (random weights ")


@pytest.fixture
def steps(monkeypatch):
    """The names of what preparation has done, in order; downloads are not made."""
    noted: list[str] = []

    def note(module, name: str, real) -> None:
        monkeypatch.setattr(module, name, lambda *args: (noted.append(name), real(*args))[1])

    note(prepare.archives, "check_usage", prepare.archives.check_usage)
    note(prepare.archives, "obtain", lambda *args: None)
    note(prepare.lock, "only_job", prepare.lock.only_job)
    note(prepare.scenes, "prepare", prepare.scenes.prepare)
    note(prepare, "_feature_config", prepare._feature_config)
    return noted


def run(flags: BuildFlags, remark=lambda line: None) -> None:
    with prepared(flags, remark=remark):
        pass


def test_what_fails_soonest_comes_first(coco_flags, tmp_path, steps):
    def remark(line: str) -> None:
        steps.append(line.split()[0])

    run(dataclasses.replace(coco_flags, download=True), remark)
    assert steps == ["check_usage", "building", "obtain", "only_job", "_feature_config"]
    steps.clear()
    drawn = BuildFlags(scenes_images=10, dataset="scenes", data_dir=str(tmp_path / "scenes"))
    run(dataclasses.replace(drawn, output_dir=str(tmp_path / "out")), remark)
    assert steps == ["check_usage", "building", "only_job", "prepare", "_feature_config"]
    steps.clear()
    with pytest.raises(UsageError, match="--store=features needs --features"):
        run(dataclasses.replace(coco_flags, store="features"), remark)
    assert steps == ["check_usage"]


def test_no_other_job_has_the_output_while_the_block_runs(coco_flags, monkeypatch):
    monkeypatch.setattr(prepare.lock, "_PATIENCE_SECONDS", 0)
    with (
        prepared(coco_flags, remark=lambda line: None),
        pytest.raises(UserError, match="another job is writing there"),
    ):
        run(coco_flags)
    run(coco_flags)


def test_options_that_the_source_does_not_read_are_wrong_usage(coco_flags, tmp_path):
    for option, value in (
        SourceOptions(
            **dict.fromkeys(("train_annotations", "val_images", "image_column", "separator"), "x"),
            val_fraction=0.1,
        )
        .given()
        .items()
    ):
        flags = dataclasses.replace(coco_flags, **{option: value})
        with pytest.raises(
            UsageError, match=f"--{option}={value}: --dataset=coco2017 does not read this flag"
        ):
            run(flags)
    with pytest.raises(UsageError, match="--scenes_seed=7: --dataset=coco2017 does not read this"):
        run(dataclasses.replace(coco_flags, scenes_seed=7))
    with pytest.raises(UsageError, match="their sum must be below 1"):
        run(BuildFlags(dataset="jsonl", data_dir=str(tmp_path), val_fraction=1.0))


def test_paths_of_options_mean_the_same_to_workers_elsewhere(coco_flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.json").touch()
    flags = dataclasses.replace(coco_flags, train_annotations="train.json", val_images="below")
    placed = prepare._with_places(flags, "coco2017", "coco", "dask")
    assert placed.train_annotations == str(tmp_path / "train.json")
    assert placed.val_images == "below"  # It lies in data_dir, which is absolute.
    assert placed.data_dir == str(tmp_path / "coco")
    placed = prepare._with_places(flags, "coco2017", "coco", "local")
    assert placed.train_annotations == "train.json"
