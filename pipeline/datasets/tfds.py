"""Data sets prepared by TensorFlow Datasets, such as tfds:coco_captions/2014:1.1.0.

data_dir is TFDS's own folder (~/tensorflow_datasets). The data set must be prepared there as
array_record, the format whose examples can be read by index. Neither its builder's code nor
TensorFlow is needed: features.json and dataset_info.json describe the files.

These features of an example are used: `image`, an Image; `captions`, a Sequence of texts, or of
objects that hold a `text` (and `id`); `image/id` and `image/filename` when they are present. The
path of an image is `<folder>#<TFDS's split>:<index>`. Image bytes are read by the shard writer, and
never decoded.
"""

import functools
import itertools
import posixpath
import re
from collections.abc import Sequence
from typing import Any

import tensorflow_datasets as tfds

# Private API: tensorflow-datasets 4.9.10.
from tensorflow_datasets.core import read_only_builder
from tensorflow_datasets.core.registered import DatasetNotFoundError

from cli.errors import UsageError, UserError
from pipeline.datasets.listing import Caption, ListedImage, Listing
from pipeline.datasets.source import TRAIN_NEEDED, ImageVersion
from pipeline.storage import files
from records.schema import IdSpace

# Our split -> the splits of TFDS that go into it.
_SPLITS = {"train": ("train", "restval"), "val": ("val", "validation"), "test": ("test",)}
_NAME = re.compile(r"(?P<name>\w+)(/\w[\w.-]*)?(:\d+\.\d+\.\d+)?")
_COCO = "coco_captions"

# An example as TFDS decodes it: feature name -> value.
_Example = dict[str, Any]


def default_data_dir() -> str:
    """Return the folder where TFDS prepares its data sets by default."""
    return str(tfds.core.constants.DATA_DIR)


class TfdsSource:
    """A data set of TFDS; `DataSource` describes the methods."""

    reads: tuple[str, ...] = ()

    def __init__(self, name: str):
        """Check the name; nothing is read.

        Args:
            name: As TFDS takes it, `name[/config][:version]`.

        Raises:
            UsageError: No data set can have this name.
        """
        match = _NAME.fullmatch(name)
        if not match:
            raise UsageError(
                f"--dataset=tfds:{name}: expected tfds:NAME, tfds:NAME/CONFIG or"
                " tfds:NAME/CONFIG:1.2.3"
            )
        self.ids: IdSpace = "coco" if match["name"] == _COCO else "own"
        self._name = name

    def looks_like(self, data_dir: str) -> None:
        """Return None: the name of the data set is needed."""

    def splits(self, data_dir: str, need_train: bool) -> tuple[list[str], list[str]]:
        """Return those of train, val and test that the data set has.

        Raises:
            UserError: It is not prepared, or not as array_record, or has no images and captions.
        """
        folder = _folder(self._name, data_dir)
        info = _info(folder)
        _check_format(folder, info)
        _check_features(folder, info.features)
        counts = {split: _counts(info, split) for split in _SPLITS}
        names = [split for split in _SPLITS if counts[split]]
        if need_train and "train" not in names:
            raise UserError(f"{folder}: no split train; {TRAIN_NEEDED}")
        used = {name for tfds_names in _SPLITS.values() for name in tfds_names}
        remarks = [f"no {split} split in {folder}" for split in _SPLITS if split not in names]
        remarks += [f"{folder}: the split {n} is left out" for n in info.splits if n not in used]
        total = sum(count for split in names for _, count in counts[split])
        remarks.append(
            f"captions are stored beside the images: all {total:,} examples are read once before"
            " the first shard is written"
        )
        return names, remarks

    def read(self, data_dir: str, split: str) -> Listing:
        """List the images and captions of one split; train includes TFDS's restval.

        Raises:
            UserError: An example cannot be read.
        """
        folder = _folder(self._name, data_dir)
        info = _info(folder)
        first_ids = _first_ids(info)
        return Listing(
            tuple(
                _listed(folder, name, index, first_ids[name] + index)
                for name, count in _counts(info, split)
                for index in range(count)
            )
        )

    def image_version(self, path: str) -> ImageVersion:
        """Return the image's place and the size of its split, known without reading the image."""
        folder, split, index = _place(path)
        info = _info(folder)
        n_bytes = int(info.splits[split].num_bytes)
        return ImageVersion(label=f"{info.full_name} {split}[{index}] of {n_bytes} bytes")

    def read_image(self, path: str) -> bytes:
        """Return the encoded image as the data set holds it."""
        image: bytes = _example(*_place(path))["image"]
        return image


def _place(path: str) -> tuple[str, str, int]:
    """Return (folder, TFDS's split, index) of an image's path."""
    folder, _, place = path.rpartition("#")
    split, _, index = place.partition(":")
    return folder, split, int(index)


def _folder(name: str, data_dir: str) -> str:
    """Return the folder of the prepared data set, found without its builder's code.

    Raises:
        UserError: There is none, or it cannot be read.
    """
    if not files.is_local(data_dir):
        raise UserError(f"{data_dir}: TFDS data sets are read from a local folder only")
    try:
        return str(read_only_builder.builder_from_files(name, data_dir=data_dir).data_path)
    except DatasetNotFoundError:
        raise UserError(
            f"{name}: not prepared in {data_dir}; to do so: python -c"
            f" \"import tensorflow_datasets as tfds; tfds.builder('{name}', data_dir='{data_dir}',"
            " file_format='array_record').download_and_prepare()\""
        ) from None
    except Exception as error:
        raise _unreadable(posixpath.join(data_dir, name), error) from None


def _unreadable(what: str, error: Exception) -> UserError:
    """Return a one-line error: TFDS, protobuf and array_record raise many types for damage."""
    return UserError(f"{what}: cannot be read: {' '.join(str(error).split())[:200]}")


@functools.lru_cache(maxsize=4)
def _info(folder: str) -> tfds.core.DatasetInfo:
    return tfds.builder_from_directory(folder).info


@functools.lru_cache(maxsize=8)
def _examples(folder: str, split: str) -> Sequence[_Example]:
    decoders = {"image": tfds.decode.SkipDecoding()}
    examples: Sequence[_Example] = tfds.builder_from_directory(folder).as_data_source(
        split, decoders=decoders
    )
    return examples


def _example(folder: str, split: str, index: int) -> _Example:
    try:
        return _examples(folder, split)[index]
    except Exception as error:
        raise _unreadable(f"{folder}: {split}[{index}]", error) from None


def _check_format(folder: str, info: tfds.core.DatasetInfo) -> None:
    formats = info.available_file_formats()
    if not formats & type(info.file_format).with_random_access():
        raise UserError(
            f"{folder}: prepared as {info.file_format.value}, which has no access by index; to"
            " convert it (this needs TensorFlow): python -m"
            f" tensorflow_datasets.scripts.convert_format --dataset_version_dir={folder}"
            " --out_file_format=array_record"
        )


def _check_features(folder: str, features: tfds.features.FeaturesDict) -> None:
    by_name = dict(features.items())
    captions = by_name.get("captions")
    texts = captions.feature if isinstance(captions, tfds.features.Sequence) else None
    if isinstance(texts, tfds.features.FeaturesDict):
        texts = dict(texts.items()).get("text")
    if not isinstance(by_name.get("image"), tfds.features.Image) or texts is None:
        names = ", ".join(
            f"{key}: {type(feature).__name__}" for key, feature in sorted(by_name.items())
        )
        raise UserError(
            f'{folder}: expected the features "image" (an Image) and "captions" (a Sequence of'
            f' texts, or of objects with a "text"), found {names}'
        )


def _counts(info: tfds.core.DatasetInfo, split: str) -> list[tuple[str, int]]:
    """Return (TFDS's split, number of examples) of those that make up `split` and are not empty."""
    counts = [(n, info.splits[n].num_examples) for n in _SPLITS[split] if n in info.splits]
    return [(name, count) for name, count in counts if count]


def _first_ids(info: tfds.core.DatasetInfo) -> dict[str, int]:
    """Return the first image id of each TFDS split, for examples that have no ids.

    Such examples are numbered through all splits.
    """
    counts = [split.num_examples for split in info.splits.values()]
    return dict(zip(info.splits, itertools.accumulate(counts, initial=0), strict=False))


def _listed(folder: str, split: str, index: int, default_id: int) -> ListedImage:
    example = _example(folder, split, index)
    name = example.get("image/filename", f"{split}-{index:06}.jpg".encode())
    image_id = example.get("image/id", default_id)
    texts, ids = example["captions"], None
    if isinstance(texts, dict):
        texts, ids = texts["text"], texts.get("id")
    try:
        name = name.decode()
        texts = [text.decode() for text in texts]
        ids = [f"{name}#{i}" for i in range(len(texts))] if ids is None else [int(i) for i in ids]
        captions = tuple(Caption(i, text) for i, text in zip(ids, texts, strict=True))
        return ListedImage(int(image_id), name, f"{folder}#{split}:{index}", captions)
    except (AttributeError, TypeError, ValueError) as error:
        raise _unreadable(f"{folder}: {split}[{index}]", error) from None
