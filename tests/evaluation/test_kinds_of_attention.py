"""What an evaluation says of an attention that moves, of one that does not, and of none."""

import json
from pathlib import Path

import pytest

from captioning.attention_picture import EVERY_WORD
from evaluation.attention import NO_ATTENTION
from tests.support.training import events, run_evaluate, train

pytestmark = pytest.mark.slow  # three trainings

TILE = '<figcaption dir="auto">'  # of attention; the curves of the training have titles, too
NONE = {"attention": "none", "doubly_stochastic": 0}
# Runs that learn little, and yet say sentences of several words.
SHORT = {"encoder_trainable": True, "max_steps": 24, "learning_rate": 2e-2, "epochs": 2}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, scenes_records) -> dict[str, Path]:
    """Train a run with each kind of attention."""
    folder = tmp_path_factory.mktemp("kinds")
    dirs = {kind: folder / kind for kind in ("soft", "static", "none")}
    for kind, run_dir in dirs.items():
        options = SHORT | (NONE if kind == "none" else {"attention": kind})
        gate = ["--nogate"] if kind == "none" else []
        assert train(*gate, records_dir=scenes_records, run_dir=run_dir, **options) == 0
    return dirs


def evaluated(runs, capsys, output: Path, *kinds: str) -> tuple[dict, str, str]:
    """Evaluate runs together; return metrics.json, what was printed, and the report."""
    run_dirs = ",".join(str(runs[kind]) for kind in kinds)
    options = {"output_dir": output / "-".join(kinds), "report": output / "page"}
    assert run_evaluate(run_dir=run_dirs, min_length=4, **options) == 0
    findings = json.loads((options["output_dir"] / "metrics.json").read_text())
    return findings, capsys.readouterr().out, (output / "page" / "index.html").read_text()


@pytest.mark.usefixtures("without_meteor")
def test_each_kind_is_told_from_the_others(runs, capsys, tmp_path):
    soft, out, html = evaluated(runs, capsys, tmp_path, "soft")
    assert soft["attention"]["temporal_variance"] > 1e-9
    assert "pointing" in soft and "run" not in soft["attention"]
    assert "temporal variance 0 (0" not in out and EVERY_WORD not in html.replace("0: every", "")
    assert NO_ATTENTION not in out and "\nfaithfulness " in out
    assert soft["attention"]["faithfulness"].keys() >= {"ratio", "interval", "even"}

    static, out, html = evaluated(runs, capsys, tmp_path, "static")
    assert static["attention"]["temporal_variance"] < 1e-12
    assert "temporal variance 0 (0: every word looks at the same places)" in out
    cards = html.count("<article")
    assert html.count(f"{TILE}{EVERY_WORD}</figcaption>") == html.count(TILE) == cards

    none, out, html = evaluated(runs, capsys, tmp_path, "none")
    assert none["attention"] is None and "pointing" not in none
    assert out.count(NO_ATTENTION) == 1 and "entropy" not in out and "pointing" not in out
    assert "faithful" not in out + html
    assert html.count("<img ") == cards and TILE not in html
    assert "No attention is measured or shown" in html and "entropy" not in html.lower()

    both, out, html = evaluated(runs, capsys, tmp_path, "none", "static")
    assert both["attention"]["run"] == "static"
    assert "attention of static: entropy" in out and "The attention is that of static." in html
    assert html.count(f"{TILE}{EVERY_WORD}</figcaption>") == cards


def test_what_training_logs_and_draws(runs):
    for kind, run_dir in runs.items():
        lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        logged = set().union(*lines)
        of_attention = {"attention_entropy", "temporal_variance", "doubly_stochastic"}
        assert logged & of_attention == (set() if kind == "none" else of_attention)
        names = events(run_dir).keys()
        assert ("val/attention" in names) == (kind != "none")
        assert ("val/images" in names) == (kind == "none")
        assert len(list((run_dir / "samples").glob("*.png"))) == 2
