"""An evaluation on disk, part by part, so that it goes on where it was killed.

A part is the captions of some hundred images, a JSON line each, in a file that is there whole or
not at all. What made it is in its path: the folder's name is a fingerprint of the weights and of
the search, the file's name has one of its images. So nothing is taken for what it is not, and
nothing is thrown away: other flags or a new checkpoint have a folder of their own.
"""

import glob
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from cli import atomic_file
from cli.errors import UserError
from records.manifest import fingerprint, to_json

# Raised by hand whenever the same weights, flags and images give other lines than before.
LINES_VERSION = 2
_JOB = "job.json"


class Part(NamedTuple):
    """Images that are captioned together.

    Attributes:
        number: place of the part in the evaluation, from 0.
        images: how many.
        fingerprint: of the images.
        place: where its list finds them.
    """

    number: int
    images: int
    fingerprint: str
    place: Any


class Picture(NamedTuple):
    """One image of a part, before it is decoded."""

    image: str  # its path, or its name in the records
    image_id: int | None
    encoded: bytes | None = None  # None: read it from `image`, or the features are enough
    features: np.ndarray | None = None  # [H, W, D] float16, of records that hold them
    references: tuple[str, ...] = ()


class Result(NamedTuple):
    """What an image got.

    Attributes:
        n_best: (caption, score) of the best captions, falling; empty unless they were asked for.
    """

    image: str
    image_id: int | None
    caption: str
    score: float
    n_best: tuple[tuple[str, float], ...]
    references: tuple[str, ...]


class PartsFolder:
    """`OUTPUT/parts/FINGERPRINT/`: the parts of one evaluation, several jobs of it perhaps.

    Call arguments:
        output_dir: of the evaluation.
        job: what makes the captions: {"weights": ..., a flag: its value}; kept in job.json.

    Attributes:
        path: the folder.
        earlier: the `job` of the last evaluation of another kind here; None: there is none.

    Raises:
        UserError: it cannot be written.
    """

    def __init__(self, output_dir: str, job: Mapping[str, Any]):
        parent = os.path.join(output_dir, "parts")
        job = {**job, "version": LINES_VERSION}
        self.path = os.path.join(parent, fingerprint(job)[:12])
        try:
            self.earlier = None if os.path.isdir(self.path) else _latest_job(parent)
            os.makedirs(self.path, exist_ok=True)
            for folder in (output_dir, self.path):
                atomic_file.sweep(folder)
            atomic_file.write(os.path.join(self.path, _JOB), to_json(job))
        except OSError as error:
            raise unwritable(self.path, error) from None

    def missing(self, parts: Iterable[Part]) -> list[Part]:
        """Those that are not there."""
        with os.scandir(self.path) as entries:
            there = {entry.name for entry in entries}
        return [part for part in parts if _name(part) not in there]

    def write(self, part: Part, lines: Iterable[dict]) -> None:
        """Write a part whole or not at all.

        Call arguments:
            lines: of each image, in order: `line` or `rejected_line`.

        Raises:
            UserError: the disk is full or the like.
        """
        content = "".join(json.dumps(line) + "\n" for line in lines)
        try:
            atomic_file.write(os.path.join(self.path, _name(part)), content.encode("ascii"))
        except OSError as error:
            raise unwritable(self.path, error) from None

    def lines(self, parts: Iterable[Part]) -> Iterator[dict]:
        """The lines of parts that are there, one part in memory at a time.

        Raises:
            UserError: one is gone or damaged.
        """
        for part in parts:
            path = os.path.join(self.path, _name(part))
            try:
                with open(path, encoding="ascii") as file:
                    lines = [json.loads(line) for line in file]
            except (OSError, ValueError) as error:
                raise UserError(
                    f"{path}: cannot be read ({error}); remove it and run the command again"
                ) from None
            if len(lines) != part.images:
                raise UserError(
                    f"{path}: expected {part.images:,} images, found {len(lines):,}; remove it and"
                    " run the command again"
                )
            yield from lines

    def results(self, parts: Iterable[Part]) -> Iterator[Result]:
        """What each image got, those that could not be read left out."""
        for entry in self.lines(parts):
            if "reason" not in entry:
                n_best = tuple((best["caption"], best["score"]) for best in entry.get("n_best", ()))
                yield Result(
                    entry["image"],
                    entry.get("id"),
                    entry["caption"],
                    entry["score"],
                    n_best,
                    tuple(entry.get("references", ())),
                )

    def rejected(self, parts: Iterable[Part]) -> Iterator[dict]:
        """The lines of images that could not be read."""
        return (entry for entry in self.lines(parts) if "reason" in entry)


def line(picture: Picture, captions: list[tuple[str, float]], n_best: int) -> dict:
    """What a part keeps of an image that was captioned.

    Call arguments:
        captions: (caption, score), the best first.
        n_best: keep so many of them, when more than 1.
    """
    scored = [{"caption": text, "score": round(score, 4)} for text, score in captions]
    entry = _named(picture) | scored[0]
    if n_best > 1:
        entry["n_best"] = scored
    if picture.references:
        entry["references"] = list(picture.references)
    return entry


def rejected_line(picture: Picture, reason: str) -> dict:
    """What a part keeps of an image that could not be read."""
    return _named(picture) | {"reason": reason}


def by_image(results: Iterable[Result]) -> dict[int, Result]:
    """Results by image id, in order: strict pairs give one for each image, with all references."""
    found: dict[int, Result] = {}
    for result in results:
        known = found.setdefault(result.image_id, result)
        if known is not result:
            found[result.image_id] = known._replace(references=known.references + result.references)
    return found


def distinct(lines: Iterable[dict]) -> Iterator[dict]:
    """The first line of each image id: strict pairs have one for each caption."""
    seen = set()
    for entry in lines:
        if entry["id"] not in seen:
            seen.add(entry["id"])
            yield entry


def write_lines(path: str, lines: Iterable[dict]) -> int:
    """Write JSON lines whole or not at all, never holding them all: how many.

    Raises:
        UserError: they cannot be written.
    """
    count = 0
    try:
        with atomic_file.create(path) as file:
            for entry in lines:
                file.write(f"{json.dumps(entry)}\n".encode("ascii"))
                count += 1
    except OSError as error:
        raise unwritable(path, error) from None
    return count


def differences(job: Mapping[str, Any], earlier: Mapping[str, Any]) -> str:
    """How an evaluation differs from an earlier one, in words: `other weights, --beam_size=5`."""
    said = [
        f"other {name}" if name == "weights" else f"--{name}={value} (was {earlier.get(name)})"
        for name, value in job.items()
        if value != earlier.get(name)
    ]
    return ", ".join(said) or "another version of the program"


def unwritable(path: str, error: OSError) -> UserError:
    """The line for what cannot be written."""
    return UserError(
        f"{path}: cannot be written: {error.strerror or error}; free space there or give another"
        " --output_dir, and run the command again"
    )


def _named(picture: Picture) -> dict:
    named = {"image": picture.image}
    return named if picture.image_id is None else named | {"id": picture.image_id}


def _name(part: Part) -> str:
    return f"part-{part.number:06d}-{part.fingerprint[:12]}.jsonl"


def _latest_job(parent: str) -> dict | None:
    """job.json of the folder that was begun last."""
    paths = glob.glob(os.path.join(glob.escape(parent), "*", _JOB))
    try:
        with open(max(paths, key=os.path.getmtime), encoding="utf-8") as file:
            return json.load(file)
    except ValueError:  # none, or damaged
        return None
