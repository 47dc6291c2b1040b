"""From a split's listing to the descriptions that travel through the job: no image is read here."""

import dataclasses
import hashlib
from collections.abc import Iterator

from pipeline.config import Config
from pipeline.datasets.listing import Caption, ListedImage, Listing
from records.errors import UsageError, UserError
from records.text import tokenise


@dataclasses.dataclass(frozen=True)
class Description:
    """One listed image and what is known of it before its file is opened.

    Attributes:
        split: train, val or test.
        image_id: the data set's own.
        file_name: as in the annotation file.
        path: of the image's file; None when its name leads out of the image folder.
        captions: the texts kept; empty when the image is left out.
        rejected: lines of rejected.jsonl that are known already.
        place: its place in the split; shards take places in turn.
    """

    split: str
    image_id: int
    file_name: str
    path: str | None
    captions: tuple[str, ...]
    rejected: tuple[dict, ...]
    place: int = 0


def rejection(image: Description | ListedImage, split: str, reason: str, caption=None) -> dict:
    """A line of rejected.jsonl: an image left out, or one of its captions."""
    line = {"split": split, "image_id": image.image_id, "file_name": image.file_name}
    if caption is not None:
        line["caption_id"] = caption.caption_id
    return line | {"reason": reason}


def describe(listing: Listing, split: str, config: Config) -> list[Description]:
    """Every listed image in the order in which shards take them.

    Raises:
        UserError: nothing is listed, or fewer images than shards.
    """
    if not listing.images:
        raise UserError(f"{config.data_dir}: no images are listed for the split {split}")
    shards = config.shards(split, len(listing.images))
    if shards > len(listing.images):
        raise UsageError(
            f"--{'train' if split == 'train' else 'val'}_shards={shards}: the split {split} has"
            f" {len(listing.images)} images only"
        )
    limit = config.max_caption_words if split == "train" else 0
    seen: set[int] = set()
    described = [_describe(image, split, limit, seen) for image in listing.images]
    order = sorted(range(len(described)), key=_dealing_key(described, split, config.seed))
    dealt = [dataclasses.replace(described[i], place=place) for place, i in enumerate(order)]
    # Captions of no listed image have no shard of their own: they ride with the first image.
    strays = tuple(_stray(image_id, caption, split) for image_id, caption in listing.strays)
    dealt[0] = dataclasses.replace(dealt[0], rejected=strays + dealt[0].rejected)
    return dealt


def _describe(image: ListedImage, split: str, limit: int, seen: set[int]) -> Description:
    if image.image_id in seen:
        rejected = (rejection(image, split, "duplicate_image_id"),)
        return Description(split, image.image_id, image.file_name, None, (), rejected)
    seen.add(image.image_id)
    kept, rejected = [], []
    for caption in image.captions:
        reason = _caption_reason(caption, limit)
        if reason:
            rejected.append(rejection(image, split, reason, caption))
        else:
            kept.append(caption.text)
    if not kept:
        rejected.append(rejection(image, split, "no_captions"))
    return Description(
        split, image.image_id, image.file_name, image.path, tuple(kept), tuple(rejected)
    )


def _caption_reason(caption: Caption, limit: int) -> str | None:
    words = len(tokenise(caption.text))
    if not words:
        return "empty_caption"
    return "long_caption" if limit and words > limit else None


def _stray(image_id: int, caption: Caption, split: str) -> dict:
    image = ListedImage(image_id, "", None, ())
    return rejection(image, split, "unknown_image_id", caption)


def _dealing_key(described: list[Description], split: str, seed: int):
    """A seeded permutation of the ids that no library's next version changes."""

    def key(index: int) -> tuple[bytes, int, int]:
        image_id = described[index].image_id
        return hashlib.sha256(f"{seed}/{split}/{image_id}".encode()).digest(), image_id, index

    return key


def shards_of(described: list[Description], count: int) -> Iterator[tuple[int, Description]]:
    """(shard's index, description): places in turn, so that shards differ by one image at most."""
    for description in described:
        yield description.place % count, description
