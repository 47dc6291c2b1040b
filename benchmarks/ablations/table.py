"""The table of an ablation: means over seeds, their spread, and a test against the recipe."""

import json
import shlex
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.ablations.choices import RECIPE
from benchmarks.recipes.plan import Plan
from benchmarks.recipes.table import markdown_table
from metrics.bootstrap import RESAMPLES
from metrics.names import BLEU_4, CIDER, HEADINGS, METEOR

_SHOWN = (BLEU_4, METEOR, CIDER)


class Result(NamedTuple):
    """What one run of a choice left.

    Attributes:
        metrics: Metric -> score of the split.
        ciders: Image id -> CIDEr of its caption.
        entropy: Of the attention, nats a word; None without an attention.
        temporal_variance: How far the attention moves; None without one.
        bad_endings: Share of captions with a bad ending.
        best_epoch: Epoch of the best weights.
        core_hours: Processor time of the training; None where that is not known.
        hours: Time of the training by the clock; None where that is not known.
        machine: Where it was trained.
    """

    metrics: Mapping[str, float]
    ciders: Mapping[str, float]
    entropy: float | None
    temporal_variance: float | None
    bad_endings: float
    best_epoch: int
    core_hours: float | None
    hours: float | None
    machine: str


class Difference(NamedTuple):
    """How a choice's CIDEr differs from the recipe's: mean, 95% interval, two-sided p-value."""

    mean: float
    low: float
    high: float
    p: float


def result(run: Plan, best_epoch: int, train: Mapping[str, Any]) -> Result:
    """Read what a trained and evaluated run left.

    Args:
        run: The run's plan.
        best_epoch: Epoch of its best weights.
        train: The state of the training's step (`benchmarks/recipes/steps.py`).
    """
    evaluated = json.loads(run.metrics.read_text())
    images = json.loads(run.metrics.with_name("images.json").read_text())["images"]
    looks = evaluated["attention"] or {}
    known = not train.get("begun_elsewhere")
    return Result(
        evaluated["metrics"],
        {image: scores[CIDER] for image, scores in images.items()},
        looks.get("entropy"),
        looks.get("temporal_variance"),
        evaluated["diversity"]["bad_endings"],
        best_epoch,
        train["core_seconds"] / 3600 if known else None,
        train["seconds"] / 3600 if known and "seconds" in train else None,
        train["machine"],
    )


def difference(
    choice: Mapping[int, Result], recipe: Mapping[int, Result], seed: int = 0
) -> Difference | None:
    """Compare a choice with the recipe, pair by pair of the same seed and the same image.

    Each resample draws images anew, and seeds where there are several, so that the interval holds
    the noise of both.

    Args:
        choice: Seed -> result.
        recipe: Seed -> result.
        seed: Chooses the resamples.

    Returns:
        The difference over the seeds that both have; None where there is none.
    """
    seeds = sorted(choice.keys() & recipe.keys())
    if not seeds:
        return None
    images = sorted(set.intersection(*(set(r[s].ciders) for r in (choice, recipe) for s in seeds)))
    pairs = np.array(
        [[choice[s].ciders[i] - recipe[s].ciders[i] for i in images] for s in seeds]
    )  # [seeds, images]
    rng = np.random.default_rng(seed)
    drawn = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        some_seeds = rng.integers(len(seeds), size=len(seeds))
        some_images = rng.integers(len(images), size=len(images))
        drawn[k] = pairs[some_seeds][:, some_images].mean()
    low, high = np.percentile(drawn, [2.5, 97.5])
    p = min(1.0, 2 * min((drawn <= 0).mean(), (drawn >= 0).mean()))
    return Difference(float(pairs.mean()), float(low), float(high), float(p))


def markdown(
    results: Mapping[str, Mapping[int, Result]], flags: Mapping[str, Sequence[str]], recipe: str
) -> str:
    """Return the table in Markdown and what a reader must know of it.

    Args:
        results: Choice -> seed -> result; `RECIPE` among the choices.
        flags: Choice -> its flags.
        recipe: Name of the flagfile.
    """
    header = [
        *("choice", "flags", "seeds", *(HEADINGS[name] for name in _SHOWN)),
        *("CIDEr against the recipe", "p", "bad endings", "entropy", "temporal variance"),
        *("best epoch", "hours", "core hours"),
    ]
    reference = results.get(RECIPE, {})
    rows = [
        _row(name, flags[name], by_seed, reference, recipe)
        for name, by_seed in results.items()
        if by_seed
    ]
    machines = {result.machine for by_seed in results.values() for result in by_seed.values()}
    return "\n\n".join([markdown_table([header, *rows]), _notes(recipe, sorted(machines))])


def _row(
    name: str,
    flags: Sequence[str],
    by_seed: Mapping[int, Result],
    reference: Mapping[int, Result],
    recipe: str,
) -> list[str]:
    runs = list(by_seed.values())
    compared = difference(by_seed, reference) if name != RECIPE else None
    against, p = "-", "-"
    if compared:
        mean, low, high = (100 * x for x in compared[:3])
        against = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
        p = f"{compared.p:.3f}" if compared.p else f"< {1 / RESAMPLES:.3f}"
    return [
        recipe if name == RECIPE else name,
        f"`{shlex.join(flags)}`" if flags else "",
        str(len(runs)),
        *(_spread([100 * run.metrics[metric] for run in runs]) for metric in _SHOWN),
        *(against, p, f"{statistics.mean(run.bad_endings for run in runs):.1%}"),
        _mean([run.entropy for run in runs], ".2f"),
        _mean([run.temporal_variance for run in runs], ".3f"),
        _mean([run.best_epoch for run in runs], ".3g"),
        _mean([run.hours for run in runs], ".2f"),
        _mean([run.core_hours for run in runs], ".2f"),
    ]


def _spread(values: Sequence[float]) -> str:
    """Return the mean, and from where to where the seeds lie: `50.1 (49.2 to 51.0)`."""
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"


def _mean(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return format(statistics.mean(known), form) if len(known) == len(values) else "-"


def _notes(recipe: str, machines: Sequence[str]) -> str:
    return (
        f"Each choice changes {recipe} by its flags alone. Scores are x100 and official: means over"
        " the seeds, with the lowest and the highest seed. The difference in CIDEr pairs runs of"
        " the same seed image by image; its 95% interval and its p come from resamples that draw"
        " images and seeds anew. Entropy: of the attention, nats a word. Hours: of training and"
        " validation of one run, by the clock and of the processor; - where a run was begun"
        f" elsewhere. {'; '.join(machines)}."
    )
