"""An evaluation on disk, part by part, so that a killed evaluation continues where it stopped.

A part is a file with one JSON line for each of some hundred images, there whole or not at all. Its
path tells what made it: the folder's name is a fingerprint of weights, precision and search, the
file's name holds a fingerprint of its images. So a part is never taken for another one, and nothing
is thrown away: other flags or a new checkpoint get a folder of their own.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from captioning.replica import Outcome
from captioning.source import Part
from cli import atomic_file
from cli.errors import UserError
from records.canonical_json import fingerprint, to_json

# Raise this whenever the same weights, flags and images give other lines than before.
LINES_VERSION = 4
_JOB = "job.json"
_DEVICE = "on-"  # then the kind of a device: an empty file, so that jobs at once can note it.


class Result(NamedTuple):
    """The captions of an image, as a part keeps them.

    Attributes:
        image: The path of its file, or its file name in the records.
        image_id: Its id, where it has one.
        caption: The best caption.
        score: What the search ranked the best caption by.
        n_best: (caption, score) of the best captions, the best first; empty unless asked for.
        references: The captions that people wrote, where they are known.
    """

    image: str
    image_id: int | None
    caption: str
    score: float
    n_best: tuple[tuple[str, float], ...]
    references: tuple[str, ...]


class PartsFolder:
    """The parts of one evaluation: `OUTPUT/parts/FINGERPRINT/`. Several jobs may share it.

    Args:
        output_dir: The folder of the evaluation.
        job: What decides the captions: {"weights": ..., "precision": ..., name of a flag: its
            value}; kept in job.json.

    Attributes:
        path: The folder.
        precisions: Those of the captioners.
        earlier: The `job` of the latest evaluation of another kind in `output_dir`; None where
            there is none, or where this evaluation was begun before.

    Raises:
        UserError: The folder cannot be written.
    """

    def __init__(self, output_dir: str, job: Mapping[str, Any]):
        parent = os.path.join(output_dir, "parts")
        self.precisions: list[str] = list(job["precision"])
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

    def note_device(self, kind: str) -> None:
        """Note that parts are captioned on a kind of device, `CPU` or `GPU`.

        Raises:
            UserError: The folder cannot be written.
        """
        path = os.path.join(self.path, _DEVICE + kind)
        try:
            atomic_file.write(path, b"")
        except OSError as error:
            raise unwritable(path, error) from None

    def devices(self) -> list[str]:
        """Return the kinds of devices that were noted; none by an earlier version."""
        names = sorted(os.listdir(self.path))
        return [name.removeprefix(_DEVICE) for name in names if name.startswith(_DEVICE)]

    def missing(self, parts: Iterable[Part]) -> list[Part]:
        """Return those of some parts that are not on disk."""
        with os.scandir(self.path) as entries:
            names = {entry.name for entry in entries}
        return [part for part in parts if _name(part) not in names]

    def write(self, part: Part, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write a part, whole or not at all.

        Args:
            part: The part.
            lines: What `line` returns for each image, in order.

        Raises:
            UserError: The disk is full or the like.
        """
        write_lines(os.path.join(self.path, _name(part)), lines)

    def lines(self, parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
        """Yield the lines of parts on disk, one part in memory at a time.

        Args:
            parts: The parts to read.

        Yields:
            What `line` returned for each image.

        Raises:
            UserError: A part is missing or damaged.
        """
        for part in parts:
            path = os.path.join(self.path, _name(part))
            try:
                with open(path, encoding="utf-8") as file:
                    lines = [json.loads(text) for text in file]
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

    def captioned(self, parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
        """Yield the lines of the images that were captioned."""
        return (entry for entry in self.lines(parts) if "reason" not in entry)

    def rejected(self, parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
        """Yield the lines of the images that could not be read."""
        return (entry for entry in self.lines(parts) if "reason" in entry)

    def results(self, parts: Iterable[Part]) -> Iterator[Result]:
        """Yield the captions of the images that were captioned."""
        for entry in self.captioned(parts):
            yield Result(
                entry["image"],
                entry.get("id"),
                entry["caption"],
                entry["score"],
                tuple((best["caption"], best["score"]) for best in entry.get("n_best", ())),
                tuple(entry.get("references", ())),
            )


def line(outcome: Outcome, n_best: int) -> dict[str, Any]:
    """Return what a part keeps of an image.

    Args:
        outcome: What became of the image.
        n_best: How many captions to keep, where more than 1.

    Returns:
        A JSON object: `image`, `id` where there is one, then `caption` and `score` (and `n_best`,
        `references`, and `cut` where --max_words ended the caption), or the `reason` why the image
        could not be read.
    """
    image = outcome.image
    entry: dict[str, Any] = {"image": image.name}
    if image.image_id is not None:
        entry["id"] = image.image_id
    if outcome.problem is not None:
        return entry | {"reason": outcome.problem}
    scored = [
        {"caption": caption.text, "score": round(caption.score, 4)} for caption in outcome.captions
    ]
    entry |= scored[0]
    if outcome.captions[0].cut:
        entry["cut"] = True
    if n_best > 1:
        entry["n_best"] = scored
    if image.references:
        entry["references"] = list(image.references)
    return entry


def by_image(results: Iterable[Result]) -> dict[int, Result]:
    """Return results by image id, in order.

    Strict pairs have a record for each caption of an image; they give one result with all
    references.
    """
    results_by_id: dict[int, Result] = {}
    for result in results:
        assert result.image_id is not None  # records have ids
        known = results_by_id.setdefault(result.image_id, result)
        if known is not result:
            references = known.references + result.references
            results_by_id[result.image_id] = known._replace(references=references)
    return results_by_id


def distinct(lines: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the first line of each image id; strict pairs have one for each caption."""
    seen = set()
    for entry in lines:
        if entry["id"] not in seen:
            seen.add(entry["id"])
            yield entry


def write_lines(path: str, lines: Iterable[Mapping[str, Any]]) -> int:
    """Write JSON lines in UTF-8, whole or not at all, without holding them all in memory.

    Args:
        path: The file.
        lines: What to write.

    Returns:
        The number of lines.

    Raises:
        UserError: The file cannot be written.
    """
    count = 0
    try:
        with atomic_file.create(path) as file:
            for entry in lines:
                text = json.dumps(entry, ensure_ascii=False) + "\n"
                # Bytes of a file name that are not UTF-8 become JSON's own escapes.
                file.write(text.encode("utf-8", "backslashreplace"))
                count += 1
    except OSError as error:
        raise unwritable(path, error) from None
    return count


def differences(job: Mapping[str, Any], earlier: Mapping[str, Any]) -> str:
    """Tell how an evaluation differs from an earlier one: `other weights, --beam_size=5`."""
    changes = [
        f"other {name}"
        if name in ("weights", "precision")
        else f"--{name}={value} (was {earlier.get(name)})"
        for name, value in job.items()
        if value != earlier.get(name)
    ]
    return ", ".join(changes) or "another version of the program"


def unwritable(path: str, error: OSError) -> UserError:
    """Return the error for a file that cannot be written."""
    return UserError(
        f"{path}: cannot be written: {error.strerror or error}; free space there or give another"
        " --output_dir, and run the command again"
    )


def _name(part: Part) -> str:
    return f"part-{part.number:06d}-{part.fingerprint[:12]}.jsonl"


def _latest_job(parent: str) -> dict[str, Any] | None:
    """Read job.json of the folder that was begun last; None where there is none to read."""
    if not os.path.isdir(parent):
        return None
    paths = [os.path.join(parent, name, _JOB) for name in os.listdir(parent)]
    try:
        with open(max(filter(os.path.exists, paths), key=os.path.getmtime), "rb") as file:
            job: dict[str, Any] = json.load(file)
            return job
    except ValueError:  # there is none, or it is damaged
        return None
