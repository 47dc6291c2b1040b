"""The evaluation as one HTML page that needs nothing but itself: no network, no script.

Captions and file names come from users: everything is escaped, and the page forbids itself to load
anything (Content-Security-Policy).
"""

import json
import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from cli import atomic_file
from cli.errors import UserError
from evaluation.attention import AttendedCaption
from evaluation.report import cards, charts
from metrics import diversity
from metrics.names import CIDER, HEADINGS, METEOR
from metrics.official import Scores

SHOWN = 6  # images each: best, worst, at random


class Shown(NamedTuple):
    """Image ids of the captions that the page shows."""

    best: list[int]
    worst: list[int]
    random: list[int]

    @classmethod
    def of(cls, scores: Scores, seed: int = 0) -> "Shown":
        """By CIDEr, or at random among the others; no image twice."""
        ranked = sorted(scores.images, key=lambda image: (-scores.images[image][CIDER], image))
        best, rest = ranked[:SHOWN], ranked[SHOWN:]
        worst, rest = rest[-SHOWN:][::-1], rest[:-SHOWN]
        return cls(best, worst, random.Random(seed).sample(rest, min(SHOWN, len(rest))))

    def all(self) -> list[int]:
        return [*self.best, *self.worst, *self.random]


def refuse_unwritable(folder: str) -> None:
    """Before the work, not after it.

    Raises:
        UserError: the page could not be written there.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--report={folder}: no folder can be made there: {error.strerror or error}"
        ) from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"--report={folder}: the folder cannot be written to")


def write(
    folder: str,
    found: Mapping[str, Any],
    scores: Scores,
    references: Mapping[int, Sequence[str]],
    captions: Mapping[int, str],
    shown: Shown,
    attended: Mapping[int, AttendedCaption],
    run_dir: str,
) -> str:
    """Write FOLDER/index.html; returns its path.

    Call arguments:
        found: what metrics.json holds.
        scores: of the captions.
        references, captions: by image id, as people wrote them and as the run says them.
        shown: which images. attended: of those; one that is missing is shown without attention.
        run_dir: whose metrics.jsonl gives the training curves.

    Raises:
        UserError: it cannot be written.
    """
    title = f"{found['run']} on {found['dataset']} {found['split']}"
    body = [
        f"<h1>{escape(title)}</h1>",
        _about(found),
        '<div class="side"><section>',
        f"<h2>Scores</h2>{_metrics(found)}",
        "</section><section>",
        f"<h2>The captions</h2>{_captions(found)}",
        "</section></div>",
        _training(run_dir),
        "<h2>Words</h2>",
        f'<div class="side">{_lengths(scores)}{_missed(scores)}</div>',
    ]
    if not any(look.encoded for look in attended.values()):
        body.append(f'<p class="soft">{NO_PICTURES}</p>')
    for heading, ids in (
        ("Best captions", shown.best),
        ("Worst captions", shown.worst),
        ("Captions at random", shown.random),
    ):
        gallery = [
            cards.card(captions[i], references[i], scores.images[i], attended.get(i)) for i in ids
        ]
        if ids:
            body.append(f'<h2>{heading}</h2><div class="cards">{"".join(gallery)}</div>')
    page = _PAGE.format(
        title=escape(title),
        style=Path(__file__).with_name("report.css").read_text(encoding="utf-8"),
        body="\n".join(body),
    )
    path = os.path.join(folder, "index.html")
    try:
        atomic_file.sweep(folder)
        atomic_file.write(path, page.encode("utf-8", "replace"))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written: {error.strerror or error}; free space or name another"
            " folder with --report"
        ) from None
    return path


NO_PICTURES = (
    "No pictures: the records hold features only. Records built with --store=both have them."
)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title><style>
{style}</style></head><body>
{body}
</body></html>
"""


def _about(found: Mapping[str, Any]) -> str:
    search = ", ".join(f"{name} {value}" for name, value in found["search"].items())
    stamp = found["contamination"]
    return (
        f'<p class="soft">{found["images"]:,} of {found["listed"]:,} images; {escape(search)}</p>'
        + (f'<p class="stamp">{escape(stamp)}: seen in training</p>' if stamp else "")
    )


def _metrics(found: Mapping[str, Any]) -> str:
    rows = [("", "score", "95% interval")]
    for name, heading in HEADINGS.items():
        if name in found["metrics"]:
            low, high = (100 * end for end in found["intervals"][name])
            mark = "*" if name == METEOR else ""
            score = f"{100 * found['metrics'][name]:.1f}"
            rows.append((heading, score, f"{low:.1f} to {high:.1f}{mark}"))
    notes = [
        f"{HEADINGS[name]} is unavailable: {escape(why)}."
        for name, why in found["unavailable"].items()
    ]
    if METEOR in found["metrics"]:
        notes.insert(
            0, f"* of the mean over images; {HEADINGS[METEOR]}'s score is of summed statistics."
        )
    return _table(rows) + "".join(f'<p class="soft">{note}</p>' for note in notes)


def _captions(found: Mapping[str, Any]) -> str:
    said = found["diversity"]
    rows = [
        ("", "captions", "references"),
        (
            "mean length, words",
            f"{said['mean_length']:.1f}",
            f"{said['references_mean_length']:.1f}",
        ),
        (
            "bad endings (“with a”)",
            f"{said['bad_endings']:.1%}",
            f"{said['references_bad_endings']:.1%}",
        ),
        ("different words", f"{said['words']:,}", ""),
        ("share of the references' words", f"{said['vocabulary_coverage']:.1%}", ""),
        ("distinct captions", f"{said['distinct_captions']:.1%}", ""),
        *(
            (f"repeat {n} words in a row", f"{said[f'repeated_{n}grams']:.1%}", "")
            for n in (2, 3, 4)
        ),
    ]
    if attention := found.get("attention"):
        limit = f" of {attention['entropy_limit']:.2f} nats"
        rows.append(("attention entropy", f"{attention['entropy']:.2f}{limit}", ""))
        rows.append(("attention temporal variance", f"{attention['temporal_variance']:.3f}", ""))
    if pointing := found.get("pointing"):
        chance = f"(chance {pointing['chance']:.0%})"
        rows.append(("words that look at what they name", f"{pointing['score']:.0%}", chance))
    if "facts_true" in found:
        rows.append(("claims that are true", f"{found['facts_true']:.0%}", ""))
    return _table(rows)


def _training(run_dir: str) -> str:
    """Curves from metrics.jsonl; nothing where there is none, and lines cut by a kill left out."""
    lines = []
    path = Path(run_dir, "metrics.jsonl")
    if path.is_file():
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
                lines.append((line["kind"], float(line["step"]), line))
            except (ValueError, KeyError, TypeError):
                continue

    def points(kind: str, name: str, factor: float = 1.0) -> list[tuple[float, float]]:
        return [
            (step, factor * line[name])
            for found, step, line in lines
            if found == kind and isinstance(line.get(name), int | float)
        ]

    perplexity = {
        "training": points("train", "perplexity"),
        "validation": points("val", "perplexity"),
    }
    cider = HEADINGS[CIDER]
    drawn = [
        charts.curves("Perplexity", perplexity, "step", logarithmic=True),
        charts.curves(f"{cider}, greedy, validation", {cider: points("val", CIDER, 100)}, "step"),
        charts.curves(
            "Attention entropy in training, nats",
            {"entropy": points("train", "attention_entropy")},
            "step",
        ),
    ]
    if not any(drawn):
        return ""
    return f'<h2>Training</h2><div class="side">{"".join(drawn)}</div>'


def _lengths(scores: Scores) -> str:
    counted = {
        "captions": Counter(len(texts[0].split()) for texts in scores.hypotheses.values()),
        "references": Counter(
            len(text.split()) for texts in scores.references.values() for text in texts
        ),
    }
    shares = {
        name: {length: n / counts.total() for length, n in counts.items() if length <= 30}
        for name, counts in counted.items()
    }
    return charts.histogram("Caption lengths", shares, "words, up to 30")


def _missed(scores: Scores) -> str:
    rows = [("most missed words", "missed", "of images", "")]
    for word, missed, images in diversity.most_missed(scores.hypotheses, scores.references, 12):
        share = f'<span class="meter"><i style="width:{missed / images:.0%}"></i></span>'
        rows.append((word, f"{missed:,}", f"{images:,}", share))
    note = "Words of at least half of an image's references that its caption leaves out."
    return f'<div>{_table(rows, html_column=3)}<p class="soft">{note}</p></div>'


def _table(rows: Sequence[Sequence[str]], html_column: int | None = None) -> str:
    """A table of text, its first row the header; one column may hold HTML of ours."""
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        cells = [text if k == html_column else escape(text) for k, text in enumerate(row)]
        lines.append("<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>")
    return f"<table>{''.join(lines)}</table>"
