"""Write the scenes in COCO 2017's layout: annotation files, and a folder of JPEGs for each split.

    data_dir/annotations/captions_train2017.json   (val, test)
    data_dir/train2017/000000000001.jpg            (val2017, test2017)
    data_dir/scenes.json                           the receipt: which scenes these are

The folder is written under a temporary name and then renamed: it is complete or missing.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli import atomic_file
from cli.errors import UserError
from records.schema import SPLITS
from scenes.captions import CAPTIONS_PER_IMAGE, captions
from scenes.drawing import jpeg
from scenes.world import DEFAULT_IMAGES, DEFAULT_SEED, SIDE, VERSION, Scene, scenes

RECEIPT = "scenes.json"


def write(data_dir: str | Path, n_images: int = DEFAULT_IMAGES, seed: int = DEFAULT_SEED) -> bool:
    """Write the scenes of (n_images, seed) to `data_dir`, unless they are there already.

    Args:
        data_dir: The folder. Other scenes in it are replaced; any other folder is refused.
        n_images: Number of scenes.
        seed: Chooses the scenes.

    Returns:
        Whether the scenes were written.

    Raises:
        UserError: The folder cannot be written, or holds other files.
        UsageError: There are too few images.
    """
    folder = Path(data_dir).resolve()
    receipt = {"n_images": n_images, "seed": seed, "version": VERSION}
    drawn = scenes(n_images, seed)
    try:
        if _holds(folder, receipt, drawn):
            return False
        _refuse_other_files(folder)
        _write(folder, receipt, drawn)
    except OSError as error:
        raise UserError(f"{folder}: cannot write the scenes: {error.strerror or error}") from error
    return True


def _holds(folder: Path, receipt: dict[str, int], drawn: Sequence[Scene]) -> bool:
    """Return whether exactly these scenes are in `folder`, and all of their files."""
    try:
        if json.loads((folder / RECEIPT).read_text()) != receipt:
            return False
        n_images = {split: len(os.listdir(folder / f"{split}2017")) for split in SPLITS}
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    has_annotations = all(_annotations_path(folder, split).is_file() for split in SPLITS)
    return has_annotations and n_images == Counter(scene.split for scene in drawn)


def _refuse_other_files(folder: Path) -> None:
    """Raise UserError if writing would replace anything but scenes."""
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise UserError(f"{path}: expected a folder for the scenes, found a file")
    if folder.is_dir() and os.listdir(folder) and not (folder / RECEIPT).is_file():
        raise UserError(
            f"{folder}: holds other files than scenes (no {RECEIPT}); name another folder"
        )


def _write(folder: Path, receipt: dict[str, int], drawn: Sequence[Scene]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    atomic_file.sweep(folder.parent)
    try:
        with atomic_file.create_folder(folder) as temporary:
            _write_files(Path(temporary), drawn)
            (Path(temporary) / RECEIPT).write_text(json.dumps(receipt) + "\n")
    except OSError:
        # Another process may have written the same scenes meanwhile.
        if not _holds(folder, receipt, drawn):
            raise


def _write_files(folder: Path, drawn: Sequence[Scene]) -> None:
    (folder / "annotations").mkdir(parents=True)
    for split in SPLITS:
        of_split = [scene for scene in drawn if scene.split == split]
        image_folder = folder / f"{split}2017"
        image_folder.mkdir()
        for scene in of_split:
            (image_folder / _file_name(scene)).write_bytes(jpeg(scene))
        text = json.dumps(_annotations(split, of_split))
        _annotations_path(folder, split).write_text(text, encoding="utf-8")


def _annotations(split: str, drawn: Sequence[Scene]) -> dict[str, Any]:
    """Return the content of a split's captions file in COCO 2017's format."""
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
    annotations = [
        {
            "id": (scene.image_id - 1) * CAPTIONS_PER_IMAGE + number,
            "image_id": scene.image_id,
            "caption": caption,
        }
        for scene in drawn
        for number, caption in enumerate(captions(scene), 1)
    ]
    info = {"description": f"Drawn scenes, {split}", "version": str(VERSION)}
    license_terms = {
        "id": 1,
        "name": "Apache License 2.0",
        "url": "https://www.apache.org/licenses/LICENSE-2.0",
    }
    return {"info": info, "licenses": [license_terms], "images": images, "annotations": annotations}


def _annotations_path(folder: Path, split: str) -> Path:
    return folder / "annotations" / f"captions_{split}2017.json"


def _file_name(scene: Scene) -> str:
    return f"{scene.image_id:012d}.jpg"
