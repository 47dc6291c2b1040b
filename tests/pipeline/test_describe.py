"""Descriptions travel through an engine as what they are."""

import pytest

from pipeline.datasets.listing import Caption, ListedImage, Listing
from pipeline.job.describe import Description, deal, describe, pack, unpack


def test_packed_descriptions_come_back_as_they_were():
    rejected = ({"split": "train", "image_id": 7, "file_name": "a.jpg", "reason": "empty_caption"},)
    descriptions = [
        Description("train", 7, "a.jpg", "/d/a.jpg", ("Ein\u2028Bär.", "x"), ("x", "y z"), (), 0),
        # No path, no captions; a file name that is no UTF-8.
        Description("train", -(2**63), "\udce9.jpg", None, (), (), rejected, 1),
    ]
    unpacked = unpack([pack(descriptions[:1]), pack(descriptions[1:])])
    assert unpacked == descriptions
    assert {type(x) for d in unpacked for x in (d.captions, d.words, d.rejected)} == {tuple}


def listed(groups: int, rows: int) -> Listing:
    """A listing of `groups` row groups; without groups, of images that are read alone."""
    images = (
        ListedImage(
            n, f"{n}.jpg", f"/{n}", (Caption(n, "a dog"),), f"g{n // rows}" if groups else None
        )
        for n in range(max(groups, 1) * rows)
    )
    return Listing(tuple(images))


def dealt(listing: Listing, count: int, seed: int = 0) -> list[list[int]]:
    """The ids in each shard."""
    described = describe(listing, "train", max_caption_words=0, seed=seed)
    shards = deal(described, count, listing.in_groups)
    return [[d.image_id for d in sorted(shard, key=lambda d: d.place)] for shard in shards]


@pytest.mark.parametrize(("groups", "rows"), [(0, 37), (12, 7)])
def test_every_image_is_dealt_once_and_shards_are_of_one_size(groups, rows):
    listing = listed(groups, rows)
    for count in (1, 5, len(listing.images)):
        shards = dealt(listing, count)
        assert sorted(n for shard in shards for n in shard) == list(range(len(listing.images)))
        assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert dealt(listing, 5) == dealt(listing, 5) != dealt(listing, 5, seed=1)


def test_groups_stay_together_and_in_order():
    """A worker reads the rows of a group in their order, and few workers read the same group."""
    shards = dealt(listed(groups=12, rows=7), 5)
    readers = [len({n // 7 for n in shard}) for shard in shards]
    assert sum(readers) <= 12 + 4
    for shard in shards:
        for group in {n // 7 for n in shard}:
            rows = [n for n in shard if n // 7 == group]
            assert rows == list(range(rows[0], rows[0] + len(rows)))
    order = [n // 7 for shard in shards for n in shard]
    assert order != sorted(order)
