"""card.json: what a bundle is, for programs. `card_text.py` writes the same for people."""

import glob
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artifacts import provenance, restore
from artifacts.restore import Restored
from artifacts.run_folder import RunFolder
from captioning.search_options import BeamSearch
from cli import processor
from records.canonical_json import to_json
from records.schema import SPLITS
from serving.bundle import layout
from serving.exporting.options import ExportOptions

_SEARCH = ("beam_size", "n_best", "length_penalty", "no_repeat_ngram", "min_length", "max_words")
# What metrics.json and the card share.
_KEYS = ("dataset", "images", "language", "search", "contamination", "metrics", "intervals")


def describe(
    run_dir: str, restored: Restored, search: BeamSearch, options: ExportOptions
) -> dict[str, Any]:
    """Return the card of a run's bundle, without what is only known of its files.

    Args:
        run_dir: The run.
        restored: Its captioner.
        search: The search that is fixed in the bundle.
        options: The flags of the export.
    """
    folder, config, captioner = RunFolder(run_dir), restored.config, restored.captioner
    height, width, _ = captioner.encoder.spec.grid
    name = os.fsencode(folder.name).decode(errors="replace")
    metrics = _metrics(folder)
    return {
        "format": layout.FORMAT,
        "name": name,
        "input_size": captioner.encoder.spec.size,
        "grid": [height, width],
        "attends": captioner.decoder.config.attends,
        "encoder": captioner.encoder.name,
        "search": {name: getattr(search, name) for name in _SEARCH},
        "quantize": options.quantize,
        "licence": options.licence or None,
        "run": {
            "id": config.id,
            "step": restored.note["step"],
            "epoch": restored.note["epoch"],
            "weights": restore.digest(run_dir),
        },
        "data": _data(folder),
        "metrics": metrics or None,
        "contaminated": sorted({m["contamination"] for m in metrics.values()} - {None}),
        "machine": processor.describe(),
    }


def write(folder: str, card: Mapping[str, Any]) -> None:
    """Write card.json, which holds the hashes of all other files in the folder.

    Args:
        folder: The bundle.
        card: What `describe` returned, and `lite`.
    """
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    files = {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": _sha256(path),
        }
        for path in sorted(paths)
        if path != Path(folder, layout.CARD)
    }
    content = {**card, "files": files, "fingerprint": layout.fingerprint(files)}
    # What is read again is what the checksum is of: a tuple is then a list.
    content = json.loads(to_json(content))
    content = content | {"checksum": layout.checksum(content)}
    Path(folder, layout.CARD).write_bytes(to_json(content))


def _data(folder: RunFolder) -> dict[str, Any] | None:
    """Return what the run was trained on; None where it does not tell."""
    trained_on = provenance.read_all(folder)
    if trained_on is None:
        return None
    info, max_images = trained_on[0]
    train = info.splits["train"]
    images = train.total("images")
    return {
        "dataset": info.dataset,
        "language": info.flags.language,
        "images": min(images, max_images) if max_images else images,
        "vocabulary": info.vocabulary_size,
        "leaks": info.leaks,
        "initial": [initial.info.dataset for initial in trained_on[1:]],
    }


def _metrics(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Return the scores of the run's evaluations by split, those of other weights left out."""
    metrics = {}
    weights = [restore.digest(folder.path)]
    for split in SPLITS:
        evaluation = folder.evaluation(split)
        try:
            scores = json.loads(Path(evaluation, "metrics.json").read_text("utf-8"))
            jobs = [
                json.loads(Path(path).read_text("utf-8"))
                for path in glob.glob(os.path.join(glob.escape(evaluation), "parts/*/job.json"))
            ]
        except (OSError, ValueError):
            continue
        same = [
            job
            for job in jobs
            if job.get("weights") == weights
            and all(job.get(name) == value for name, value in scores.get("search", {}).items())
        ]
        if same:
            kept = {key: scores.get(key) for key in _KEYS}
            metrics[split] = kept | {"precision": same[-1].get("precision")}
    return metrics


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
