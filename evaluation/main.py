"""Caption a split and score it: `python -m evaluation.main --flagfile=coco.flags --split=val`.

Writes COCO's own files, so that anyone can score them again, and metrics.json. It also captions
image files, and test images for COCO's evaluation server:

  ... --run_dir=RUN --images=FOLDER,'more/*.png',list.jsonl
  ... --run_dir=RUN --image_info=image_info_test2017.json --images_dir=test2017

A job that was killed continues where it stopped when the same command is given again.

Flags of the training are listed, too, so that its flagfile serves here; flags that contradict how
the run was trained are refused.
"""

import os
from collections.abc import Sequence

import cli.start_tensorflow  # noqa: F401  before TensorFlow

# isort: split
from absl.flags import FlagValues

from artifacts import recipe as recipes
from artifacts import run_config
from artifacts.recipe import Recipe
from artifacts.run_config import RunConfig
from artifacts.run_folder import RunFolder
from captioning import devices, run_search
from captioning.devices import DeviceOptions
from captioning.search_options import BeamSearch
from cli import flags, paths
from cli.command import run
from cli.errors import UsageError
from evaluation import image_files, split
from evaluation.options import EvaluationOptions


def define_flags(values: FlagValues) -> None:
    """Declare the flags of this command.

    Args:
        values: Where to declare them.
    """
    for options in (EvaluationOptions, BeamSearch, DeviceOptions, Recipe):
        flags.define(options, values)


def main(values: FlagValues, _rest: list[str]) -> int:
    """Caption as the flags say.

    Args:
        values: Parsed flags.

    Returns:
        The exit code: 0 done, 1 when an image file could not be read.
    """
    recipe = flags.read(Recipe, values)
    recipe.require("run_dir")
    options = flags.read(EvaluationOptions, values)
    paths.require_local("output_dir", options.output_dir)
    paths.require_local("report", options.report)
    run_dirs, configs = run_config.read_all(recipe.run_dir)
    if len(run_dirs) > 1 and not options.output_dir:
        raise UsageError("--output_dir is missing: several runs have no folder in common")
    given = flags.given(Recipe, values)
    for config in configs:
        recipes.refuse_contradictions(config.training, given, devices.REMEDIES)
    options.check()
    search, remarks = run_search.of_runs(run_dirs, configs, flags.given(BeamSearch, values))
    for remark in remarks:
        print(remark)
    how = options.job(search, flags.read(DeviceOptions, values))
    if options.image_info:
        return image_files.caption_image_info(run_dirs, _name(run_dirs), options, how)
    if options.images:
        return image_files.caption_images(run_dirs, options, how)
    records_dir = recipe.records_dir or _records_of(configs)
    if not records_dir:
        recipe.require("records_dir")
    return split.evaluate(run_dirs, _name(run_dirs), records_dir, options, how)


def _records_of(configs: Sequence[RunConfig]) -> str:
    """Return the folder of the records that all runs were trained on; "" where it is gone."""
    records_dir, *others = {str(config.training.get("records_dir", "")) for config in configs}
    if others or not os.path.isdir(records_dir):
        return ""
    print(f"--records_dir={records_dir}: no other is given, and the run was trained on it")
    return records_dir


def _name(run_dirs: Sequence[str]) -> str:
    return "+".join(RunFolder(run_dir).name for run_dir in run_dirs)


if __name__ == "__main__":
    run(main, define_flags)
