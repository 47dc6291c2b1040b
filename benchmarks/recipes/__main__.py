"""The recipes of flags/ side by side on Flickr8k, all with the same features.

Run it with `make bench-recipes`, or `python -m benchmarks.recipes --data_dir=DIR`. Each recipe is
built, trained, evaluated and compared by the commands in its header, each in a process of its own.
A benchmark that was stopped or killed goes on when the same command is given again. Several at once
may share --work_dir if each has its own --recipes.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import describe_machine
from benchmarks.recipes import table, work
from benchmarks.recipes.plan import Plan, all_recipes, plan
from benchmarks.recipes.steps import Steps, StoppedError, checksum
from cli import atomic_file
from cli.errors import UsageError, UserError
from metrics.names import CIDER

_WORK = "build/bench-recipes"


def main() -> None:
    """Run the command: exit with 1 if a recipe failed, with 2 on wrong usage."""
    work.run(_run, _parser())


def _parser() -> argparse.ArgumentParser:
    parser = work.parser(__doc__.splitlines()[0], _WORK)
    parser.add_argument(
        "--recipes", default="", help="names in flags/, or flagfiles, with commas (default: all)"
    )
    parser.add_argument("--seed", type=int, help="seed of every recipe (default: its own)")
    parser.add_argument(
        "--reference", default="flickr8k", help="recipe to compare with (default: flickr8k)"
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    """Do what the flags say; returns the exit code."""
    setting = work.setting(options)
    if not setting:
        return 0
    if options.seed is not None and options.seed < 0:
        raise UsageError(f"--seed={options.seed}: expected 0 or more")
    setting = dataclasses.replace(setting, seed=options.seed)
    names = options.recipes.split(",") if options.recipes else all_recipes()
    plans = [plan(name, setting) for name in names]
    if len({recipe.name for recipe in plans}) < len(plans):
        raise UsageError(f"--recipes={options.recipes}: two recipes have the same name")
    # The reference first: the others are compared with it.
    plans.sort(key=lambda recipe: (recipe.name != options.reference, not recipe.at_home))
    plans = _without_twins(plans)
    reference = plan(options.reference, setting)
    print(describe_machine(), flush=True)
    failed = _run_all(plans, reference, setting.work_dir, options.epochs)
    for name, why in failed.items():
        print(f"error: {name}: {why}", file=sys.stderr)
    return 1 if failed else 0


def _without_twins(plans: Sequence[Plan]) -> list[Plan]:
    """Leave out recipes that differ from an earlier one in data and encoder only, and say so."""
    distinct: dict[Any, Plan] = {}
    for recipe in plans:
        if (first := distinct.setdefault(recipe.work, recipe)) is not recipe:
            print(f"{recipe.name} is left out: here it is the same as {first.name}", flush=True)
    return list(distinct.values())


def _run_all(
    plans: Sequence[Plan], reference: Plan, work_dir: Path, epochs: int
) -> dict[str, UserError]:
    """Run recipes and write the table after each; returns why recipes failed, by name."""
    failed: dict[str, UserError] = {}
    rows = []
    text = "no recipe is finished"
    for number, recipe in enumerate(plans, start=1):
        print(f"\n[{number}/{len(plans)}] {recipe.name}", flush=True)
        try:
            rows.append(_row(recipe, reference))
        except StoppedError:
            raise
        except UserError as error:
            print(f"error: {recipe.name}: {error}", file=sys.stderr)
            failed[recipe.name] = error
            continue
        content = {"reference": reference.name, "most_epochs": epochs, "recipes": rows}
        text = table.markdown(rows, reference.name, epochs)
        atomic_file.write(work_dir / "recipes.json", json.dumps(content, indent=1).encode())
        atomic_file.write(work_dir / "recipes.md", f"{text}\n".encode())
    print(f"\n{text}")
    return failed


def _row(recipe: Plan, reference: Plan) -> dict[str, Any]:
    """Do what is left of a recipe and return its figures."""
    with work.steps_of(recipe) as steps:
        work.train_and_evaluate(recipe, steps)
        machine = steps.states["train"]["machine"]
        row = table.figures(recipe, steps.core_seconds("train"), machine)
        if recipe.name != reference.name:
            row["against_reference"] = _compare(recipe, reference, steps)
    return row


def _compare(recipe: Plan, reference: Plan, steps: Steps) -> dict[str, float] | None:
    """Return the paired test's difference in CIDEr to the reference; None where that is missing."""
    if not reference.results.exists():
        print(
            f"{reference.name} is not evaluated: nothing to compare {recipe.name} with", flush=True
        )
        return None
    command = [
        *("evaluation.score", f"--results={recipe.results}", f"--annotations={recipe.references}"),
        *(f"--baseline={reference.results}", f"--output={recipe.comparison}"),
    ]
    inputs = {"command": command, "files": [checksum(recipe.results), checksum(reference.results)]}
    if not steps.is_done("compare", inputs, recipe.comparison):
        steps.run("compare", inputs, command)
    return json.loads(recipe.comparison.read_text())["baseline"]["differences"].get(CIDER)


if __name__ == "__main__":
    main()
