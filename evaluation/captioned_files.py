"""Captions of image files, as JSON lines and as what COCO's evaluation server takes."""

import os
import re
import sys
from collections.abc import Sequence

from captioning import job as captioning
from captioning import parts
from captioning.image_list import ImageList
from captioning.job import Captions, Options
from metrics import coco_files


def caption_files(
    run_dirs: Sequence[str],
    pictures: ImageList,
    output_dir: str,
    options: Options,
    submission: str | None = None,
) -> int:
    """Write captions.jsonl, and rejected.jsonl where an image cannot be read: the exit code.

    Call arguments:
        submission: name of the file for COCO's server, written too; every image has its id.

    Raises:
        UserError: as `captioning.caption`.
    """
    captions = captioning.caption(run_dirs, pictures, output_dir, options)
    if captions.missing:
        print(unfinished(captions))
        refused = sum(1 for _ in captions.folder.rejected(captions.own))
        return _say_rejected(refused, sum(part.images for part in captions.own), "this shard")
    path = os.path.join(output_dir, "captions.jsonl")
    said = (line for line in captions.folder.lines(captions.parts) if "reason" not in line)
    print(f"captions: {path} ({parts.write_lines(path, said):,} images)")
    if submission:
        path = os.path.join(output_dir, submission)
        coco_files.write_results(
            path, {found.image_id: found.caption for found in captions.results()}
        )
        print(f"to submit: {path}")
    path = os.path.join(output_dir, "rejected.jsonl")
    refused = parts.write_lines(path, captions.folder.rejected(captions.parts))
    if not refused:
        os.remove(path)
    return _say_rejected(refused, pictures.images, path)


def submission_name(image_info: str, run_name: str) -> str:
    """`image_info_test2017.json`, `nasnet` -> `captions_test2017_nasnet_results.json`."""
    return f"captions_{images_name(image_info)}_{run_name}_results.json"


def images_name(image_info: str) -> str:
    """`annotations/image_info_test2017.json` -> `test2017`."""
    stem = os.path.basename(image_info).removesuffix(".json")
    return re.sub("^(image_info|captions|instances)_", "", stem)


def unfinished(captions: Captions) -> str:
    """What to say when other jobs are not done."""
    return (
        f"this shard is done; {len(captions.missing):,} of {len(captions.parts):,} parts of the"
        " others are not: the job that ends last puts all together (so does the command without"
        " --shard)"
    )


def _say_rejected(refused: int, images: int, where: str) -> int:
    if refused:
        print(
            f"error: {refused:,} of {images:,} images could not be read: {where}", file=sys.stderr
        )
    return 1 if refused else 0
