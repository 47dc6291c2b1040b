"""Data sets prepared by TensorFlow Datasets, such as tfds:coco_captions/2014:1.1.0.

data_dir is TFDS's own (~/tensorflow_datasets), the data set in it prepared as array_record, the
format that any example can be read from by its index. Its code is not needed, nor is TensorFlow:
features.json and dataset_info.json say what there is.

What is taken of an example: `image`, an Image; `captions`, a Sequence of texts, or of objects that
hold a `text` (and `id`); `image/id` and `image/filename` where they are there. An image's path is
`<folder>#<TFDS's split>:<index>`: image bytes are read by the shard writer, and never decoded.
"""

import functools
import itertools
import posixpath
import re
from collections.abc import Sequence

import tensorflow_datasets as tfds
from tensorflow_datasets.core import read_only_builder
from tensorflow_datasets.core.registered import DatasetNotFoundError

from cli.errors import UsageError, UserError
from pipeline.datasets.listing import Caption, ListedImage, Listing
from pipeline.storage import files

_SPLITS = {"train": ("train", "restval"), "val": ("val", "validation"), "test": ("test",)}
_NAME = re.compile(r"(?P<name>\w+)(/\w[\w.-]*)?(:\d+\.\d+\.\d+)?")
_COCO = "coco_captions"


def default_data_dir() -> str:
    """Where TFDS prepares its data sets unless it is told otherwise."""
    return tfds.core.constants.DATA_DIR


class Source:
    """A TFDS data set as a source.

    Call arguments:
        name: as TFDS takes it: name[/config][:version].

    Raises:
        UsageError: no data set can be called that.
    """

    def __init__(self, name: str):
        found = _NAME.fullmatch(name)
        if not found:
            raise UsageError(
                f"--dataset=tfds:{name}: expected tfds:NAME, tfds:NAME/CONFIG or"
                " tfds:NAME/CONFIG:1.2.3"
            )
        self.IDS = "coco" if found["name"] == _COCO else "own"
        self._name = name

    def splits(self, data_dir: str, need_train: bool) -> tuple[list[str], list[str]]:
        """train, val and test, as far as the data set has them.

        Raises:
            UserError: it is not prepared, or not as array_record, or has no images and captions.
        """
        folder = _folder(self._name, data_dir)
        info = _info(folder)
        _check_format(folder, info)
        _check_features(folder, info.features)
        found = [split for split in _SPLITS if _counts(info, split)]
        taken = {name for names in _SPLITS.values() for name in names}
        if need_train and "train" not in found:
            raise UserError(
                f"{folder}: no split train; the vocabulary is built from it, or given by"
                " --vocabulary"
            )
        remarks = [f"no {split} split in {folder}" for split in _SPLITS if split not in found]
        remarks += [f"{folder}: the split {n} is left out" for n in info.splits if n not in taken]
        total = sum(count for split in found for _, count in _counts(info, split))
        remarks.append(
            f"captions lie beside the images: all {total:,} examples are read once before the"
            " first shard is written"
        )
        return found, remarks

    def read(self, data_dir: str, split: str) -> Listing:
        """The images and captions of one split; for train those of TFDS's restval too.

        Raises:
            UserError: an example cannot be read.
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

    def image_size(self, path: str) -> str:
        """What changes with an image, told without reading it: its place, the split's size."""
        folder, split, index = _place(path)
        info = _info(folder)
        return f"{info.full_name} {split}[{index}] of {int(info.splits[split].num_bytes)} bytes"

    def read_image(self, path: str) -> bytes:
        """The bytes that the data set holds."""
        return _example(*_place(path))["image"]


def _place(path: str) -> tuple[str, str, int]:
    folder, _, place = path.rpartition("#")
    split, _, index = place.partition(":")
    return folder, split, int(index)


def _folder(name: str, data_dir: str) -> str:
    """Where the data set lies, found without its code. Raises UserError."""
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
    """TFDS, protobuf and array_record raise whatever they like for files that are damaged."""
    return UserError(f"{what}: cannot be read: {' '.join(str(error).split())[:200]}")


@functools.lru_cache(maxsize=4)
def _info(folder: str) -> tfds.core.DatasetInfo:
    return tfds.builder_from_directory(folder).info


@functools.lru_cache(maxsize=8)
def _examples(folder: str, split: str) -> Sequence[dict]:
    decoders = {"image": tfds.decode.SkipDecoding()}
    return tfds.builder_from_directory(folder).as_data_source(split, decoders=decoders)


def _example(folder: str, split: str, index: int) -> dict:
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
    there = dict(features.items())
    captions = there.get("captions")
    texts = captions.feature if isinstance(captions, tfds.features.Sequence) else None
    if isinstance(texts, tfds.features.FeaturesDict):
        texts = dict(texts.items()).get("text")
    if not isinstance(there.get("image"), tfds.features.Image) or texts is None:
        found = ", ".join(
            f"{key}: {type(feature).__name__}" for key, feature in sorted(there.items())
        )
        raise UserError(
            f'{folder}: expected the features "image" (an Image) and "captions" (a Sequence of'
            f' texts, or of objects with a "text"), found {found}'
        )


def _counts(info: tfds.core.DatasetInfo, split: str) -> list[tuple[str, int]]:
    """(TFDS's split, its number of examples) of those that make up `split` and are not empty."""
    counts = [(n, info.splits[n].num_examples) for n in _SPLITS[split] if n in info.splits]
    return [(name, count) for name, count in counts if count]


def _first_ids(info: tfds.core.DatasetInfo) -> dict[str, int]:
    """TFDS's split -> the id of its first image, where examples have none: all are numbered on."""
    counts = [split.num_examples for split in info.splits.values()]
    return dict(zip(info.splits, itertools.accumulate(counts, initial=0), strict=False))


def _listed(folder: str, split: str, index: int, number: int) -> ListedImage:
    example = _example(folder, split, index)
    where = f"{folder}: {split}[{index}]"
    name = example.get("image/filename", f"{split}-{index:06}.jpg".encode())
    image_id = example.get("image/id", number)
    captions = example["captions"]
    texts, ids = captions, None
    if isinstance(captions, dict):
        texts, ids = captions["text"], captions.get("id")
    try:
        name = name.decode()
        listed = [text.decode() for text in texts]
        ids = [f"{name}#{i}" for i in range(len(listed))] if ids is None else [int(i) for i in ids]
        found = tuple(Caption(i, text) for i, text in zip(ids, listed, strict=True))
        return ListedImage(int(image_id), name, f"{folder}#{split}:{index}", found)
    except (AttributeError, TypeError, ValueError) as error:
        raise _unreadable(where, error) from None
