"""Which images of a split were trained on."""

from collections.abc import Mapping

from records.manifest import DatasetInfo

_MAX_EXAMPLES = 5


def leaked(
    train: DatasetInfo, info: DatasetInfo, split: str, max_train_images: int = 0
) -> dict[int, int]:
    """Return the images of a split that are in a train split too.

    The same bytes are the same picture. In a shared space of ids the same id is the same picture,
    too, whatever the bytes: they may be of another size or saved again. Ids of a space of their own
    are compared within one data set only; the same train split shows that it is one.

    Args:
        train: The manifest whose train split was, or would be, trained on.
        info: The manifest of the data set with `split`; `train` itself for leaks inside one.
        split: The split to look at.
        max_train_images: How many of the first images of the train split are trained on; 0 for all.

    Returns:
        Image id in `split` -> image id in the train split, in the order of `split`.
    """
    trained = train.content_hashes("train", max_train_images)
    id_of_hash = {content_hash: image_id for image_id, content_hash in trained.items()}
    same_id_is_same_picture = info.ids == train.ids and (
        info.ids != "own" or info.content_hashes("train") == train.content_hashes("train")
    )
    leaked_images = {}
    for image_id, content_hash in info.content_hashes(split).items():
        if same_id_is_same_picture and image_id in trained:
            leaked_images[image_id] = image_id
        elif content_hash in id_of_hash:
            leaked_images[image_id] = id_of_hash[content_hash]
    return leaked_images


def examples(
    leaked_images: dict[int, int],
    names: Mapping[int, str] | None = None,
    train_names: Mapping[int, str] | None = None,
) -> str:
    """Return the first few leaked images for a message: `139, 285 (in train as 9)`.

    Args:
        leaked_images: What `leaked` returns.
        names: Image id -> file name in the split; None for a message with ids.
        train_names: The same of the train split.
    """
    names, train_names = names or {}, train_names or {}
    shown = [
        f"{names.get(image_id, image_id)}"
        if image_id == train_id
        else f"{names.get(image_id, image_id)} (in train as {train_names.get(train_id, train_id)})"
        for image_id, train_id in list(leaked_images.items())[:_MAX_EXAMPLES]
    ]
    more = len(leaked_images) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def stamp(leaked_images: int, images: int) -> str:
    """Return the mark for every output about a split that was trained on.

    Args:
        leaked_images: Number of its images that were trained on.
        images: Number of all its images.
    """
    return f"CONTAMINATED {100 * leaked_images / images:.3g}%"
