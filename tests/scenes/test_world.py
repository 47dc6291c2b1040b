"""The scenes: the same everywhere, fair between splits, captioned with nothing but the truth."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from cli.errors import UsageError
from records.schema import SPLITS
from scenes.captions import captions
from scenes.drawing import INKS, jpeg
from scenes.facts import check
from scenes.world import (
    COLOURS,
    SHAPES,
    SIDE,
    SIZES,
    Scene,
    Thing,
    layout,
    relation_between,
    scenes,
    truth,
)

# Of layouts, pixels and captions. If it changed on purpose, raise `scenes.world.VERSION`.
WORLD_SHA256 = "246d8f2241be3b452b745b6425cb165a70e10bf568ca97b3c1607da2c14e0703"

INVERSE = {"left of": "right of", "above": "below", "right of": "left of", "below": "above"}


@pytest.fixture(scope="module")
def world():
    return scenes(3000, 1)


def test_the_version_goes_up_when_the_world_changes():
    said = [(scene, captions(scene)) for scene in scenes(200, 1)]
    assert hashlib.sha256(repr(said).encode()).hexdigest() == WORLD_SHA256


def test_splits_are_whole_and_share_no_layout(world):
    sizes = {split: sum(scene.split == split for scene in world) for split in SPLITS}
    assert sizes == {"train": 2400, "val": 300, "test": 300}
    assert [scene.image_id for scene in world] == list(range(1, 3001))
    layouts = {
        split: {layout(scene.things) for scene in world if scene.split == split} for split in SPLITS
    }
    assert not layouts["train"] & layouts["val"]
    assert not layouts["train"] & layouts["test"]
    assert not layouts["val"] & layouts["test"]


def test_layout_knows_neither_order_nor_single_pixels():
    ball = Thing("circle", "red", "small", (4, 4, 16, 16))
    near = Thing("circle", "red", "small", (6, 3, 18, 15))
    far = Thing("circle", "red", "small", (40, 4, 52, 16))
    assert layout([ball, far]) == layout([far, near])
    assert layout([ball]) != layout([far])


def test_every_seed_is_another_world(world):
    assert scenes(100, 1) == scenes(100, 1)
    things = {tuple(scene.things for scene in scenes(100, seed)) for seed in (-1, 0, 1, 2)}
    assert len(things) == 4
    assert truth(3000, 1) == {scene.image_id: scene for scene in world}


def test_too_few_images_are_refused():
    with pytest.raises(UsageError, match="at least 10 images, found 9"):
        scenes(9, 1)


def test_the_world_is_rich_and_clear(world):
    things = [thing for scene in world for thing in scene.things]
    assert {thing.kind for thing in things} == {
        (size, colour, shape) for size in SIZES for colour in COLOURS for shape in SHAPES
    }
    assert {len(scene.things) for scene in world} == {1, 2, 3}
    assert {len(group) for scene in world for group in scene.groups()} == {1, 2, 3}
    for scene in world:
        for number, thing in enumerate(scene.things):
            assert min(thing.box) >= 0
            assert max(thing.box) <= SIDE
            for other in scene.things[:number]:
                assert relation_between(thing, other) == INVERSE[relation_between(other, thing)]


def boxed(x: int, y: int) -> Thing:
    return Thing("circle", "red", "small", (x, y, x + 12, y + 12))


def test_relation_is_said_only_where_it_is_clear():
    middle = boxed(24, 24)
    assert relation_between(boxed(4, 24), middle) == "left of"
    assert relation_between(boxed(44, 20), middle) == "right of"
    assert relation_between(boxed(24, 4), middle) == "above"
    assert relation_between(boxed(30, 44), middle) == "below"
    assert relation_between(boxed(4, 6), middle) is None  # as much above as to the left
    assert relation_between(boxed(20, 24), middle) is None  # too near


def test_drawing_shows_the_things_and_nothing_else(world):
    for scene in world[::100]:
        picture = Image.open(io.BytesIO(jpeg(scene)))
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (SIDE, SIDE))
        pixels = np.asarray(picture, np.int16)
        elsewhere = np.ones((SIDE, SIDE), bool)
        for thing in scene.things:
            x0, y0, x1, y1 = thing.box
            elsewhere[y0 - 1 : y1 + 1, x0 - 1 : x1 + 1] = False
            centre = pixels[(y0 + y1) // 2 - 1 : (y0 + y1) // 2 + 2, (x0 + x1) // 2].mean(axis=0)
            nearest = min(INKS, key=lambda colour, c=centre: abs(c - INKS[colour]).sum())
            assert nearest == thing.colour
        paper = pixels[elsewhere]
        assert paper.min() > 120
        assert (paper.max(axis=1) - paper.min(axis=1)).max() < 60


def test_shapes_differ_by_the_ink_they_take():
    def ink(shape: str) -> float:
        thing = Thing(shape, "black", "large", (20, 20, 44, 44))
        picture = Image.open(io.BytesIO(jpeg(Scene(1, "train", (thing,))))).convert("L")
        return (np.asarray(picture)[20:44, 20:44] < 110).mean()

    assert ink("square") > 0.98
    assert ink("circle") == pytest.approx(0.785, abs=0.04)
    assert ink("cross") == pytest.approx(0.55, abs=0.06)
    assert ink("triangle") == pytest.approx(0.5, abs=0.04)


def test_five_different_true_captions_an_image(world):
    words = set()
    for scene in world:
        said = captions(scene)
        assert len(said) == len(set(said)) == 5
        for caption in said:
            true, total = check(caption, scene)
            assert true == total, (caption, scene)
            words.update(caption.replace(",", "").split())
            assert len(caption.split()) <= 21
    assert len(words) == 34
