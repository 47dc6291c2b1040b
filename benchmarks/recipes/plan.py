"""What a recipe becomes on Flickr8k with everybody's features: its folders and its commands."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pipeline.engines.beam_log  # noqa: F401  (before Beam is imported)
from artifacts.run_folder import RunFolder
from benchmarks.recipes import header
from cli import flagfile
from cli.errors import UsageError, UserError
from pipeline.build_flags import BuildFlags

FLAGS = Path("flags")
ENCODER = "mobilenet_v2"
SPLIT = "val"
_DATASET = "--dataset=flickr8k"
BUILD, TRAIN, EVALUATE = "pipeline.build_records", "trainer.main", "evaluation.main"

# What the benchmark says in place of the header.
_OF_THE_BUILD = {
    *("runner", "direct_num_workers", "direct_running_mode", "dataset", "data_dir", "download"),
    *("download_url", "output_dir", "features", "store", "feature_dtype", "encoder_weights"),
}
_OF_THE_RUN = {"flagfile", "records_dir", "run_dir", "encoder", "encoder_weights"}
# Flags of a recipe that are the same for all, or change nothing that is measured.
_PLACES = {*_OF_THE_RUN, "cache_memory_mb", "shuffle_mb", "keep_checkpoints", "profile_steps"}
_OF_THE_EVALUATION = {*_OF_THE_RUN, "split", "output_dir", "report", "allow_leak"}


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is the same for all recipes.

    Attributes:
        data_dir: Folder of Flickr8k.
        encoder_weights: Weights of the encoder, as `--encoder_weights` takes them.
        work_dir: Where everything is kept.
        epochs: Most epochs of a recipe; 0: its own.
        seed: The seed in place of the recipes' own; None: theirs.
        records_dir: Records that are built already; None: each recipe's own are built.
    """

    data_dir: str
    encoder_weights: str
    work_dir: Path
    epochs: int = 0
    seed: int | None = None
    records_dir: Path | None = None


class Plan(NamedTuple):
    """The folders and the commands of a recipe; a command is a module and its arguments."""

    name: str
    flags: list[str]  # of the flagfile
    epochs: int  # the recipe's own
    at_home: bool  # whether the recipe's own data are Flickr8k
    records: Path
    run: RunFolder
    build: list[str]  # empty where the records are there
    train: list[str]
    evaluate: list[str]
    work: tuple[frozenset[str], ...]  # what is left of job, recipe and headers: equal for twins

    @property
    def results(self) -> Path:
        """COCO's results file of the evaluation."""
        return self._evaluated(f"captions_{SPLIT}_{self.run.name}_results.json")

    @property
    def references(self) -> Path:
        """COCO's captions file of the evaluation."""
        return self._evaluated(f"captions_{SPLIT}_references.json")

    @property
    def metrics(self) -> Path:
        """The scores of the evaluation."""
        return self._evaluated("metrics.json")

    @property
    def comparison(self) -> Path:
        """The scores beside those of the reference."""
        return self._evaluated("against_reference.json")

    def _evaluated(self, name: str) -> Path:
        return Path(self.run.evaluation(SPLIT)) / name


def file_of(recipe: str) -> Path:
    """Return the flagfile of a recipe: flags/NAME.flags, or the path of any other one."""
    path = Path(recipe) if recipe.endswith(".flags") else FLAGS / f"{recipe}.flags"
    if not path.is_file():
        raise UsageError(f"{path}: no such flagfile; {FLAGS}/ holds the recipes that have a name")
    return path


def all_recipes() -> list[str]:
    """Return the recipes of flags/ that train from the start: their header has three commands."""
    needed = {BUILD, TRAIN, EVALUATE}
    recipes = []
    for path in sorted(FLAGS.glob("*.flags")):
        commands = header.commands(path)
        goes_on = any(part.startswith("--init_run") for command in commands for part in command)
        if needed <= {command[0] for command in commands} and not goes_on:
            recipes.append(path.stem)
    return recipes


def plan(recipe: str, setting: Setting, choice: str = "", changes: Sequence[str] = ()) -> Plan:
    """Return what to run for a recipe.

    Args:
        recipe: The name of a file in flags/ without its ending, or a flagfile's path.
        setting: What is the same for all recipes.
        choice: What to call the recipe with `changes`; "" for the recipe itself.
        changes: Flags in place of the recipe's own.

    Raises:
        UserError: The flagfile or its header cannot be used.
    """
    path = file_of(recipe)
    flags = [str(argument) for argument in flagfile.expand([f"--flagfile={path}"])]
    defaults = {f"--{field.name}={field.default}" for field in dataclasses.fields(BuildFlags)}
    built = header.arguments(path, BUILD)
    job = sorted({*header.without(built, _OF_THE_BUILD)} - defaults)
    # Recipes with the same job share its records, which are named after it.
    words = [re.sub(r"[^\w.]+", "-", flag.removeprefix("--")) for flag in job]
    built_here = setting.work_dir / "records" / "-".join(["flickr8k", *words])
    records = setting.records_dir or built_here
    weights = f"--encoder_weights={setting.encoder_weights}"
    build = [
        *("--runner=DirectRunner", _DATASET, f"--data_dir={setting.data_dir}"),
        *(f"--output_dir={records}", f"--features={ENCODER}", weights, *job),
    ]
    epochs = _epochs(flags, path)
    name, limits = _name_and_limits(path.stem, setting, choice, epochs)
    run = RunFolder(str(setting.work_dir / "runs" / name))
    common = [
        *(f"--flagfile={path}", f"--records_dir={records}", f"--run_dir={run.path}"),
        *(f"--encoder={ENCODER}", weights, *changes, *limits),
    ]
    train = header.without(header.arguments(path, TRAIN), _OF_THE_RUN)
    evaluate = header.without(header.arguments(path, EVALUATE), _OF_THE_EVALUATION)
    return Plan(
        path.stem,
        flags,
        epochs,
        _DATASET in built,
        records,
        run,
        [] if setting.records_dir else [BUILD, *build],
        [TRAIN, *common, *train],
        [EVALUATE, *common, f"--split={SPLIT}", *evaluate],
        tuple(map(frozenset, (job, header.without(flags, _PLACES), train, evaluate))),
    )


def _name_and_limits(
    recipe: str, setting: Setting, choice: str, epochs: int
) -> tuple[str, list[str]]:
    """Return the name of a run, and the flags that the setting has in place of the recipe's."""
    name, limits = recipe, []
    if 0 < setting.epochs < epochs:
        name += f"-epochs{setting.epochs}"
        limits.append(f"--epochs={setting.epochs}")
    if setting.seed is not None:
        name += f"-seed{setting.seed}"
        limits.append(f"--seed={setting.seed}")
    if choice:
        name += "-" + re.sub(r"[^\w.]+", "-", choice)
    return name, limits


def _epochs(flags: list[str], path: Path) -> int:
    values = [flag.partition("=")[2] for flag in flags if flag.startswith("--epochs=")]
    if not values or not values[-1].isdecimal():
        raise UserError(f"{path}: no line --epochs=N, which says how long the recipe trains")
    return int(values[-1])
