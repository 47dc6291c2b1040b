"""From a split's listing to the descriptions that travel through the job. No image is read here."""

import hashlib
import itertools
import json
import operator
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cli.errors import UserError
from pipeline.datasets.listing import Caption, ListedImage, Listing
from pipeline.datasets.source import DataSource
from records.rejections import Rejection, RejectionReason
from records.text import tokenise


class Description(NamedTuple):
    """One listed image with its kept captions, before its file is opened.

    Attributes:
        split: train, val or test.
        image_id: The data set's own id.
        file_name: As in the annotation file.
        path: Path of the image's file; None when the name leads out of the image folder.
        captions: The texts that are kept; empty when the image is left out.
        words: The words of each caption with a space between two. They are counted and encoded
            later, and `tokenise` takes longer than both.
        rejected: The rejections that are known already.
        place: Place of the image in its split, by which images are dealt to shards.
    """

    split: str
    image_id: int
    file_name: str
    path: str | None
    captions: tuple[str, ...]
    words: tuple[str, ...]
    rejected: tuple[Rejection, ...]
    place: int


def rejection(
    image: Description | ListedImage,
    split: str,
    reason: RejectionReason,
    caption: Caption | None = None,
) -> Rejection:
    """Return the rejection of an image, or of one of its captions.

    Args:
        image: The image.
        split: The split that lists it.
        reason: Why it is left out.
        caption: The caption that is left out; None when it is the image.
    """
    rejected: Rejection = {
        "split": split,
        "image_id": image.image_id,
        "file_name": image.file_name,
        "reason": reason,
    }
    if caption is not None:
        rejected["caption_id"] = caption.caption_id
    return rejected


def read_listing(source: DataSource, data_dir: str, split: str) -> Listing:
    """Return what a source lists of a split.

    Args:
        source: The source.
        data_dir: Where it lies.
        split: train, val or test.

    Raises:
        UserError: Nothing is listed, or the listing cannot be read.
    """
    listing = source.read(data_dir, split)
    if not listing.images:
        raise UserError(f"{data_dir}: no images are listed for the split {split}")
    return listing


def describe(
    listing: Listing, split: str, *, max_caption_words: int, seed: int
) -> list[Description]:
    """Return every listed image, in the order in which shards take them.

    Args:
        listing: At least one image.
        split: The split that is listed.
        max_caption_words: Train captions with more words are left out; 0 for no limit.
        seed: Seed of the order.
    """
    limit = max_caption_words if split == "train" else 0
    seen: set[int] = set()
    places = _places(listing.images, split, seed)
    described = [
        _describe(image, place, split, limit, seen)
        for image, place in zip(listing.images, places, strict=True)
    ]
    described.sort(key=operator.attrgetter("place"))
    # Captions of images that are not listed are rejected along with the first image.
    strays = tuple(_stray(image_id, caption, split) for image_id, caption in listing.strays)
    described[0] = described[0]._replace(rejected=strays + described[0].rejected)
    return described


def _describe(
    image: ListedImage, place: int, split: str, limit: int, seen: set[int]
) -> Description:
    image_id, name = image.image_id, image.file_name
    if image_id in seen:
        duplicate = rejection(image, split, RejectionReason.DUPLICATE_IMAGE_ID)
        return Description(split, image_id, name, None, (), (), (duplicate,), place)
    seen.add(image_id)
    kept: list[str] = []
    kept_words: list[str] = []
    rejected: list[Rejection] = []
    for caption in image.captions:
        words = tokenise(caption.text)
        if words and not (limit and len(words) > limit):
            kept.append(caption.text)
            kept_words.append(" ".join(words))
        else:
            reason = RejectionReason.LONG_CAPTION if words else RejectionReason.EMPTY_CAPTION
            rejected.append(rejection(image, split, reason, caption))
    if not kept:
        rejected.append(rejection(image, split, RejectionReason.NO_CAPTIONS))
    return Description(
        split, image_id, name, image.path, tuple(kept), tuple(kept_words), tuple(rejected), place
    )


def _stray(image_id: int, caption: Caption, split: str) -> Rejection:
    image = ListedImage(image_id, "", None, ())
    return rejection(image, split, RejectionReason.UNKNOWN_IMAGE_ID, caption)


def _places(images: Sequence[ListedImage], split: str, seed: int) -> list[int]:
    """Return the place of each image: a seeded permutation, the same with every library version.

    Groups are permuted, and images that have none.
    """

    def key(index: int) -> tuple[bytes, int]:
        image = images[index]
        name = image.image_id if image.group is None else image.group
        return hashlib.sha256(f"{seed}/{split}/{name}".encode()).digest(), index

    places = [0] * len(images)
    for place, index in enumerate(sorted(range(len(images)), key=key)):
        places[index] = place
    return places


def deal(
    described: Sequence[Description], count: int, in_groups: bool = False
) -> list[Sequence[Description]]:
    """Deal images to shards that differ by one image at most.

    Args:
        described: The images, by their places.
        count: The number of shards.
        in_groups: Whether images are read in groups. Shards then take runs of images, so that few
            shards have images of the same group; else they take images in turn.
    """
    if not in_groups:
        return [described[index::count] for index in range(count)]
    bounds = [len(described) * index // count for index in range(count + 1)]
    return [described[start:end] for start, end in itertools.pairwise(bounds)]


def pack(descriptions: Sequence[Description]) -> bytes:
    """Encode descriptions as one value: engines weigh and encode every value they move."""
    return json.dumps(descriptions).encode()


def unpack(packs: Iterable[bytes]) -> list[Description]:
    """Return the descriptions that `pack` has encoded."""
    return [
        Description._make(tuple(field) if isinstance(field, list) else field for field in fields)
        for packed in packs
        for fields in json.loads(packed)
    ]
