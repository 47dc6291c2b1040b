"""Which images of a split were trained on."""

from records.manifest import DatasetInfo

_SHOWN = 5


def leaked(train: DatasetInfo, info: DatasetInfo, split: str) -> dict[int, int]:
    """The images of a split that lie in a train split too, in the order written.

    The same bytes are the same picture. So is the same id, whatever the bytes (another size, saved
    again), where both ids come from one space. Ids of a space of their own mean the same picture
    within one data set only, which is known by its train split.

    Call arguments:
        train: the manifest whose train split was, or would be, trained on.
        info: that of the data set with `split`; `train` itself for leaks inside one data set.

    Returns: image id in `split` -> image id in the train split.
    """
    trained = train.content_hashes("train")
    by_hash = {content: image_id for image_id, content in trained.items()}
    one_space = info.ids == train.ids and (
        info.ids != "own" or info.content_hashes("train") == trained
    )
    found = {}
    for image_id, content in info.content_hashes(split).items():
        if one_space and image_id in trained:
            found[image_id] = image_id
        elif content in by_hash:
            found[image_id] = by_hash[content]
    return found


def examples(found: dict[int, int]) -> str:
    """The first few of what `leaked` found, for a message: `139, 285 (in train as 9)`."""
    said = [
        f"{image_id}" if image_id == other else f"{image_id} (in train as {other})"
        for image_id, other in list(found.items())[:_SHOWN]
    ]
    more = len(found) - len(said)
    return ", ".join(said) + (f" and {more:,} more" if more else "")


def stamp(leaked_images: int, images: int) -> str:
    """What stands on every output of a split of which so many of its images were trained on."""
    return f"CONTAMINATED {100 * leaked_images / images:.3g}%"
