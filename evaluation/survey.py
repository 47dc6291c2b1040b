"""What an evaluation says of attention: from a sample of its images, and those that are shown."""

import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from evaluation import looking
from evaluation.looking import AttentionStatistics, Look
from records.manifest import DatasetInfo
from records.split_files import SplitFiles
from scenes import pointing
from scenes.pointing import Pointing
from scenes.world import truth

SAMPLE = 500  # images


def survey(
    run_dirs: Sequence[str],
    info: DatasetInfo,
    split_files: SplitFiles,
    search: Mapping[str, Any],
    images: Collection[int],
    shown: Collection[int] = (),
) -> tuple[dict[str, dict], dict[int, Look]]:
    """Look at a sample of the images, and print what it says.

    Call arguments:
        images: ids of all that were captioned. shown: of those whose looks are wanted.

    Returns: {"attention": ..., and for scenes "pointing": ...}, for metrics.json; the looks.
    """
    sample = set(random.Random(0).sample(sorted(images), min(SAMPLE, len(images))))
    scenes = {}
    if info.dataset == "scenes":
        scenes = truth(info.flags.scenes_images, info.flags.scenes_seed)
    statistics, points, kept = AttentionStatistics(), Pointing(), {}
    for look in looking.looks(run_dirs, info, split_files, search, sample | set(shown)):
        if look.image_id in sample:
            statistics.add(look)
            if scenes:
                points.add(look.words, look.attention, scenes[look.image_id])
        if look.image_id in shown:
            kept[look.image_id] = look
    found = {"attention": statistics.as_json()}
    print(looking.described(found["attention"]))
    if scenes:
        found["pointing"] = points.as_json()
        print(pointing.described(found["pointing"]))
    return found, kept
