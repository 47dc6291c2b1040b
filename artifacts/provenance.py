"""Was what is scored trained on? A run keeps the manifest of its training records, to tell."""

import os
from typing import NamedTuple

from cli.errors import UserError
from records import leaks
from records.manifest import DatasetInfo

TRAINED_ON = "records.json"
UNKNOWN = "CONTAMINATION UNKNOWN"


class Contamination(NamedTuple):
    """What a split's scores must say of themselves: `stamp` on each output, `why` in one line."""

    stamp: str
    why: str


def trained_on(run_dir: str) -> DatasetInfo | None:
    """The manifest of the records that a run was trained on; None where it has none to read."""
    path = os.path.join(run_dir, TRAINED_ON)
    try:
        with open(path, "rb") as file:
            return DatasetInfo.from_bytes(file.read(), path)
    except (OSError, UserError):
        return None


def find(train: DatasetInfo | None, info: DatasetInfo, split: str) -> Contamination | None:
    """How far a split of `info` was trained on; None when it was not.

    Call arguments:
        train: the manifest of the records trained on; None: not known.
    """
    if train is None:
        return Contamination(UNKNOWN, f"no {TRAINED_ON} tells which images it was trained on")
    found = leaks.leaked(train, info, split)
    if not found:
        return None
    n_images = info.splits[split].total("images")
    why = (
        f"{len(found):,} of {n_images:,} images of {split} were trained on, by their id or their"
        f" bytes: {leaks.examples(found)}"
    )
    return Contamination(leaks.stamp(len(found), n_images), why)


def refuse(run_dir: str, info: DatasetInfo, split: str, allowed: bool) -> Contamination | None:
    """What `find` finds for a run.

    Raises:
        UserError: it finds something, and that is not allowed.
    """
    found = find(trained_on(run_dir), info, split)
    if found and not allowed:
        raise UserError(
            f"{run_dir}: {found.why}. To score them all the same give --allow_leak: then every"
            f" output says {found.stamp}"
        )
    return found
