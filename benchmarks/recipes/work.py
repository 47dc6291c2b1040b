"""What benchmarks that train share: their flags, how they start and end, and the work of a run."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.measure import usable_cores
from benchmarks.recipes.plan import Plan, Setting
from benchmarks.recipes.steps import Steps, checksum, execute, locked
from cli.errors import UsageError, UserError

_DEFAULT_DATA = "data/flickr8k"


def run(benchmark: Callable[[argparse.Namespace], int], parser: argparse.ArgumentParser) -> None:
    """Run a benchmark as a command and exit.

    Args:
        benchmark: Does what the flags say and returns the exit code.
        parser: The flags.
    """
    # Commands below us are stopped and save, as on Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    options = parser.parse_args()
    try:
        sys.exit(benchmark(options))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"error: {error}; mend that and run the same command again", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("error: interrupted; run the same command again to continue", file=sys.stderr)
        sys.exit(130)


def parser(purpose: str, work_dir: str) -> argparse.ArgumentParser:
    """Return a parser with the flags that these benchmarks share.

    Args:
        purpose: What --help says of the benchmark.
        work_dir: Default of --work_dir.
    """
    flags = argparse.ArgumentParser(description=purpose, allow_abbrev=False)
    flags.add_argument(
        "--data_dir", help=f"folder of Flickr8k (default: $CAPTION_DATA/flickr8k, {_DEFAULT_DATA})"
    )
    flags.add_argument(
        "--encoder_weights",
        help="MobileNetV2's weights, a .weights.h5 file, or imagenet, which Keras downloads"
        " (default: $CAPTION_WEIGHTS/mobilenet_v2_1.0_224_notop*.h5, else imagenet)",
    )
    flags.add_argument(
        "--work_dir",
        default=work_dir,
        help=f"folder of runs and tables (default: {work_dir})",
    )
    flags.add_argument(
        "--epochs", type=int, default=0, help="most epochs of a recipe (default: 0, its own)"
    )
    flags.add_argument(
        "--cores", default="", help="numbers of the cores to use, with commas (default: all)"
    )
    return flags


def setting(options: argparse.Namespace, records_dir: str | None = None) -> Setting | None:
    """Return the setting that the flags of `parser` describe, and take the cores that they name.

    Args:
        options: The flags.
        records_dir: Records that are built already; None: they are built from the data.

    Returns:
        The setting; None, with a line for the user, where no data are there and none were named.

    Raises:
        UsageError: A flag is wrong.
    """
    data_dir = options.data_dir or _default_data_dir()
    if records_dir:
        if not os.path.isdir(records_dir):
            raise UsageError(f"--records_dir={records_dir}: no such folder")
    elif not os.path.isdir(data_dir):
        if options.data_dir:
            raise UsageError(f"--data_dir={data_dir}: no such folder; it must hold Flickr8k")
        print(f"skipped: {data_dir} is missing; --data_dir or CAPTION_DATA says where Flickr8k is")
        return None
    if options.epochs < 0:
        raise UsageError(f"--epochs={options.epochs}: expected 0 or more")
    _use_cores(options.cores)
    weights = options.encoder_weights or _default_weights()
    if weights not in ("imagenet", "random") and not os.path.isfile(weights):
        raise UsageError(f"--encoder_weights={weights}: no such file")
    work_dir = Path(options.work_dir)
    records = Path(records_dir) if records_dir else None
    return Setting(data_dir, weights, work_dir, options.epochs, records_dir=records)


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


@contextlib.contextmanager
def steps_of(plan: Plan) -> Iterator[Steps]:
    """Lock a run, so that no other process works on it, and yield what is done of it.

    Args:
        plan: The run's plan.
    """
    run = Path(plan.run.path)
    with locked(run.with_name(f"{run.name}.lock")) as handle:
        yield Steps(run.with_name(f"{run.name}.json"), handle)


def train_and_evaluate(recipe: Plan, steps: Steps) -> None:
    """Build, train and evaluate, where that is not done.

    Args:
        recipe: The plan.
        steps: What is done of it.

    Raises:
        UserError: A command failed, or was stopped.
    """
    best = Path(recipe.run.best)
    train = {"build": recipe.build, "command": recipe.train, "flags": recipe.flags}
    trained = steps.is_done("train", train, best)
    evaluate = {"command": recipe.evaluate, "flags": recipe.flags, "weights": checksum(best)}
    if trained and steps.is_done("evaluate", evaluate, recipe.metrics):
        print(f"{recipe.run.path}: trained and evaluated already", flush=True)
        return
    recipe.records.parent.mkdir(parents=True, exist_ok=True)
    with locked(recipe.records.with_name(f"{recipe.records.name}.lock")) as handle:
        if recipe.build:
            execute(recipe.build, handle)  # Keeps what is built.
    if not trained:
        steps.run("train", train, recipe.train, begun_elsewhere=recipe.run.has_weights)
    evaluate["weights"] = checksum(best)
    if not steps.is_done("evaluate", evaluate, recipe.metrics):
        steps.run("evaluate", evaluate, recipe.evaluate)
