"""From the flags of a build to the job's `Config`: all that happens before the job starts."""

import contextlib
import dataclasses
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cli.errors import UsageError
from pipeline import datasets
from pipeline.build_flags import BuildFlags
from pipeline.choose_source import choose_source
from pipeline.config import Config, Engine, FeatureConfig
from pipeline.datasets import scenes
from pipeline.datasets.options import PATHS
from pipeline.download import archives
from pipeline.engines import beam_options, dataflow
from pipeline.job import features
from pipeline.storage import files, lock
from records import language, manifest
from records.recorded_flags import RecordedFlags

# Flags that do not say what is built.
_NOT_IN_MANIFEST = ("download", "download_url", "dry_run")
# What a dry run, which does not look at the source, takes for its splits.
_ASSUMED_SPLITS = ("train", "val")


@contextlib.contextmanager
def prepared(
    flags: BuildFlags, beam_args: Sequence[str] = (), remark: Callable[[str], None] = print
) -> Iterator[Config]:
    """Check the flags, prepare source and output, and yield the configuration of the job.

    The steps: check the usage, download, lock the output, draw scenes, look splits up, load the
    encoder. A dry run only checks the usage.

    Args:
        flags: The flags as the user gave them.
        beam_args: Beam's own options.
        remark: Called with each line that the user should read, as soon as it is known.

    Yields:
        The configuration. While the block runs, no other job can write to the output directory.

    Raises:
        UsageError: An option is wrong or unknown, or two flags contradict each other.
        UserError: A part of the source, the vocabulary or the encoder's weights cannot be had, or
            another job writes to the output directory.
    """
    checked_args, engine = beam_options.checked(beam_args)
    flags, why = _with_usage_checked(flags, checked_args, engine)
    dataset, data_dir, output_dir = flags.dataset, flags.data_dir, flags.output_dir
    assert dataset and data_dir and output_dir
    if flags.dry_run:
        yield _config(flags, _ASSUMED_SPLITS, _assumed_features(flags), checked_args, engine)
        return
    if flags.vocabulary:
        manifest.read_vocabulary(flags.vocabulary, files.open_file)
    remark(f"building {dataset} from {data_dir} into {output_dir}{why}")
    if flags.download:
        archives.obtain(dataset, data_dir, flags.download_url)
    files.make_directory(output_dir)
    with lock.only_job(output_dir):
        if dataset == "scenes":
            scenes.prepare(data_dir, flags.scenes_images, flags.scenes_seed)
        source = datasets.source(dataset, flags.source_options)
        splits, remarks = source.splits(data_dir, need_train=not flags.vocabulary)
        for line in remarks:
            remark(line)
        feature_config = _feature_config(flags)
        if feature_config:
            remark(_feature_remark(feature_config, flags.store))
        yield _config(flags, splits, feature_config, checked_args, engine)


def _with_usage_checked(
    flags: BuildFlags, beam_args: Sequence[str], engine: Engine
) -> tuple[BuildFlags, str]:
    """Return the flags with the source and the places that follow, and why this source."""
    _check_engine_flags(engine, flags)
    dataset, data_dir, why = choose_source(flags)
    datasets.check_options(dataset, flags.source_options)
    _check_scenes_flags(dataset, flags)
    archives.check_usage(flags.download, dataset, data_dir, flags.download_url)
    flags = _with_places(flags, dataset, data_dir, engine)
    if engine == "dataflow":
        dataflow.check_flags(flags, beam_args)
    if flags.language is not None:
        flags = dataclasses.replace(flags, language=language.checked(flags.language))
    return flags, why


def _with_places(flags: BuildFlags, dataset: str, data_dir: str, engine: str) -> BuildFlags:
    """Return the flags with the source that was chosen, and paths that mean the same to workers."""
    # Workers elsewhere have other working directories.
    place = str if engine == "local" else files.absolute
    # What does not exist as it is given lies below data_dir.
    paths: dict[str, Any] = {
        name: place(path)
        for name in PATHS
        if (path := getattr(flags, name)) and files.is_local(path) and files.exists(path)
    }
    flags = dataclasses.replace(flags, **paths)
    return dataclasses.replace(
        _with_feature_defaults(flags, place),
        dataset=dataset,
        data_dir=place(data_dir),
        output_dir=place(flags.output_dir or default_output_dir(dataset)),
        vocabulary=flags.vocabulary and place(flags.vocabulary),
    )


def default_output_dir(dataset: str) -> str:
    """Return where the records of a data set go by default."""
    # tfds:coco_captions/2014:1.1.0 becomes the name of one folder.
    return posixpath.join("data/records", re.sub("[:/]", "_", dataset))


def _check_engine_flags(engine: Engine, flags: BuildFlags) -> None:
    if flags.dry_run and engine != "dataflow":
        raise UsageError(
            "--dry_run is for --runner=DataflowRunner; elsewhere a try of few images costs nothing"
        )
    if engine == "dataflow" and not flags.dataset:
        raise UsageError("--runner=DataflowRunner needs --dataset=NAME: gs:// is not searched")


def _check_scenes_flags(dataset: str, flags: BuildFlags) -> None:
    for name in ("scenes_images", "scenes_seed"):
        value = getattr(flags, name)
        if dataset != "scenes" and value != getattr(BuildFlags(), name):
            raise UsageError(
                f"--{name}={value}: --dataset={dataset} does not read this flag; scenes would"
            )


def _with_feature_defaults(flags: BuildFlags, place: Callable[[str], str]) -> BuildFlags:
    """Return `flags` with the defaults that depend on --features.

    Raises:
        UsageError: Flags contradict each other.
    """
    if not flags.features:
        for name in ("store", "feature_dtype", "encoder_weights"):
            value = getattr(flags, name)
            if value not in (None, "image"):
                raise UsageError(f"--{name}={value} needs --features=ENCODER, such as nasnet_large")
        return dataclasses.replace(flags, store="image")
    if flags.store == "image":
        raise UsageError(
            f"--store=image leaves out what --features={flags.features} computes; give"
            " --store=features or --store=both, or leave --features out"
        )
    weights = flags.encoder_weights or "imagenet"
    return dataclasses.replace(
        flags,
        store=flags.store or "features",
        feature_dtype=flags.feature_dtype or features.fast_dtype(),
        encoder_weights=weights if weights in ("imagenet", "random") else place(weights),
    )


def _config(
    flags: BuildFlags,
    splits: Sequence[str],
    feature_config: FeatureConfig | None,
    beam_args: tuple[str, ...],
    engine: Engine,
) -> Config:
    values = dataclasses.asdict(flags)
    recorded = {name: v for name, v in values.items() if name not in _NOT_IN_MANIFEST}
    if not flags.max_vocabulary:
        # Manifests of before this flag lack it: building those records again must not change them.
        del recorded["max_vocabulary"]
    names = {field.name for field in dataclasses.fields(Config)} - {"features"}
    return Config(
        **{name: value for name, value in values.items() if name in names},
        source_options=flags.source_options,
        splits=tuple(splits),
        features=feature_config,
        beam_args=beam_args,
        engine=engine,
        flags=RecordedFlags.from_values(recorded),
    )


def _feature_config(flags: BuildFlags) -> FeatureConfig | None:
    encoder, weights, dtype = flags.features, flags.encoder_weights, flags.feature_dtype
    if not (encoder and weights and dtype):
        return None
    return features.load_config(encoder, weights, dtype, flags.seed)


def _assumed_features(flags: BuildFlags) -> FeatureConfig | None:
    """Return the features of a dry run: weights that would be downloaded are taken as random."""
    known = flags.encoder_weights != "imagenet"
    return _feature_config(flags if known else dataclasses.replace(flags, encoder_weights="random"))


def _feature_remark(config: FeatureConfig, store: str | None) -> str:
    grid = " x ".join(map(str, config.info.grid))
    place = "beside the images" if store == "both" else "in place of the images"
    return (
        f"features of {config.info.name} ({config.weights} weights {config.info.weights[:8]}):"
        f" {grid}, computed in {config.info.dtype}, stored {place}"
    )
