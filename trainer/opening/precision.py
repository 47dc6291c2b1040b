"""--precision=auto: the number format of a run's matrix products, chosen once and kept."""

import dataclasses

from artifacts.recipe import Recipe
from artifacts.recipe_flags.model import AUTO
from artifacts.run_config import RunConfig
from artifacts.run_folder import RunFolder
from captioning import devices
from cli import processor
from model.definition.precision import PRECISIONS
from trainer.distribution import Cluster


def settle(recipe: Recipe, cluster: Cluster) -> Recipe:
    """Replace --precision=auto by the precision of the run, or of a new run on this machine.

    All workers take what the chief chooses, which says so.

    Args:
        recipe: The recipe.
        cluster: The workers; all must call.

    Returns:
        The recipe with a precision that is not `auto`.

    Raises:
        UserError: The config.json of the run is damaged.
    """
    if recipe.precision != AUTO:
        return recipe
    chosen, why = _choose(recipe.run_dir) if cluster.chief else (PRECISIONS[0], "")
    (number,) = cluster.from_chief([PRECISIONS.index(chosen)])
    if why:
        print(f"--precision=auto: {chosen}, {why}")
    return dataclasses.replace(recipe, precision=PRECISIONS[number])


def _choose(run_dir: str) -> tuple[str, str]:
    """Return a precision and why it is the right one."""
    device = devices.first()
    if devices.on_gpu(device):
        kind, name = "GPU", device.rpartition("device:")[2]
    else:
        kind, name = "CPU", f"{processor.model()}, class {processor.instruction_class()}"
    if devices.multiplies_bfloat16(device):
        fast, why = "bfloat16", f"which this {kind} multiplies ({name})"
    else:
        fast, why = "float32", f"since this {kind} only emulates bfloat16 ({name})"
    folder = RunFolder(run_dir)
    if not (folder.exists and folder.has_weights):
        return fast, why
    kept = str(RunConfig.read(folder).training["precision"])
    if kept == fast:
        return kept, f"as the run began, {why}"
    return kept, f"as the run began; a new run here would take {fast}, {why}"
