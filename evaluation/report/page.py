"""The report of an evaluation: one HTML page that needs no network, no script and no other file.

Captions and file names come from users. The page therefore escapes all of them, and its
Content-Security-Policy forbids it to load anything.
"""

import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from artifacts.run_folder import RunFolder
from cli import atomic_file
from cli.errors import UserError
from evaluation.report import figures, tables
from evaluation.report.gallery import Gallery
from metrics.summary import Summary

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


def refuse_unwritable(folder: str) -> None:
    """Make the report's folder before the work starts, so that no hours of work are lost.

    Args:
        folder: Where the page will be written.

    Raises:
        UserError: The folder cannot be made or cannot be written to.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--report={folder}: no folder can be made there: {error.strerror or error};"
            " name another folder"
        ) from None
    if not os.access(folder, os.W_OK):
        raise UserError(
            f"--report={folder}: the folder cannot be written to; change its permissions or name"
            " another folder"
        )


def write(folder: str, html: str) -> str:
    """Write a page as index.html.

    Args:
        folder: Where it goes.
        html: The page, from `render`.

    Returns:
        The path of the file.

    Raises:
        UserError: The file cannot be written.
    """
    path = os.path.join(folder, "index.html")
    try:
        atomic_file.sweep(folder)
        atomic_file.write(path, html.encode("utf-8", "replace"))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written: {error.strerror or error}; free space or name another"
            " folder with --report"
        ) from None
    return path


def render(findings: Mapping[str, Any], summary: Summary, gallery: Gallery, run: RunFolder) -> str:
    """Return the page as HTML.

    Args:
        findings: What metrics.json holds: what was evaluated and how, and what is known of
            attention and of drawn scenes.
        summary: The scores, their intervals, and the diversity of the captions.
        gallery: The captions that are shown with their pictures.
        run: The run whose training curves are shown.

    Returns:
        The whole document.
    """
    title = f"{findings['run']} on {findings['dataset']} {findings['split']}"
    scores = summary.scores
    body = [
        f"<h1>{escape(title)}</h1>",
        _evaluated(findings),
        '<div class="side"><section>',
        f"<h2>Scores</h2>{tables.scores(summary)}",
        "</section><section>",
        f"<h2>The captions</h2>{tables.captions(summary, findings)}",
        "</section></div>",
        figures.training(run),
        f'<div lang="{escape(str(findings.get("language", "")))}">',  # Of the captions.
        "<h2>Words</h2>",
        f'<div class="side">{figures.lengths(scores)}{tables.missed_words(scores)}</div>',
        *gallery.html(),
        "</div>",
    ]
    return _PAGE.format(
        title=escape(title),
        style=Path(__file__).with_name("report.css").read_text(encoding="utf-8"),
        body="\n".join(body),
    )


def _evaluated(findings: Mapping[str, Any]) -> str:
    """Return what was evaluated and how as HTML, and the warning of a contaminated split."""
    search = ", ".join(f"{name} {value}" for name, value in findings["search"].items())
    counts = f"{findings['images']:,} of {findings['listed']:,} images"
    stamp = findings["contamination"]
    computed = findings["captioning"]
    where = f"captioned in {computed['precision']}"
    if computed["devices"]:
        where += f" on {' and '.join(computed['devices'])}"
    return f'<p class="soft">{counts}; {escape(search)}; {escape(where)}</p>' + (
        f'<p class="stamp">{escape(stamp)}: seen in training</p>' if stamp else ""
    )
