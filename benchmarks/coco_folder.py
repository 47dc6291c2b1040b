"""A folder in COCO's layout, made up, for `benchmarks.records`."""

import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np

# COCO 2017 train.
COCO_IMAGES, COCO_CAPTIONS = 118_287, 591_753


def make_coco_folder(folder: Path, n: int, with_images: bool = True) -> None:
    """Make n train images of about 160 KB, with captions as COCO has them.

    The job wants a val split, so there is one, of a single image.

    Args:
        folder: is made.
        n: images of the train split.
        with_images: write the files of the train images too, not just their annotations.
    """
    bodies = [make_jpeg(seed) for seed in range(32)] if with_images else [make_jpeg(0)]
    val = [{"id": n, "file_name": "val.jpg"}], [{"id": 0, "image_id": n, "caption": "A word."}]
    (folder / "annotations").mkdir(parents=True)
    for split, (images, captions) in {"train": _annotations(n), "val": val}.items():
        content = {"info": {}, "licenses": [], "images": images, "annotations": captions}
        (folder / "annotations" / f"captions_{split}2017.json").write_text(json.dumps(content))
        (folder / f"{split}2017").mkdir()
    (folder / "val2017" / "val.jpg").write_bytes(bodies[0])
    for i in range(n if with_images else 0):
        # A comment segment makes the bytes of every file different.
        note = f"image {i:012d}".encode()
        comment = b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note
        body = bodies[i % len(bodies)]
        (folder / "train2017" / f"{i:012d}.jpg").write_bytes(body[:2] + comment + body[2:])


def _annotations(n: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the entries of n images and of their captions."""
    rng = random.Random(0)
    words = [f"word{rank}" for rank in range(30_000)]
    weights = np.cumsum(1 / np.arange(1, len(words) + 1)).tolist()
    images: list[dict[str, Any]] = []
    captions: list[dict[str, Any]] = []
    for i in range(n):
        name = f"{i:012d}.jpg"
        url = f"http://images.cocodataset.org/train2017/{name}"
        images.append(
            {"id": i, "file_name": name, "coco_url": url, "flickr_url": url, "license": 1}
            | {"height": 480, "width": 640, "date_captured": "2013-11-14 16:28:13"}
        )
    for k in range(n * COCO_CAPTIONS // COCO_IMAGES):
        text = " ".join(rng.choices(words, cum_weights=weights, k=rng.randint(8, 13)))
        text = text.capitalize() + ("." if rng.random() < 0.7 else "")
        captions.append({"id": k, "image_id": k % n, "caption": text})
    return images, captions


def make_jpeg(seed: int) -> bytes:
    """Return a JPEG of 640 x 480 pixels and about 160 KB."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC), np.int16)
    noisy = smooth + rng.normal(0, 14, smooth.shape).astype(np.int16)
    file = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()
