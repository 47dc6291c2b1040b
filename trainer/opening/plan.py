"""How long a run trains, and along which schedule of the learning rate.

The schedule belongs to the run: it is settled when the run starts. Training may stop earlier on it.
Training longer needs a longer schedule, which moves the learning rate, so the user must ask for it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from artifacts.recipe import Recipe
from artifacts.run_config import RunConfig, Schedule
from cli.errors import UsageError


class Plan(NamedTuple):
    """How long a run trains.

    Attributes:
        stop: The step after which training stops.
        schedule: Steps over which the learning rate rises and decays; `stop` or more.
    """

    stop: int
    schedule: int


def wanted_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    """Return how many steps a recipe asks for.

    Args:
        recipe: The recipe.
        steps_per_epoch: Batches in an epoch.
    """
    return recipe.max_steps or recipe.epochs * steps_per_epoch


def schedule_of(config: RunConfig, steps_per_epoch: int) -> Schedule:
    """Return the schedule of a run.

    Args:
        config: Its config.json. Earlier versions kept no schedule: it is that of their flags.
        steps_per_epoch: Batches in an epoch.
    """
    if config.schedule:
        return config.schedule
    flags = config.training
    return Schedule(flags["max_steps"] or flags["epochs"] * steps_per_epoch)


def plan_resumed(
    config: RunConfig, recipe: Recipe, given: Mapping[str, Any], steps_per_epoch: int, step: int
) -> tuple[Plan, RunConfig]:
    """Settle how long a run trains that is resumed.

    Args:
        config: Its config.json.
        recipe: The recipe as given now.
        given: The flags that the user gave, name -> value.
        steps_per_epoch: Batches in an epoch.
        step: The step that the run resumes from.

    Returns:
        The plan, and the config that says so.

    Raises:
        UsageError: More steps are wanted than the schedule has, and nothing says to extend it.
    """
    schedule = schedule_of(config, steps_per_epoch)
    training = dict(config.training)
    wanted = schedule.steps
    if given.keys() & {"epochs", "max_steps"}:
        wanted = wanted_steps(recipe, steps_per_epoch)
        training |= {"epochs": recipe.epochs, "max_steps": recipe.max_steps}
    if wanted > schedule.steps:
        if not recipe.extend_schedule:
            raise _longer(recipe, wanted, schedule.steps, steps_per_epoch)
        extension = {"from": schedule.steps, "to": wanted, "at": step}
        schedule = Schedule(wanted, (*schedule.extensions, extension))
    training["patience"] = recipe.patience
    config = dataclasses.replace(config, training=training, schedule=schedule)
    return Plan(wanted, schedule.steps), config


def trained(step: int, steps_per_epoch: int) -> dict[str, float]:
    """Return what config.json says of how far a run is.

    Args:
        step: Steps done.
        steps_per_epoch: Batches in an epoch.
    """
    return {"steps": step, "epochs": round(step / steps_per_epoch, 3)}


def _longer(recipe: Recipe, wanted: int, steps: int, steps_per_epoch: int) -> UsageError:
    flag = f"--max_steps={recipe.max_steps}" if recipe.max_steps else f"--epochs={recipe.epochs}"
    falls = "decays to 0" if recipe.schedule == "cosine" else "falls step by step"
    return UsageError(
        f"{flag}: {wanted:,} steps are more than the schedule of {recipe.run_dir} has: its learning"
        f" rate {falls} over {steps:,} steps ({steps / steps_per_epoch:.4g} epochs). Give"
        " --extend_schedule to go on along a schedule of the new length, or"
        f" --init_run={recipe.run_dir} and another --run_dir for a new run that begins with its"
        " best weights"
    )
