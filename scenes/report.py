"""What an evaluation can say of drawn scenes, and of no other data set.

The truth of a scene is known, so each claim of a caption is true or false, and each colour or shape
word has a place in the picture where attention should look.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from records.manifest import DatasetInfo
from scenes.facts import check_all
from scenes.pointing import Pointing, described
from scenes.world import Scene, truth


def is_drawn(info: DatasetInfo) -> bool:
    """Return whether the records were built from drawn scenes."""
    return info.dataset == "scenes"


def truth_of(info: DatasetInfo) -> dict[int, Scene]:
    """Return the scenes by image id that the records of `info` were built from."""
    return truth(info.flags.scenes_images, info.flags.scenes_seed)


def facts(info: DatasetInfo, captions: Mapping[int, str], stamp: str) -> dict[str, float]:
    """Print and return the share of true claims in captions of drawn scenes.

    The control checks each caption against another image. It gives each image the features of the
    next one: since a caption is a function of its features, that is the next image's caption.

    Args:
        info: The manifest of the records; `is_drawn` holds.
        captions: Image id -> caption; at least one.
        stamp: The contamination mark that ends the line; "" for none.

    Returns:
        `facts_true` and `facts_true_other_image` (the control), for metrics.json.
    """
    scenes = truth_of(info)
    ids = list(captions)
    of_next_image = dict(zip(ids, [captions[i] for i in [*ids[1:], ids[0]]], strict=True))
    share, control = (
        true / claims for true, claims in (check_all(c, scenes) for c in (captions, of_next_image))
    )
    print(f"facts true: {share:.0%} (other image: {control:.0%})  {stamp}".rstrip())
    return {"facts_true": share, "facts_true_other_image": control}


def pointing(
    info: DatasetInfo, looks: Iterable[tuple[int, Sequence[str], np.ndarray]]
) -> dict[str, float]:
    """Print and return how often attention looks at what colour and shape words name.

    Args:
        info: The manifest of the records; `is_drawn` holds.
        looks: (image id, its caption's T words, attention [T, grid height, grid width]).

    Returns:
        `Pointing.as_json`, for metrics.json.
    """
    scenes = truth_of(info)
    points = Pointing()
    for image_id, words, attention in looks:
        points.add(words, attention, scenes[image_id])
    report = points.as_json()
    print(described(report))
    return report
