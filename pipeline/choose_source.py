"""Which data set a build takes, and from where: as the flags say, or by what lies there."""

import dataclasses
import posixpath
from collections.abc import Sequence
from typing import Any

from cli.errors import UserError
from pipeline import datasets
from pipeline.build_flags import BuildFlags
from pipeline.datasets import coco, tfds
from pipeline.datasets.options import PATHS
from pipeline.datasets.own.image_names import is_image
from pipeline.storage import files

DEFAULT_COCO = "data/coco2017"


def choose_source(flags: BuildFlags) -> tuple[str, str, str]:
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
