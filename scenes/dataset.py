"""The scenes as a folder in COCO 2017's layout: annotation files, and a folder of JPEGs a split.

    data_dir/annotations/captions_train2017.json   (val, test)
    data_dir/train2017/000000000001.jpg            (val2017, test2017)
    data_dir/scenes.json                           the receipt: what it was made from

The folder is written beside its place and renamed, so it is there whole or not at all.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cli import atomic_file
from cli.errors import UserError
from records.schema import SPLITS
from scenes.captions import CAPTIONS_PER_IMAGE, captions
from scenes.drawing import jpeg
from scenes.world import DEFAULT_IMAGES, DEFAULT_SEED, SIDE, VERSION, Scene, scenes

RECEIPT = "scenes.json"


def write(data_dir: str | Path, n_images: int = DEFAULT_IMAGES, seed: int = DEFAULT_SEED) -> bool:
    """Make `data_dir` hold the scenes of (n_images, seed).

    Returns True when it was written, False when it was there already and is used again. A folder of
    other scenes is replaced; a folder of anything else is left alone.

    Raises UserError where that cannot be written, UsageError for too few images.
    """
    place = Path(data_dir).resolve()
    receipt = {"n_images": n_images, "seed": seed, "version": VERSION}
    drawn = scenes(n_images, seed)
    try:
        if _holds(place, receipt, drawn):
            return False
        _refuse_others(place)
        _write(place, receipt, drawn)
    except OSError as error:
        raise UserError(f"{place}: cannot write the scenes: {error.strerror or error}") from error
    return True


def _holds(place: Path, receipt: dict, drawn: Sequence[Scene]) -> bool:
    """Whether these very scenes lie there, none of their files taken away since."""
    try:
        if json.loads((place / RECEIPT).read_text()) != receipt:
            return False
        there = {split: len(os.listdir(place / f"{split}2017")) for split in SPLITS}
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    annotated = all(_annotations_path(place, split).is_file() for split in SPLITS)
    return annotated and there == Counter(scene.split for scene in drawn)


def _refuse_others(place: Path) -> None:
    """Nothing but scenes is ever replaced."""
    for folder in (place, *place.parents):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: a folder for the scenes is expected, but this is a file")
    if place.is_dir() and os.listdir(place) and not (place / RECEIPT).is_file():
        raise UserError(
            f"{place}: holds other files than scenes (no {RECEIPT}); name another folder"
        )


def _write(place: Path, receipt: dict, drawn: Sequence[Scene]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    atomic_file.sweep(place.parent)
    try:
        with atomic_file.create_folder(place) as folder:
            _write_files(Path(folder), drawn)
            (Path(folder) / RECEIPT).write_text(json.dumps(receipt) + "\n")
    except OSError:
        # Another process may have put the same scenes there meanwhile: as good as ours.
        if not _holds(place, receipt, drawn):
            raise


def _write_files(folder: Path, drawn: Sequence[Scene]) -> None:
    (folder / "annotations").mkdir(parents=True)
    for split in SPLITS:
        mine = [scene for scene in drawn if scene.split == split]
        pictures = folder / f"{split}2017"
        pictures.mkdir()
        for scene in mine:
            (pictures / _file_name(scene)).write_bytes(jpeg(scene))
        text = json.dumps(_annotations(split, mine))
        _annotations_path(folder, split).write_text(text, encoding="utf-8")


def _annotations(split: str, drawn: Sequence[Scene]) -> dict:
    """One split's captions file, as COCO 2017 writes it."""
    images = [
        {
            "id": scene.image_id,
            "file_name": _file_name(scene),
            "height": SIDE,
            "width": SIDE,
            "license": 1,
        }
        for scene in drawn
    ]
    said = [
        {
            "id": (scene.image_id - 1) * CAPTIONS_PER_IMAGE + number,
            "image_id": scene.image_id,
            "caption": caption,
        }
        for scene in drawn
        for number, caption in enumerate(captions(scene), 1)
    ]
    info = {"description": f"Drawn scenes, {split}", "version": str(VERSION)}
    terms = {
        "id": 1,
        "name": "Apache License 2.0",
        "url": "https://www.apache.org/licenses/LICENSE-2.0",
    }
    return {"info": info, "licenses": [terms], "images": images, "annotations": said}


def _annotations_path(folder: Path, split: str) -> Path:
    return folder / "annotations" / f"captions_{split}2017.json"


def _file_name(scene: Scene) -> str:
    return f"{scene.image_id:012d}.jpg"
