"""From the entries of a user's list to images with ids, captions and splits.

A source of this folder yields an `Entry` for each line of its list, or for each example. What all
of them share is here: several entries of one image become one image, every image gets an id and a
split, and wrong entries become one error that names the place of each.

Without an id of its own an image has a hash of its name as id, and a hash of its name chooses its
split where fractions are asked for. New images therefore change nothing about the others.
"""

import dataclasses
import hashlib
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cli.errors import UsageError, UserError
from pipeline.datasets.fields import shown
from pipeline.datasets.listing import Caption, ListedImage, Listing, clean
from pipeline.datasets.options import FRACTIONS, SourceOptions
from pipeline.datasets.own.findings import Findings
from pipeline.datasets.source import TRAIN_NEEDED, ImageFiles
from records.schema import SPLITS, IdSpace

# What people call the splits, in lower case. Karpathy's `restval` belongs to train.
SPLIT_NAMES = {
    "train": "train",
    "restval": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}


class Entry(NamedTuple):
    """One line of a user's list, or one example.

    Attributes:
        name: The image's name as records keep it: relative to its folder, `/` between folders.
        path: What `DataSource.read_image` takes. Entries of one path are one image.
        captions: The captions that the entry has.
        place: Where the entry stands, as `captions.csv:7:12`: file, line and column.
        split: The name of the image's split as the list writes it; None when the list does not say.
        image_id: The image's id; None when the list gives none.
        key: What an id or a split is a hash of; empty for the name. It differs from the name where
            another image may have the same name in another folder.
    """

    name: str
    path: str
    captions: tuple[str, ...]
    place: str
    split: str | None = None
    image_id: int | None = None
    key: str = ""


@dataclasses.dataclass
class _Image:
    """An image of which some entries are known."""

    first: Entry
    split: str | None
    captions: list[str]


def split_of(name: str) -> str | None:
    """Return the split that people call `name`: train, val or test; None for any other name."""
    return SPLIT_NAMES.get(name.strip().lower())


def image_id_of(name: str) -> int:
    """Return the id of an image that has none: a hash of its name, 0 to 2**63 - 1.

    Both Unicode spellings of a name have the same id: macOS writes `é` as two characters.
    """
    return _hash("id", name) >> 1


def hashed_split(name: str, options: SourceOptions) -> str:
    """Return the split that the fractions of `options` give to the image `name`."""
    place = _hash("split", name) / 2**64
    # From both ends, so that a change of one fraction moves no image of the other.
    if place < options.val_fraction:
        return "val"
    return "test" if place >= 1 - options.test_fraction else "train"


def _hash(purpose: str, name: str) -> int:
    normalised = unicodedata.normalize("NFC", posixpath.normpath(name))
    content = f"{purpose}/{normalised}".encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(content).digest()
    return int.from_bytes(digest[:8], "big")


def listings(
    entries: Iterable[Entry], options: SourceOptions, findings: Findings
) -> dict[str, Listing]:
    """Return split -> listing, for the splits that have images.

    Args:
        entries: The entries of the list, in any order.
        options: Says how many images of train go to val and test.
        findings: Takes remarks.

    Raises:
        UserError: Entries are wrong, or contradict each other.
        UsageError: A fraction is asked for of a split that the list has already.
    """
    images = _grouped(entries, findings)
    _check_ids(images, findings)
    findings.check()
    named = {image.split for image in images if image.split}
    for split in ("val", "test"):
        fraction = getattr(options, f"{split}_fraction")
        if fraction and split in named:
            raise UsageError(
                f"--{split}_fraction={fraction:g}: the list has a split {split} already; leave the"
                " flag out"
            )
    by_split: dict[str, list[ListedImage]] = {split: [] for split in SPLITS}
    for image in images:
        split = image.split or "train"
        if split == "train":
            split = hashed_split(image.first.key or image.first.name, options)
        by_split[split].append(_listed(image))
    _remark_on_splits(by_split, named, options, findings)
    return {
        split: Listing(tuple(listed), tuple(findings.strays.get(split, ())))
        for split, listed in by_split.items()
        if listed
    }


def _grouped(entries: Iterable[Entry], findings: Findings) -> list[_Image]:
    """Return the images of the entries, in the order of their first entries."""
    images: dict[str, _Image] = {}
    for entry in entries:
        split = None
        if entry.split is not None:
            split = split_of(entry.split)
            if split is None:
                findings.problem(
                    entry.place,
                    f"the split must be one of {', '.join(SPLIT_NAMES)}, found"
                    f" {shown(entry.split)}",
                )
                continue
        image = images.setdefault(entry.path, _Image(entry, split, []))
        image.captions += entry.captions
        first = image.first
        if (image.split or "train") != (split or "train"):
            findings.problem(
                entry.place,
                f"{shown(entry.name)} is in the split {split or 'train'} here and in"
                f" {image.split or 'train'} at {first.place}",
            )
        elif first.image_id != entry.image_id:
            findings.problem(
                entry.place,
                f"{shown(entry.name)} has the id {entry.image_id} here and {first.image_id} at"
                f" {first.place}",
            )
    return list(images.values())


def _check_ids(images: Iterable[_Image], findings: Findings) -> None:
    """Report images that have one id, and lists of which only some images have ids."""
    first_of_id: dict[int, Entry] = {}
    with_ids: bool | None = None
    for image in images:
        entry = image.first
        has_id = entry.image_id is not None
        with_ids = has_id if with_ids is None else with_ids
        if has_id != with_ids:
            findings.problem(
                entry.place,
                f"{shown(entry.name)} has {'an' if has_id else 'no'} id, unlike the images before:"
                " all of them must have one, or none",
            )
            continue
        first = first_of_id.setdefault(_id(entry), entry)
        if first is not entry:
            kind = "the same id as" if has_id else "nearly the same name as"
            findings.problem(
                entry.place, f"{shown(entry.name)} has {kind} {shown(first.name)} at {first.place}"
            )


def _id(entry: Entry) -> int:
    return image_id_of(entry.key or entry.name) if entry.image_id is None else entry.image_id


def _listed(image: _Image) -> ListedImage:
    entry = image.first
    name = clean(entry.name)
    captions = tuple(
        Caption(f"{name}#{index}", clean(text)) for index, text in enumerate(image.captions)
    )
    return ListedImage(_id(entry), name, entry.path, captions)


def _remark_on_splits(
    by_split: dict[str, list[ListedImage]],
    named: set[str],
    options: SourceOptions,
    findings: Findings,
) -> None:
    total = sum(map(len, by_split.values()))
    if not total:
        return
    if not named and not any(getattr(options, name) for name in FRACTIONS):
        findings.remark(
            f"{'the only image is' if total == 1 else f'all {total:,} images are'} in train,"
            " because nothing says which splits they belong to; --val_fraction=0.1 puts"
            " a tenth of them into val, from which a training chooses its best weights"
        )
        return
    for split, listed in by_split.items():
        fraction = getattr(options, f"{split}_fraction", 0)
        if not listed and fraction:
            findings.remark(
                f"no {split} split: --{split}_fraction={fraction:g} gives it none of the"
                f" {total:,} images; a larger fraction does"
            )
        elif not listed:
            findings.remark(f"no {split} split: the list has no image for it")


class EntrySource(ImageFiles):
    """A source whose lists are read entry by entry; a subclass defines `entries`.

    A subclass whose images are no files defines `image_version` and `read_image` as well.
    """

    ids: IdSpace = "own"
    reads: tuple[str, ...] = FRACTIONS

    def entries(self, data_dir: str, findings: Findings) -> Iterator[Entry]:
        """Yield the entries of the list at `data_dir`, in its order.

        Args:
            data_dir: Where the source lies.
            findings: Takes remarks, and the problems of entries that are left out for them.

        Raises:
            UserError: The list cannot be read at all.
        """
        raise NotImplementedError

    def entries_of(self, data_dir: str, split: str, findings: Findings) -> Iterator[Entry]:
        """Yield all entries of one split, perhaps among those of others; see `entries`."""
        return self.entries(data_dir, findings)

    @property
    def divides(self) -> bool:
        """Whether images of train go to val or test."""
        return any(getattr(self._options, name) for name in FRACTIONS)

    def splits(self, data_dir: str, need_train: bool) -> tuple[list[str], list[str]]:
        """Return the splits that have images; `DataSource.splits` says more.

        The whole list is read and checked.
        """
        findings = Findings()
        listed = listings(self.entries(data_dir, findings), self._options, findings)
        findings.remark_on_unlisted()
        if not listed:
            raise UserError("; ".join([f"{data_dir}: lists no image", *findings.remarks]))
        if need_train and "train" not in listed:
            splits = " and ".join(listed)
            remedy = "a smaller fraction leaves some in train" if self.divides else TRAIN_NEEDED
            raise UserError(f"{data_dir}: all images are in {splits}, none in train; {remedy}")
        return list(listed), findings.remarks

    def read(self, data_dir: str, split: str) -> Listing:
        """List the images and captions of one split.

        Raises:
            UserError: Entries are wrong; the message names the first few and the place of each.
        """
        findings = Findings()
        entries = self.entries_of(data_dir, split, findings)
        return listings(entries, self._options, findings).get(split, Listing(()))
