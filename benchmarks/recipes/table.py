"""What runs and evaluations left on disk, as the figures of a recipe and as tables in Markdown."""

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recipes.plan import ENCODER, Plan
from metrics.names import BLEU_4, CIDER, HEADINGS, METEOR

SHOWN = (BLEU_4, METEOR, CIDER)
_LOOKS = ("entropy", "entropy_limit", "temporal_variance")
_NOTE = "note.json"  # in a file of weights


def figures(plan: Plan, core_seconds: float | None, machine: str) -> dict[str, Any]:
    """Return the figures of a recipe that is trained and evaluated.

    Args:
        plan: The recipe.
        core_seconds: Processor time of its training; None where that is not known.
        machine: Where it was trained.

    Returns:
        Name -> value, as recipes.json keeps them.
    """
    config = json.loads(Path(plan.run.config).read_text())
    evaluated = json.loads(plan.metrics.read_text())
    decoder = config["model"]["decoder"]
    with np.load(plan.run.best, allow_pickle=False) as file:
        best = json.loads(file[_NOTE].tobytes())
        parameters = sum(file[name].size for name in file.files if name != _NOTE)
    history = [json.loads(line) for line in Path(plan.run.metrics).read_text().splitlines()]
    rates = [line["captions_per_second"] for line in history if line["kind"] == "train"]
    perplexities = [
        line["perplexity"]
        for line in history
        if line["kind"] == "val" and line["step"] == best["step"]
    ]
    return {
        "recipe": plan.name,
        "attention": decoder.get("attention", "soft"),
        "image_as": decoder.get("image_as", "init_state"),
        "vocabulary": decoder["vocabulary_size"],
        "parameters": int(parameters),
        "epochs": config["trained"]["epochs"],
        "steps": config["trained"]["steps"],
        "best_epoch": best["epoch"],
        "recipe_epochs": plan.epochs,
        "seed": config["training"]["seed"],
        "core_seconds": core_seconds,
        "captions_per_second": statistics.median(rates),
        "perplexity": perplexities[-1] if perplexities else None,
        "images": evaluated["images"],
        "search": evaluated["search"],
        "metrics": evaluated["metrics"],
        "intervals": evaluated["intervals"],
        "distinct_captions": evaluated["diversity"]["distinct_captions"],
        # None where the recipe has no attention.
        **{name: (evaluated["attention"] or {}).get(name) for name in _LOOKS},
        "machine": machine,
    }


def markdown(rows: Sequence[dict[str, Any]], reference: str, epochs: int) -> str:
    """Return the tables of recipes and what a reader must know of them.

    Args:
        rows: The figures of each recipe, as `figures` returns them; `against_reference` is the
            paired test's CIDEr difference where there is one.
        reference: The recipe that the others are compared with.
        epochs: Most epochs that a recipe was trained for; 0: its own.

    Returns:
        The lines, without a newline at the end.
    """
    training = [
        [
            *("recipe", "attention", "image as", "words", "parameters"),
            *("epochs", "steps", "core hours", "captions/s"),
        ],
        *([*_training_cells(row)] for row in rows),
    ]
    scores = [
        [
            *(
                "recipe",
                "search",
                *(HEADINGS[name] for name in SHOWN),
                f"CIDEr against {reference}",
                "p",
            ),
            *("distinct", "perplexity", "entropy", "temporal variance"),
        ],
        *([*_score_cells(row, reference)] for row in rows),
    ]
    return "\n\n".join(
        [_caption(rows, epochs), markdown_table(training), markdown_table(scores), _notes(rows)]
    )


def _caption(rows: Sequence[dict[str, Any]], epochs: int) -> str:
    images = " or ".join(f"{n:,}" for n in sorted({row["images"] for row in rows}))
    lines = [
        f"The recipes on the {images} dev photographs of Flickr8k. Every recipe got the same"
        f" frozen features, those of {ENCODER}, in place of its own encoder's: these are not the"
        " scores of its paper."
    ]
    if epochs:
        lines.append(f"No recipe was trained for more than {epochs} epoch{'s' * (epochs > 1)}.")
    return " ".join(lines)


def _notes(rows: Sequence[dict[str, Any]]) -> str:
    machines = "; ".join(sorted({row["machine"] for row in rows}))
    return (
        "Scores are x100, with 95% intervals of a bootstrap over images; the difference in CIDEr"
        " and its p are those of a paired bootstrap test. Distinct: different captions, of all."
        " Perplexity: of dev's references at the best epoch, over the recipe's own words: compare"
        " it between recipes with equally many words only. Entropy: of the attention, in nats a"
        " word; its limit is that of equal weights. Temporal variance: how far it moves from word"
        " to word; 0: every word looks at the same places. Parameters: those of the decoder."
        " Captions/s: median of the training. Core hours: processor time of training and"
        f" validation; - where the run was begun elsewhere. {machines}."
    )


def _training_cells(row: dict[str, Any]) -> list[str]:
    epochs = f"{row['epochs']:.3g}"
    if round(row["epochs"], 2) < row["recipe_epochs"]:
        epochs += f" of {row['recipe_epochs']}"
    hours = "-" if row["core_seconds"] is None else f"{row['core_seconds'] / 3600:.2f}"
    return [
        *(row["recipe"], row["attention"], row["image_as"], f"{row['vocabulary']:,}"),
        *(f"{row['parameters'] / 1e6:.1f} M", epochs, f"{row['steps']:,}", hours),
        f"{row['captions_per_second']:,.0f}",
    ]


def _score_cells(row: dict[str, Any], reference: str) -> list[str]:
    difference = row.get("against_reference")
    if row["recipe"] == reference:
        against, p = "reference", "-"
    elif difference is None:
        against, p = "-", "-"
    else:
        low, high = difference["low"], difference["high"]
        against = f"{100 * difference['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        p = f"{difference['p']:.3f}" if difference["p"] else "< 0.001"
    perplexity, beams = row["perplexity"], row["search"]["beam_size"]
    return [
        *(row["recipe"], "greedy" if beams == 1 else f"beam {beams}"),
        *(_score(row, name) for name in SHOWN),
        *(against, p, f"{row['distinct_captions']:.1%}"),
        "-" if perplexity is None or not math.isfinite(perplexity) else f"{perplexity:.1f}",
        *_looks_cells(row),
    ]


def _looks_cells(row: dict[str, Any]) -> tuple[str, str]:
    if row["temporal_variance"] is None:
        return "-", "-"
    moves = round(row["temporal_variance"], 12)  # An attention that does not move has 0.
    return f"{row['entropy']:.2f} of {row['entropy_limit']:.2f}", f"{moves:.2g}"


def _score(row: dict[str, Any], name: str) -> str:
    if name not in row["metrics"]:
        return "-"
    text = f"{100 * row['metrics'][name]:.1f}"
    if name in row["intervals"]:
        low, high = row["intervals"][name]
        text += f" ({100 * low:.1f} to {100 * high:.1f})"
    return text


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells, the first of them the header, as a table in Markdown."""
    header, *others = (f"| {' | '.join(cells)} |" for cells in rows)
    return "\n".join([header, "|" + "---|" * len(rows[0]), *others])
