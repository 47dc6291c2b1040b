"""Captions of image files: JSON lines, and the file that COCO's evaluation server takes."""

import os
import re
import sys
from collections.abc import Iterator, Sequence

from artifacts.run_folder import RunFolder
from captioning import job, parts
from captioning.image_list import Entry, ImageList
from captioning.job import JobOptions, JobState
from captioning.named_images import NamedImages
from cli import paths
from cli.errors import UserError
from evaluation import replaced
from evaluation.options import EvaluationOptions, only_evaluation
from metrics import coco_files

_CAPTIONS = "captions.jsonl"


def caption_images(run_dirs: Sequence[str], options: EvaluationOptions, how: JobOptions) -> int:
    """Caption the files that --images names.

    Args:
        run_dirs: The runs that caption together.
        options: The flags.
        how: How the job works.

    Returns:
        The exit code: 1 when a file or a folder could not be read.

    Raises:
        UserError: As `captioning.job.caption`, or --images names nothing.
    """
    output_dir = options.output_dir or RunFolder(run_dirs[0]).evaluation("images")
    with only_evaluation(output_dir, how):
        named = NamedImages(options.images, output_dir)
        images = ImageList(named, options.part_images, output_dir)
        if remark := named.remark():
            print(remark)
        source = f"--images={','.join(map(os.path.abspath, paths.split(options.images)))}"
        code = _caption(run_dirs, images, output_dir, how, source)
        for problem in named.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 1 if named.problems else code


def caption_image_info(
    run_dirs: Sequence[str], name: str, options: EvaluationOptions, how: JobOptions
) -> int:
    """Caption the images of --image_info and write the file for COCO's evaluation server.

    Args:
        run_dirs: The runs that caption together.
        name: The name of the runs, for the file's name.
        options: The flags.
        how: How the job works.

    Returns:
        The exit code: 1 when a file could not be read.

    Raises:
        UserError: As `captioning.job.caption`, or the file or folder is missing or damaged.
    """
    images_name = _images_name(options.image_info)
    output_dir = options.output_dir or RunFolder(run_dirs[0]).evaluation(images_name)
    entries = open_image_info(options.image_info, options.images_dir)
    submission = f"captions_{images_name}_{name}_results.json"
    with only_evaluation(output_dir, how):
        images = ImageList(entries, options.part_images, output_dir)
        source = f"--image_info={os.path.abspath(options.image_info)}"
        return _caption(run_dirs, images, output_dir, how, source, submission)


def open_image_info(path: str, images_dir: str) -> Iterator[Entry]:
    """Yield the images of a COCO image_info file.

    Args:
        path: The file.
        images_dir: The folder of its images.

    Yields:
        The images with their ids.

    Raises:
        UserError: The file is missing or damaged, or the folder is missing.
    """
    if not os.path.isdir(images_dir):
        raise UserError(f"--images_dir={images_dir}: no such folder{paths.suggest(images_dir)}")
    for image_id, file_name in coco_files.read_images(path).items():
        yield Entry(os.path.join(images_dir, file_name), image_id)


def unfinished(state: JobState) -> str:
    """Return the line for a shard that is done while others are not."""
    return (
        f"this shard is done; {len(state.missing):,} of {len(state.parts):,} parts of the others"
        " are not: the job that ends last writes the results (so does the command without --shard)"
    )


def _caption(
    run_dirs: Sequence[str],
    images: ImageList,
    output_dir: str,
    how: JobOptions,
    source: str,
    submission: str | None = None,
) -> int:
    """Write captions.jsonl, and rejected.jsonl where an image cannot be read.

    `source` is the flag that names the images. With `submission`, the name of a file for COCO's
    server, write that, too.
    """
    replaced.announce(output_dir, _CAPTIONS, source)
    state = job.caption(run_dirs, images, output_dir, how)
    if state.missing:
        print(unfinished(state))
        rejected = sum(1 for _ in state.folder.rejected(state.own))
        return _report_rejected(rejected, sum(part.images for part in state.own), "this shard")
    replaced.note(output_dir, _CAPTIONS, source)
    path = os.path.join(output_dir, _CAPTIONS)
    count = parts.write_lines(path, state.folder.captioned(state.parts))
    print(f"captions: {path} ({count:,} images)")
    state.print_cut(how.search)
    if submission:
        path = os.path.join(output_dir, submission)
        by_image = parts.by_image(state.results())
        captions = {image_id: result.caption for image_id, result in by_image.items()}
        coco_files.write_results(path, captions)
        print(f"to submit: {path}")
    path = os.path.join(output_dir, "rejected.jsonl")
    rejected = parts.write_lines(path, state.folder.rejected(state.parts))
    if not rejected:
        os.remove(path)
    return _report_rejected(rejected, images.images, path)


def _images_name(image_info: str) -> str:
    """`annotations/image_info_test2017.json` -> `test2017`."""
    stem = os.path.basename(image_info).removesuffix(".json")
    return re.sub("^(image_info|captions|instances)_", "", stem)


def _report_rejected(rejected: int, images: int, where: str) -> int:
    if rejected:
        print(
            f"error: {rejected:,} of {images:,} images could not be read: {where}", file=sys.stderr
        )
    return 1 if rejected else 0
