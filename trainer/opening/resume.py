"""What must hold before a run is resumed, and what is told about it."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from artifacts import pixel_versions, provenance, restore, weights_file
from artifacts import recipe as recipes
from artifacts.checkpoints import refuse_best_alone
from artifacts.recipe import Recipe
from artifacts.run_config import RunConfig
from artifacts.run_folder import RunFolder
from cli.errors import UsageError, UserError
from records.manifest import DatasetInfo
from records.vocabulary import Vocabulary
from trainer.opening.plan import Plan
from trainer.opening.same_records import require_same_records
from trainer.position import Position


def check(
    folder: RunFolder,
    config: RunConfig,
    recipe: Recipe,
    info: DatasetInfo,
    vocabulary: Vocabulary,
) -> None:
    """Check that recipe and records are those of a run, and its files its own.

    Args:
        folder: The run's folder.
        config: Its config.json.
        recipe: The recipe as given now.
        info: The manifest of the records.
        vocabulary: Their vocabulary.

    Raises:
        UsageError: A flag contradicts the run.
        UserError: The records are others, or a file is missing or not the run's own.
    """
    pixel_versions.check(recipe.run_dir, config.data.preprocessing)
    recipes.refuse_contradictions(config.training, dataclasses.asdict(recipe))
    _require_same_start(config, recipe)
    refuse_best_alone(folder)
    restore.read_vocabulary(folder.path)
    if config.data.vocabulary_fingerprint != vocabulary.fingerprint:
        raise UserError(
            f"{recipe.records_dir}: its vocabulary is not the one that {recipe.run_dir} was"
            " trained with; give those records or another --run_dir"
        )
    trained_on = provenance.read_all(folder)
    if trained_on is None:
        missing = folder.provenance
        if os.path.exists(missing):
            missing = folder.initial_provenance
        raise UserError(
            f"{missing} is missing: it says which images and captions the run is trained on; put it"
            " back (a copy of the dataset_info.json that the run began with)"
        )
    require_same_records(recipe.records_dir, info, recipe.run_dir, trained_on[0])


def other_flags(config: RunConfig, recipe: Recipe, given: Mapping[str, Any]) -> list[str]:
    """Return the flags, as `--name=value`, that make a run another one than it was.

    Args:
        config: Its config.json.
        recipe: The recipe as given now.
        given: The flags that the user gave, name -> value. The number of epochs or steps and
            --init_run are those of the run where they are not given.
    """
    now, before = dataclasses.asdict(recipe), recipes.with_defaults(config.training)
    if recipe.init_run and os.path.realpath(recipe.init_run) == os.path.realpath(
        before.get("init_run", "")
    ):
        before["init_run"] = recipe.init_run
    names = now.keys() - recipes.CHANGEABLE | given.keys() & {"epochs", "max_steps", "init_run"}
    others = sorted(name for name in names & before.keys() if now[name] != before[name])
    return [f"--{name}={now[name]}" for name in others]


def why_finished(
    folder: RunFolder, config: RunConfig, position: Position, plan: Plan, recipe: Recipe
) -> str | None:
    """Say why nothing is left to do; None where something is.

    Args:
        folder: The run's folder.
        config: Its config.json.
        position: How far the run is.
        plan: How long it is trained.
        recipe: The recipe.

    Raises:
        UserError: The best weights are of another run.
    """
    if position.scored != position.step or not _best_is_good(folder, config):
        return None
    if position.step >= plan.stop:
        if position.step == plan.stop:
            return f"{position.step:,} of {plan.stop:,} steps are done"
        return f"{position.step:,} steps are done, more than the {plan.stop:,} that were asked for"
    if 0 < recipe.patience <= position.without_better:
        return (
            f"no better score in {position.without_better} epochs (--patience={recipe.patience})"
            f" after {position.step:,} of {plan.stop:,} steps"
        )
    return None


def _best_is_good(folder: RunFolder, config: RunConfig) -> bool:
    try:
        _, note = weights_file.load(folder.best)
    except (weights_file.DamagedError, FileNotFoundError):
        return False  # the loop says so, and writes them anew
    weights_file.require_run(folder.best, note, config.id)
    return True


def tell(recipe: Recipe, plan: Plan, position: Position, folder: RunFolder) -> None:
    """Print what is not as on other days."""
    if not position.step and not folder.checkpoint_names():
        print(f"{folder.path}: no checkpoint yet: training begins at step 0")
    if plan.stop < plan.schedule:
        print(
            f"stopping at step {plan.stop:,} of the {plan.schedule:,} of the run's schedule: the"
            " learning rate will not have reached its end"
        )


def _require_same_start(config: RunConfig, recipe: Recipe) -> None:
    """Refuse another --init_run than the one that the run began with."""
    if not recipe.init_run:
        return
    began = config.initial and config.initial.run
    if not began or os.path.realpath(began) != os.path.realpath(recipe.init_run):
        began_with = f"the weights of {began}" if began else "no weights of another run"
        raise UsageError(
            f"--init_run={recipe.init_run}: {recipe.run_dir} began with {began_with}; give another"
            " --run_dir for a new run"
        )
