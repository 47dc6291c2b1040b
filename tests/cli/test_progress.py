"""The progress bar in a log."""

import contextlib
import io

from cli.progress import bar


def test_progress_is_shown_while_stderr_is_turned_away():
    shown, elsewhere = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(shown), bar(5, "writing", "images") as progress:
        with contextlib.redirect_stderr(elsewhere):
            progress.update(3)
            progress.refresh()
        assert "3 of 5" in shown.getvalue()
    assert not elsewhere.getvalue()
