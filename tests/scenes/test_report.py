"""What an evaluation prints and keeps of drawn scenes."""

import dataclasses

import numpy as np
import pytest

from records.manifest import DatasetInfo
from scenes import report
from scenes.captions import captions
from scenes.pointing import named_in
from scenes.world import truth
from tests.support.flags import recorded_flags

N_IMAGES, SEED = 40, 3
WORLD = truth(N_IMAGES, SEED)


@pytest.fixture
def info() -> DatasetInfo:
    fields = {field.name: None for field in dataclasses.fields(DatasetInfo)}
    flags = recorded_flags(scenes_images=N_IMAGES, scenes_seed=SEED)
    return DatasetInfo(**fields | {"dataset": "scenes", "flags": flags})


def test_only_the_scenes_are_drawn(info):
    assert report.is_drawn(info)
    assert not report.is_drawn(dataclasses.replace(info, dataset="coco2017"))
    assert report.truth_of(info) == WORLD


def test_facts_with_the_next_image_as_control(info, capsys):
    true = {image_id: captions(scene)[0] for image_id, scene in WORLD.items()}
    values = report.facts(info, true, "")
    assert values["facts_true"] == 1
    assert values["facts_true_other_image"] < 0.1
    assert capsys.readouterr().out.splitlines() == [
        f"facts true: 100% (other image: {values['facts_true_other_image']:.0%})",
    ]
    # Captions of the image before: the control hands each image its own, all but the last.
    ids = list(true)
    shifted = dict(zip(ids, [true[ids[-1]], *(true[i] for i in ids[:-1])], strict=True))
    values = report.facts(info, shifted, "CONTAMINATED 3%")
    assert values["facts_true"] < 0.1
    assert values["facts_true_other_image"] == 1
    assert all(line.endswith("  CONTAMINATED 3%") for line in capsys.readouterr().out.splitlines())


def test_pointing_takes_each_image_with_its_own_scene(info, capsys):
    looks = []
    for image_id, scene in WORLD.items():
        words = captions(scene)[0].replace(",", "").split()
        attention = np.zeros((len(words), 64, 64))
        for named in named_in(words):
            x0, y0, x1, y1 = next(t for t in scene.things if t.kind == named.kind).box
            attention[named.place, (y0 + y1) // 2, (x0 + x1) // 2] = 1
        looks.append((image_id, words, attention))
    values = report.pointing(info, looks)
    assert values["score"] == 1
    assert values["words"] > 2 * N_IMAGES
    assert values["absent"] == 0
    assert capsys.readouterr().out.startswith("pointing: 100% of ")
    moved = [(image_id % N_IMAGES + 1, words, attention) for image_id, words, attention in looks]
    assert report.pointing(info, moved)["absent"] > N_IMAGES
