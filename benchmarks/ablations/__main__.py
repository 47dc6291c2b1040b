"""Every choice of a recipe on and off, over several seeds, on the validation split.

Run it with `python -m benchmarks.ablations --data_dir=DIR`, or with `--records_dir=DIR` on records
that are built already. A choice is the recipe with other flags (choices.py). Each run is trained
and evaluated by our commands, each in a process of its own, and kept: a benchmark that was stopped
or killed goes on when the same command is given again. After every run the table is written anew.
Several at once may share --work_dir if each has its own --choices or --seeds; the same command with
all of them then writes the table of all.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import cli.start_tensorflow  # noqa: F401  before TensorFlow

# isort: split
from absl.flags import FlagValues

from artifacts import weights_file
from artifacts.recipe import Recipe
from benchmarks.ablations import table
from benchmarks.ablations.choices import CHOICES, RECIPE
from benchmarks.ablations.table import Result
from benchmarks.recipes import work
from benchmarks.recipes.plan import Plan, file_of, plan
from benchmarks.recipes.steps import StoppedError
from captioning.search_options import BeamSearch
from cli import atomic_file, command, flags
from cli.errors import UsageError, UserError

_WORK = "build/bench-ablations"


def main() -> None:
    """Run the command: exit with 1 if a run failed, with 2 on wrong usage."""
    work.run(_run, _parser())


def _parser() -> argparse.ArgumentParser:
    parser = work.parser(__doc__.splitlines()[0], _WORK)
    parser.add_argument(
        "--recipe", default="flickr8k", help="name in flags/, or a flagfile (default: flickr8k)"
    )
    parser.add_argument(
        "--records_dir", help="records that are built already, in place of those of --data_dir"
    )
    parser.add_argument(
        "--choices",
        default="",
        help=f"names with commas, of: {', '.join(CHOICES)} (default: all)",
    )
    parser.add_argument(
        "--seeds", default="1,2,3", help="seeds of each choice, with commas (default: 1,2,3)"
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    """Do what the flags say; returns the exit code."""
    seeds = _seeds(options.seeds)
    chosen = _chosen(options.choices, options.recipe)
    setting = work.setting(options, options.records_dir)
    if not setting:
        return 0
    results: dict[str, dict[int, Result]] = {name: {} for name in chosen}
    failed = 0
    text = "no run is finished"
    runs = [(seed, name) for seed in seeds for name in chosen]
    for number, (seed, name) in enumerate(runs, start=1):
        print(f"\n[{number}/{len(runs)}] {name}, seed {seed}", flush=True)
        try:
            seeded = dataclasses.replace(setting, seed=seed)
            changed = name if name != RECIPE else ""
            results[name][seed] = _result(plan(options.recipe, seeded, changed, CHOICES[name]))
        except StoppedError:
            raise
        except UserError as error:
            print(f"error: {name}, seed {seed}: {error}", file=sys.stderr)
            failed += 1
            continue
        text = table.markdown(results, CHOICES, Path(options.recipe).stem)
        atomic_file.write(setting.work_dir / "ablations.md", f"{text}\n".encode())
    print(f"\n{text}")
    if failed:
        print(f"error: {failed} of {len(runs)} runs failed; see above why", file=sys.stderr)
    return 1 if failed else 0


def _seeds(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts) or len({*parts}) < len(parts):
        raise UsageError(f"--seeds={text}: expected different numbers with commas, as 1,2,3")
    return [int(part) for part in parts]


def _chosen(names: str, recipe: str) -> list[str]:
    """Return the choices to measure, the recipe itself first; leave out what it has already."""
    listed = names.split(",") if names else list(CHOICES)
    if unknown := [name for name in listed if name not in CHOICES]:
        raise UsageError(f"--choices={names}: {unknown[0]!r} is none of {', '.join(CHOICES)}")
    distinct: dict[Recipe, str] = {}
    for name in dict.fromkeys([RECIPE, *listed]):
        first = distinct.setdefault(_recipe(recipe, CHOICES[name]), name)
        if first != name:
            print(f"{name} is left out: here it is the same as {first}", flush=True)
    return list(distinct.values())


def _recipe(name: str, choice: Sequence[str]) -> Recipe:
    """Return what a choice makes of a flagfile.

    Raises:
        UserError: The flagfile cannot be read, or a flag is wrong.
    """

    def define(values: FlagValues) -> None:
        for options in (Recipe, BeamSearch):
            flags.define(options, values)

    values, _ = command.parse(["ablations", f"--flagfile={file_of(name)}", *choice], define)
    return flags.read(Recipe, values)


def _result(run: Plan) -> Result:
    """Do what is left of a run and return what it scores."""
    with work.steps_of(run) as steps:
        work.train_and_evaluate(run, steps)
        epoch = weights_file.load_note(run.run.best)["epoch"]
        return table.result(run, epoch, steps.states["train"])


if __name__ == "__main__":
    main()
