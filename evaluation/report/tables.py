"""The tables of the report."""

from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any

from evaluation.attention import variance_text
from evaluation.faithfulness import ratio_text
from evaluation.report.text import directed, without_folders
from metrics import diversity
from metrics.names import CIDER, HEADINGS
from metrics.official import Scores
from metrics.summary import Summary

_WORDS = 12  # Rows of the most missed words.
_VARIANCE = (
    "Temporal variance: how far the attention moves from word to word; 0: every word looks at the"
    " same places."
)
_FAITHFULNESS = (
    "Faithfulness: how many times as much the log-probability of a word falls when the {hidden} of"
    " {places} places that it looks at most are hidden from it as when {hidden} random ones are;"
    " 1: it does not need what it looks at. With even attention, the same places are hidden while"
    " all weigh alike."
)


def scores(summary: Summary) -> str:
    """Return the corpus scores and their intervals as HTML, x100, with notes below."""
    metrics, unavailable = summary.scores.metrics, summary.scores.unavailable
    rows = [("", "score", "95% interval")]
    for name, heading in HEADINGS.items():
        if name in metrics:
            interval = ""
            if name in summary.intervals:
                low, high = (100 * end for end in summary.intervals[name])
                interval = f"{low:.1f} to {high:.1f}"
            rows.append((heading, f"{100 * metrics[name]:.1f}", interval))
    notes = [
        f"{HEADINGS[name]} is unavailable: {escape(without_folders(reason))}."
        for name, reason in unavailable.items()
    ]
    notes += [f"{escape(note)}." for note in summary.notes()]
    return _table(rows) + "".join(f'<p class="soft">{note}</p>' for note in notes)


def captions(summary: Summary, findings: Mapping[str, Any]) -> str:
    """Return what the captions are like as HTML, beside the references where that is known.

    Args:
        summary: The diversity of the captions.
        findings: What metrics.json holds; `leave_one_out_CIDEr`, `attention`, `pointing` and
            `facts_true` are shown where they are there.

    Returns:
        The table, and below it what the numbers of the attention mean.
    """
    measured = summary.diversity
    rows = [
        ("", "captions", "references"),
        (
            "mean length, words",
            f"{measured.mean_length:.1f}",
            f"{measured.references_mean_length:.1f}",
        ),
        ("different words", f"{measured.words:,}", ""),
        ("share of the references' words", f"{measured.vocabulary_coverage:.1%}", ""),
        ("distinct captions", f"{measured.distinct_captions:.1%}", ""),
        ("repeat 2 words in a row", f"{measured.repeated_2grams:.1%}", ""),
        ("repeat 3 words in a row", f"{measured.repeated_3grams:.1%}", ""),
        ("repeat 4 words in a row", f"{measured.repeated_4grams:.1%}", ""),
    ]
    if compared := findings.get("leave_one_out_CIDEr"):
        caption_cider, reference_cider = compared["captions"], compared["references"]
        rows.append(
            (
                f"{HEADINGS[CIDER]} with one reference fewer",
                f"{100 * caption_cider:.1f}",
                f"{100 * reference_cider:.1f}",
            )
        )
    if measured.bad_endings is not None:
        of_captions, of_references = measured.bad_endings, measured.references_bad_endings or 0.0
        endings = "bad endings (“with a”)"
        rows.insert(2, (endings, f"{of_captions:.1%}", f"{of_references:.1%}"))
    note = ""
    if "attention" in findings:
        of_attention, note = _attention(findings["attention"])
        rows += of_attention
    if pointing := findings.get("pointing"):
        chance = f"(chance {pointing['chance']:.0%})"
        rows.append(("words that look at what they name", f"{pointing['score']:.0%}", chance))
    if "facts_true" in findings:
        rows.append(("claims that are true", f"{findings['facts_true']:.0%}", ""))
    return _table(rows) + (note and f'<p class="soft">{note}</p>')


def _attention(measured: Mapping[str, Any] | None) -> tuple[list[tuple[str, str, str]], str]:
    """Return rows of the attention's numbers, and as HTML what they mean; None: no attention."""
    if measured is None:
        return [("attention", "none", "")], ""
    spread = f"{measured['entropy']:.2f} of {measured['entropy_limit']:.2f} nats"
    rows = [
        ("attention entropy", spread, ""),
        ("attention temporal variance", variance_text(measured), ""),
    ]
    notes = [f"The attention is that of {escape(measured['run'])}."] if "run" in measured else []
    notes.append(_VARIANCE)
    faithfulness = measured["faithfulness"]
    rows += [
        ("attention faithfulness", ratio_text(faithfulness), ""),
        ("with even attention", ratio_text(faithfulness["even"]), ""),
    ]
    notes.append(_FAITHFULNESS.format(**faithfulness))
    return rows, " ".join(notes)


def missed_words(scores: Scores) -> str:
    """Return the words that captions leave out most often as HTML."""
    rows = [("most missed words", "missed", "of images", "")]
    for word, missed, images in diversity.most_missed(scores.hypotheses, scores.references, _WORDS):
        share = f'<span class="meter"><i style="width:{missed / images:.0%}"></i></span>'
        rows.append((directed("bdi", word), f"{missed:,}", f"{images:,}", share))
    note = "Words that at least half of an image's references use and its caption leaves out."
    return f'<div>{_table(rows, html_columns=(0, 3))}<p class="soft">{note}</p></div>'


def _table(rows: Sequence[Sequence[str]], html_columns: Collection[int] = ()) -> str:
    """Return a table of text, its first row the header; some columns may hold HTML of ours."""
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        cells = [text if k in html_columns else escape(text) for k, text in enumerate(row)]
        lines.append("<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>")
    return f"<table>{''.join(lines)}</table>"
