"""From the flags of a build to the job's `Config`: all that happens before the job starts."""

import contextlib
import dataclasses
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cli.errors import UsageError, UserError
from pipeline import datasets
from pipeline.build_flags import BuildFlags
from pipeline.config import Config, Engine, FeatureConfig
from pipeline.datasets import coco, scenes, tfds
from pipeline.datasets.options import PATHS
from pipeline.datasets.own.image_names import is_image
from pipeline.download import archives
from pipeline.engines import beam_options
from pipeline.job import features
from pipeline.storage import files, lock
from records import language, manifest
from records.recorded_flags import RecordedFlags

DEFAULT_COCO = "data/coco2017"
# Flags that say how the source gets to --data_dir, not what is built from it.
_NOT_IN_MANIFEST = ("download", "download_url")


@contextlib.contextmanager
def prepared(
    flags: BuildFlags, beam_args: Sequence[str] = (), remark: Callable[[str], None] = print
) -> Iterator[Config]:
    """Check the flags, prepare source and output, and yield the configuration of the job.

    The steps: check the usage, download, lock the output, draw scenes, look splits up, load the
    encoder.

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
    dataset, chosen_dir, why = _choose_source(flags)
    datasets.check_options(dataset, flags.source_options)
    _check_scenes_flags(dataset, flags)
    archives.check_usage(flags.download, dataset, chosen_dir, flags.download_url)
    flags = _with_places(flags, dataset, chosen_dir, engine)
    data_dir, output_dir = flags.data_dir, flags.output_dir
    assert data_dir and output_dir
    if flags.language is not None:
        flags = dataclasses.replace(flags, language=language.checked(flags.language))
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


def _with_places(flags: BuildFlags, dataset: str, data_dir: str, engine: str) -> BuildFlags:
    """Return the flags with the source that was chosen, and paths that mean the same to workers."""
    # Workers elsewhere have other working directories.
    place = str if engine == "local" else files.absolute
    # What does not exist as it is given lies below data_dir.
    paths: dict[str, Any] = {
        name: place(path) for name in PATHS if (path := getattr(flags, name)) and files.exists(path)
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


def _choose_source(flags: BuildFlags) -> tuple[str, str, str]:
    """Return the data set, its folder, and why it was chosen: COCO where it lies, else scenes."""
    dataset = flags.dataset or ("coco2017" if flags.download else None)
    if dataset:
        datasets.source(dataset)
        return dataset, flags.data_dir or _default_data_dir(dataset, flags), ""
    if place := _place_to_look_at(flags):
        name, what = _recognise(place, flags)
        why = f": found {what}: --dataset={name}"
        return name, flags.data_dir or _default_data_dir(name, flags), why
    if coco.lies_under(DEFAULT_COCO):
        why = ": COCO 2017 lies there, --dataset=scenes builds the embedded scenes instead"
        return "coco2017", DEFAULT_COCO, why
    why = (
        f": no COCO 2017 lies under {DEFAULT_COCO}; --download fetches it there, or give --data_dir"
    )
    return "scenes", "data/scenes", why


def _check_scenes_flags(dataset: str, flags: BuildFlags) -> None:
    for name in ("scenes_images", "scenes_seed"):
        value = getattr(flags, name)
        if dataset != "scenes" and value != getattr(BuildFlags(), name):
            raise UsageError(
                f"--{name}={value}: --dataset={dataset} does not read this flag; scenes would"
            )


def _recognise(place: str, flags: BuildFlags) -> tuple[str, str]:
    """Return the data set that lies at `place`, and what lies there in words.

    Raises:
        UserError: It is none that is known, or may be one of several.
    """
    candidates = datasets.recognise(place, flags.source_options)
    if len(candidates) == 1:
        return candidates.popitem()
    if candidates:
        choices = ", or ".join(f"--dataset={name} for {w}" for name, w in candidates.items())
        raise UserError(f"{place}: may be several data sets; say {choices}")
    if not files.exists(place):
        raise UserError(f"{place}: no such file or folder")
    if place.lower().endswith((".zip", ".tar.gz", ".tgz")):
        raise UserError(f"{place}: unpack it, and give the folder as --data_dir")
    names = files.names(place)
    _refuse_unclear_table(place, names, flags)
    _refuse_images_alone(place, names, flags)
    holds = f"; it holds {', '.join(names[:5])}{' ...' * (len(names) > 5)}" if names else ""
    raise UserError(
        f"{place}: no data set that is known lies there{holds}. --dataset says what it is, one of"
        f" {', '.join(datasets.NAMES)}; --download fetches COCO 2017 to it; without --data_dir the"
        " embedded scenes are built"
    )


def _refuse_unclear_table(place: str, names: Sequence[str], flags: BuildFlags) -> None:
    """Refuse a place that is or holds a table of which it is not clear what its columns are."""
    tables = [posixpath.join(place, name) for name in names] or [place]
    for path in tables:
        kind = path[-3:].lower()
        if not path.lower().endswith((".csv", ".tsv")):
            continue
        no_paths: dict[str, Any] = dict.fromkeys(PATHS)
        options = dataclasses.replace(flags.source_options, **no_paths)
        problem = f"{path}: its columns are not clear; --image_column and --caption_column say them"
        try:
            datasets.source(kind, options).splits(path, need_train=False)
        except UserError as error:
            problem = str(error)
        raise UserError(
            f"{problem}; --dataset={kind} reads this table, another --dataset something else"
        )


def _refuse_images_alone(place: str, names: Sequence[str], flags: BuildFlags) -> None:
    """Refuse a folder of images without captions, and name a list in the folder above it."""
    images = [name for name in names if is_image(name)]
    if not images:
        return
    remedy = (
        "captions stand in a list beside them (CSV, TSV, JSON), or those of 1.jpg in 1.txt;"
        " README.md shows each layout"
    )
    parent = posixpath.normpath(posixpath.join(place, ".."))
    if files.is_local(place) and (lists := datasets.recognise(parent, flags.source_options)):
        remedy = f"{parent} holds {', and '.join(lists.values())}: --data_dir={parent} takes it"
    one = len(images) == 1
    raise UserError(
        f"{place}: {len(images):,} {'image' if one else 'images'}, but no captions beside"
        f" {'it' if one else 'them'}; {remedy}"
    )


def _place_to_look_at(flags: BuildFlags) -> str | None:
    """Return the list that flags name, or else --data_dir."""
    annotations = flags.train_annotations or flags.val_annotations
    if annotations and flags.data_dir and not files.exists(annotations):
        return posixpath.join(flags.data_dir, annotations)
    return annotations or flags.data_dir


def _default_data_dir(dataset: str, flags: BuildFlags) -> str:
    if annotations := flags.train_annotations or flags.val_annotations:
        return posixpath.dirname(annotations) or "."
    if dataset.startswith(datasets.TFDS):
        return tfds.default_data_dir()
    return posixpath.join("data", dataset)


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


def _feature_remark(config: FeatureConfig, store: str | None) -> str:
    grid = " x ".join(map(str, config.info.grid))
    place = "beside the images" if store == "both" else "in place of the images"
    return (
        f"features of {config.info.name} ({config.weights} weights {config.info.weights[:8]}):"
        f" {grid}, computed in {config.info.dtype}, stored {place}"
    )
