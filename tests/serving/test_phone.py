"""The examples for phones give the captions of the bundle."""

import json
import re
import subprocess
import sys

import pytest

from records import joining
from records.vocabulary import END, PAD
from tests.support.commands import ROOT

EXAMPLES = ROOT / "docs" / "android"


def test_the_example_in_python_gives_the_golden_captions(four_bundle):
    golden = json.loads((four_bundle / "golden" / "golden.json").read_text())
    for entry in golden[:2]:
        image = four_bundle / "golden" / entry["file"]
        done = subprocess.run(
            [sys.executable, EXAMPLES / "caption.py", four_bundle, image],
            capture_output=True,
            text=True,
            check=True,
        )
        lines = [line.split("\t") for line in done.stdout.splitlines()]
        expected = [(caption["text"], caption["score"]) for caption in entry["captions"]]
        assert [text for _, text in lines] == [text for text, _ in expected]
        # Pillow decodes a JPEG a little differently from TensorFlow.
        printed = [float(score) for score, _ in lines]
        assert printed == pytest.approx([score for _, score in expected], abs=0.05)


def test_the_examples_know_the_contract():
    constants = {"END": END, "TIBETAN": joining.TIBETAN}
    kotlin = dict(re.findall(r"const val (\w+) = (\d+)", (EXAMPLES / "Captioner.kt").read_text()))
    assert {name: int(kotlin[name]) for name in (*constants, "PAD")} == constants | {"PAD": PAD}
    assert "END, TIBETAN = 2, 1" in (EXAMPLES / "caption.py").read_text()
    assert (END, joining.TIBETAN, joining.TSHEG) == (2, 1, "\u0f0b")
