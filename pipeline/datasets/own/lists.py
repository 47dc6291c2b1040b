"""The files of a user's list, one for each split or one for all, and where their images lie."""

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from cli.errors import UsageError, UserError
from pipeline.datasets.options import SourceOptions
from pipeline.datasets.own.entries import split_of
from pipeline.datasets.own.image_names import ImageFolder
from pipeline.storage import files
from records.schema import SPLITS

# So many names of a list are looked up to find the folder of its images.
SAMPLED = 20
_USUAL_FOLDERS = ("images", "Images", "train", "val", "test", "train2017", "val2017", "test2017")


class ListFile(NamedTuple):
    """A file with captions.

    Attributes:
        split: The split of all its images; None when the file itself may say it.
        path: The file.
        images: The folder of its images; None when it is to be found.
    """

    split: str | None
    path: str
    images: str | None

    def key(self, name: str) -> str:
        """Return the key of an image (`Entry.key`): val and test may repeat names of train."""
        return name if self.split in (None, "train") else f"{self.split}/{name}"


def list_files(
    options: SourceOptions, data_dir: str, is_list: Callable[[str], bool], expected: str
) -> list[ListFile]:
    """Return the files with captions: those that flags name, or those that lie in `data_dir`.

    Args:
        options: The flags of the source.
        data_dir: A folder, or the file itself.
        is_list: Whether a file of this name may hold captions.
        expected: What such a file is called, for messages.

    Raises:
        UserError: There is none, or it is not clear which one is meant.
        UsageError: Flags name the images of a split, but no captions.
    """
    if named := _named_files(options, data_dir):
        return named
    if posixpath.splitext(data_dir)[1] and not files.names(data_dir):
        if not files.exists(data_dir):
            raise UserError(f"{data_dir}: no such file or folder")
        return [ListFile(None, data_dir, None)]
    candidates = list_candidates(data_dir, is_list)
    splits = [split_in_name(path) for path in candidates]
    if len(candidates) == 1:
        # A file for train that stands alone may say the splits itself.
        return [ListFile(None if splits == ["train"] else splits[0], candidates[0], None)]
    if candidates and None not in splits and len(set(splits)) == len(splits):
        pairs = zip(splits, candidates, strict=True)
        return [ListFile(split, path, None) for split, path in pairs]
    if not files.exists(data_dir):
        raise UserError(f"{data_dir}: no such file or folder")
    if not candidates:
        raise UserError(
            f"{data_dir}: holds no {expected}; name it with --data_dir or --train_annotations"
        )
    names = ", ".join(map(posixpath.basename, candidates))
    raise UserError(
        f"{data_dir}: which of these holds the captions: {names}? Name it with --data_dir, or one"
        " for each split with --train_annotations, --val_annotations and --test_annotations"
    )


def list_candidates(data_dir: str, is_list: Callable[[str], bool]) -> list[str]:
    """Return the files in `data_dir`, or else in its folder annotations, that may be lists."""
    for folder in (data_dir, posixpath.join(data_dir, "annotations")):
        names = [n for n in files.names(folder) if is_list(n) and not n.startswith(".")]
        if names:
            return [posixpath.join(folder, name) for name in names]
    return []


def _named_files(options: SourceOptions, data_dir: str) -> list[ListFile]:
    named = []
    for split in SPLITS:
        path: str | None = getattr(options, f"{split}_annotations")
        images: str | None = getattr(options, f"{split}_images")
        if path:
            images = images and _below(data_dir, images)
            named.append(ListFile(split, _below(data_dir, path), images))
        elif images:
            raise UsageError(
                f"--{split}_images={images}: which captions? Name their file with"
                f" --{split}_annotations"
            )
    # A file that stands alone may say the splits itself, or fractions of it are asked for.
    if [file.split for file in named] == ["train"]:
        return [named[0]._replace(split=None)]
    return named


def _below(data_dir: str, path: str) -> str:
    """Return `path`, or where it lies below `data_dir` if it does not exist as it is."""
    below = posixpath.join(data_dir, path)
    return below if not files.exists(path) and files.exists(below) else path


def split_in_name(path: str) -> str | None:
    """Return the split that a file name such as captions_train2017.json tells."""
    words = re.findall("[a-z]+", posixpath.basename(path).lower())
    splits = {split for word in words if (split := split_of(word))}
    return splits.pop() if len(splits) == 1 else None


def image_folder(file: ListFile, names: Sequence[str]) -> ImageFolder:
    """Return the folder in which the images of a list lie.

    That is the folder of the list, a folder in it, or one beside it; a folder whose name tells the
    list's split comes first.

    Args:
        file: The list.
        names: Some of its images.

    Raises:
        UserError: Several folders hold files of these names, or the flag's folder does not exist.
    """
    if file.images is not None:
        if not files.exists(file.images):
            raise UserError(f"{file.images}: no such folder")
        return ImageFolder(file.images)
    home = posixpath.dirname(file.path)
    roots = [home, posixpath.dirname(home)] if posixpath.basename(home) == "annotations" else [home]
    for root in roots:
        folders = [ImageFolder(root)]
        if not folders[0].holds(names):
            folders = _folders_with(root, names)
        split = file.split or split_in_name(file.path)
        of_split = [folder for folder in folders if split_in_name(folder.path) == split]
        if len(folders) > 1 and len(of_split) == 1:
            folders = of_split
        if len(folders) > 1:
            paths = ", ".join(folder.path for folder in folders)
            raise UserError(
                f"{file.path}: {names[0]} lies in several folders: {paths}; name the right one"
                f" with --{file.split or 'train'}_annotations={file.path} and"
                f" --{file.split or 'train'}_images"
            )
        if folders:
            return folders[0]
    return ImageFolder(roots[-1])


def _folders_with(root: str, names: Sequence[str]) -> list[ImageFolder]:
    """Return the folders one or two levels below `root` that hold the most of `names`."""
    held: dict[int, list[ImageFolder]] = {}
    for path in _subfolders(root):
        folder = ImageFolder(path)
        held.setdefault(folder.holds(names), []).append(folder)
    held.pop(0, None)
    return held[max(held)] if held else []


def _subfolders(root: str) -> Iterable[str]:
    for name in _folder_names(root):
        folder = posixpath.join(root, name)
        yield folder
        for inner in _folder_names(folder):
            yield posixpath.join(folder, inner)


def _folder_names(folder: str) -> Iterable[str]:
    if not files.is_local(folder):  # An object store has no folders to list.
        return _USUAL_FOLDERS
    try:
        with os.scandir(folder or ".") as inside:
            names = sorted(entry.name for entry in inside if entry.is_dir())
    except OSError:
        return ()
    return [name for name in names if not name.startswith((".", "__MACOSX"))]
