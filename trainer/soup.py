"""Average the weights of runs into a new run: `python -m trainer.soup --runs=A,B --run_dir=SOUP`.

The new run is evaluated, served and trained on (--init_run) as any other. An average is a good
model only where the weights lie close together: those of runs that began with the same weights
(--init_run), or of checkpoints of one run. Runs that began apart caption together as an ensemble.
"""

import dataclasses
import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from typing import NamedTuple

import cli.start_tensorflow  # noqa: F401  before TensorFlow

# isort: split
import numpy as np
from absl.flags import FlagValues

from artifacts import provenance, restore, weights_file
from artifacts.checkpoints import OPTIMIZER
from artifacts.provenance import TrainedOn
from artifacts.recipe import CHANGEABLE
from artifacts.run_config import InitialWeights, RunConfig
from artifacts.run_folder import RunFolder
from artifacts.weights_file import Arrays, DamagedError, Note
from cli import atomic_file, flags, paths
from cli.command import run
from cli.errors import UsageError, UserError
from cli.flags import flag


@dataclasses.dataclass(frozen=True)
class SoupOptions:
    """What is averaged. Every field is a flag."""

    runs: str = flag(
        "",
        "Folders of runs, whose best weights are averaged, or checkpoints of runs as"
        " RUN/checkpoints/step-000000100.npz; two or more, separated by commas, of the same model"
        " and vocabulary.",
    )
    run_dir: str = flag("", "Folder of the new run; there must be none yet.")


class Ingredient(NamedTuple):
    """Weights that are averaged.

    Attributes:
        path: Their file.
        folder: The folder of their run.
        config: Its config.json.
        arrays: The trained weights.
        note: What the file notes.
        trained_on: The images that they were trained on.
    """

    path: str
    folder: RunFolder
    config: RunConfig
    arrays: Arrays
    note: Note
    trained_on: Sequence[TrainedOn]


def define_flags(values: FlagValues) -> None:
    """Declare the flags of this command.

    Args:
        values: Where to declare them.
    """
    flags.define(SoupOptions, values)


def main(values: FlagValues, _rest: list[str]) -> int:
    """Average as the flags say.

    Args:
        values: Parsed flags.

    Returns:
        The exit code: 0.
    """
    options = flags.read(SoupOptions, values)
    for name in ("runs", "run_dir"):
        if not getattr(options, name):
            raise UsageError(f"--{name} is missing; --help says what it is")
    paths.require_local("run_dir", options.run_dir)
    sources = paths.split(options.runs)
    if len({os.path.realpath(source) for source in sources}) < max(2, len(sources)):
        raise UsageError(f"--runs={options.runs}: expected two or more, each of them once")
    options = dataclasses.replace(options, run_dir=os.path.normpath(options.run_dir))
    if os.path.lexists(options.run_dir):
        raise UserError(f"--run_dir={options.run_dir}: is there already; give another")
    ingredients = [_read(source) for source in sources]
    for other in ingredients[1:]:
        _require_same_model(ingredients[0], other)
    if not _share_a_beginning(ingredients):
        print(
            "warning: these runs did not begin with the same weights: their average is seldom a"
            f" good model; --run_dir={options.runs} of evaluation.main is their ensemble",
            file=sys.stderr,
        )
    _write(options, ingredients)
    print(f"{options.run_dir}: the average of {len(ingredients)} weights; evaluate it as any run")
    return 0


def _read(source: str) -> Ingredient:
    """Read a run's best weights, or a checkpoint."""
    is_file = source.endswith(".npz")
    folder = RunFolder(os.path.dirname(os.path.dirname(source)) if is_file else source)
    config = RunConfig.read(folder)
    path = source if is_file else folder.best
    try:
        arrays, note = weights_file.load(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file of weights; train the run first") from None
    weights_file.require_run(path, note, config.id)
    trained_on = provenance.read_all(folder)
    if trained_on is None:
        raise UserError(
            f"{folder.provenance} is missing: it says which images {folder.path} was trained on,"
            " which no evaluation of the new run could tell; put it back"
        )
    weights = {name: a for name, a in arrays.items() if not name.startswith(OPTIMIZER)}
    return Ingredient(path, folder, config, weights, note, trained_on)


def _require_same_model(first: Ingredient, other: Ingredient) -> None:
    """Refuse weights of another model, vocabulary or encoder than the first ones."""
    what = None
    one, two = (
        dataclasses.asdict(i.config.model.decoder) | {"precision": ""} for i in (first, other)
    )
    if differing := [name for name in one if one[name] != two.get(name)]:
        name = differing[0]
        what = f"model: {name}={two.get(name)}, not {one[name]}"
    elif first.config.data.vocabulary_fingerprint != other.config.data.vocabulary_fingerprint:
        what = "vocabulary"
    elif (
        first.config.model.encoder != other.config.model.encoder
        or first.config.data.preprocessing != other.config.data.preprocessing
        or not _same_frozen(first, other)
    ):
        what = "encoder"
    if what:
        raise UserError(
            f"{other.path}: not of the {what.partition(':')[0]} of {first.path}"
            f" ({what}); only weights of the same model are averaged"
        )
    for name in first.arrays.keys() | other.arrays.keys():
        shapes = [i.arrays[name].shape if name in i.arrays else None for i in (first, other)]
        if shapes[0] != shapes[1]:
            raise DamagedError(f"{other.path}: {name}: expected {shapes[0]}, found {shapes[1]}")


def _same_frozen(first: Ingredient, other: Ingredient) -> bool:
    """Return whether two runs have the same weights that training does not change."""
    arrays = []
    for folder in (first.folder, other.folder):
        try:
            arrays.append(weights_file.load(folder.frozen)[0])
        except FileNotFoundError:
            arrays.append({})
    one, two = arrays
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


def _share_a_beginning(ingredients: Sequence[Ingredient]) -> bool:
    """Return whether all weights are of one run, or of a run and of those that began with it."""
    return bool(set.intersection(*map(_beginnings, ingredients)))


def _beginnings(ingredient: Ingredient) -> set[str]:
    """Return what tells the run itself and the weights that it, and its children, began with."""
    config, folder = ingredient.config, ingredient.folder
    known = {config.id}
    if config.initial:
        known.add(config.initial.weights)
    if os.path.exists(folder.best):
        known.add(restore.digest(folder.path))
    return known


def _epoch(ingredient: Ingredient) -> int:
    """Return the epoch of the weights; a checkpoint notes its step alone."""
    trained = ingredient.config.trained
    steps_per_epoch = trained["steps"] / trained["epochs"] if trained.get("epochs") else 1
    return int(ingredient.note.get("epoch") or -(-ingredient.note["step"] // steps_per_epoch))


def _write(options: SoupOptions, ingredients: Sequence[Ingredient]) -> None:
    first = ingredients[0]
    arrays = {
        name: np.mean([i.arrays[name] for i in ingredients], 0, np.float64).astype(array.dtype)
        for name, array in first.arrays.items()
    }
    digest = hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest()
    step, epoch = max(i.note["step"] for i in ingredients), max(map(_epoch, ingredients))
    initial = InitialWeights(options.runs, step, digest, "")
    others = [images for i in ingredients for images in i.trained_on]
    os.makedirs(os.path.dirname(os.path.abspath(options.run_dir)), exist_ok=True)
    with atomic_file.create_folder(options.run_dir) as path:
        folder = RunFolder(path)
        os.makedirs(folder.checkpoints)
        for name in ("vocabulary", "provenance"):
            shutil.copyfile(getattr(first.folder, name), getattr(folder, name))
        initial = provenance.write_initial(folder, initial, others)
        training = {**first.config.training, "run_dir": options.run_dir, "init_run": options.runs}
        config = dataclasses.replace(first.config, training=training, initial=initial, id="")
        config = config.with_id(CHANGEABLE)
        if os.path.exists(first.folder.frozen):
            frozen, _ = weights_file.load(first.folder.frozen)
            weights_file.save(folder.frozen, frozen, weights_file.owned({}, config.id))
        note = {"epoch": epoch, "step": step, "soup": [i.path for i in ingredients]}
        weights_file.save(folder.best, arrays, weights_file.owned(note, config.id))
        config.write(folder)


if __name__ == "__main__":
    run(main, define_flags)
