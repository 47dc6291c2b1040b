"""The recipes of flags/ side by side on Flickr8k, all with the same features.

Run it with `make bench-recipes`, or `python -m benchmarks.recipes --data_dir=DIR`. Each recipe is
built, trained, evaluated and compared by the commands in its header, each in a process of its own.
A benchmark that was stopped or killed goes on when the same command is given again. Several at once
may share --work_dir if each has its own --recipes.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import describe_machine, usable_cores
from benchmarks.recipes import table
from benchmarks.recipes.plan import Plan, Setting, all_recipes, plan
from benchmarks.recipes.steps import Steps, StoppedError, checksum, execute, locked
from cli import atomic_file
from cli.errors import UsageError, UserError
from metrics.names import CIDER

_DEFAULT_DATA, _WORK = "data/flickr8k", "build/bench-recipes"


def main() -> None:
    """Run the command: exit with 1 if a recipe failed, with 2 on wrong usage."""
    # Commands below us are stopped and save, as on Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    options = _parser().parse_args()
    try:
        sys.exit(_run(options))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"error: {error}; mend that and run the same command again", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("error: interrupted; run the same command again to continue", file=sys.stderr)
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--data_dir", help=f"folder of Flickr8k (default: $CAPTION_DATA/flickr8k, {_DEFAULT_DATA})"
    )
    parser.add_argument(
        "--encoder_weights",
        help="MobileNetV2's weights, a .weights.h5 file, or imagenet, which Keras downloads"
        " (default: $CAPTION_WEIGHTS/mobilenet_v2_1.0_224_notop*.h5, else imagenet)",
    )
    parser.add_argument(
        "--work_dir",
        default=_WORK,
        help=f"folder of runs and tables (default: {_WORK})",
    )
    parser.add_argument(
        "--recipes", default="", help="names in flags/, or flagfiles, with commas (default: all)"
    )
    parser.add_argument(
        "--epochs", type=int, default=0, help="most epochs of a recipe (default: 0, its own)"
    )
    parser.add_argument("--seed", type=int, help="seed of every recipe (default: its own)")
    parser.add_argument(
        "--cores", default="", help="numbers of the cores to use, with commas (default: all)"
    )
    parser.add_argument(
        "--reference", default="flickr8k", help="recipe to compare with (default: flickr8k)"
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    """Do what the flags say; returns the exit code."""
    data_dir = options.data_dir or _default_data_dir()
    if not os.path.isdir(data_dir):
        if options.data_dir:
            raise UsageError(f"--data_dir={data_dir}: no such folder; it must hold Flickr8k")
        print(f"skipped: {data_dir} is missing; --data_dir or CAPTION_DATA says where Flickr8k is")
        return 0
    if options.epochs < 0 or (options.seed is not None and options.seed < 0):
        raise UsageError("--epochs and --seed are 0 or more")
    _use_cores(options.cores)
    weights = options.encoder_weights or _default_weights()
    if weights not in ("imagenet", "random") and not os.path.isfile(weights):
        raise UsageError(f"--encoder_weights={weights}: no such file")
    work_dir = Path(options.work_dir)
    setting = Setting(data_dir, weights, work_dir, options.epochs, options.seed)
    names = options.recipes.split(",") if options.recipes else all_recipes()
    plans = [plan(name, setting) for name in names]
    if len({recipe.name for recipe in plans}) < len(plans):
        raise UsageError(f"--recipes={options.recipes}: two recipes have the same name")
    # The reference first: the others are compared with it.
    plans.sort(key=lambda recipe: (recipe.name != options.reference, not recipe.at_home))
    plans = _without_twins(plans)
    reference = plan(options.reference, setting)
    print(describe_machine(), flush=True)
    failed = _run_all(plans, reference, work_dir, options.epochs)
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


def _default_data_dir() -> str:
    data = os.environ.get("CAPTION_DATA")
    return os.path.join(data, "flickr8k") if data else _DEFAULT_DATA


def _default_weights() -> str:
    folder = os.environ.get("CAPTION_WEIGHTS")
    files = sorted(Path(folder).glob("mobilenet_v2_1.0_224_notop*.h5")) if folder else []
    return str(files[0]) if files else "imagenet"


def _use_cores(cores: str) -> None:
    """Let this process, and those that it starts, use some cores only."""
    if not cores:
        return
    try:
        chosen = {int(core) for core in cores.split(",")}
    except ValueError:
        raise UsageError(f"--cores={cores}: expected numbers with commas, as 0,1") from None
    if not chosen <= set(usable_cores()):
        raise UsageError(f"--cores={cores}: the cores that we may use are {usable_cores()}")
    os.sched_setaffinity(0, chosen)


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
    run = Path(recipe.run.path)
    with locked(run.with_name(f"{run.name}.lock")) as handle:
        steps = Steps(run.with_name(f"{run.name}.json"), handle)
        _train_and_evaluate(recipe, steps)
        machine = steps.states["train"]["machine"]
        row = table.figures(recipe, steps.core_seconds("train"), machine)
        if recipe.name != reference.name:
            row["against_reference"] = _compare(recipe, reference, steps)
    return row


def _train_and_evaluate(recipe: Plan, steps: Steps) -> None:
    """Build, train and evaluate, where that is not done."""
    best = Path(recipe.run.best)
    train = {"build": recipe.build, "command": recipe.train, "flags": recipe.flags}
    trained = steps.is_done("train", train, best)
    evaluate = {"command": recipe.evaluate, "flags": recipe.flags, "weights": checksum(best)}
    if trained and steps.is_done("evaluate", evaluate, recipe.metrics):
        print(f"{recipe.run.path}: trained and evaluated already", flush=True)
        return
    recipe.records.parent.mkdir(parents=True, exist_ok=True)
    with locked(recipe.records.with_name(f"{recipe.records.name}.lock")) as handle:
        execute(recipe.build, handle)  # Keeps what is built.
    if not trained:
        steps.run("train", train, recipe.train, begun_elsewhere=recipe.run.has_weights)
    evaluate["weights"] = checksum(best)
    if not steps.is_done("evaluate", evaluate, recipe.metrics):
        steps.run("evaluate", evaluate, recipe.evaluate)


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
