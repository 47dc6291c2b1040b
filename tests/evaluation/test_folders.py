"""Folders whose names hold what a shell, a glob, a list or UTF-8 would take for something else."""

import json
import os
import shutil

import pytest

from tests.support.training import run_evaluate, train

NAMES = ["lr[1e-3]", "a*b", "what?", "a, b", os.fsdecode(b"caf\xe9")]


@pytest.mark.slow  # Trains a run of its own.
@pytest.mark.usefixtures("without_meteor", "kept_replicas", "idle_steps")
def test_a_chain_in_folders_of_every_name(tmp_path, scenes_records):
    folder = tmp_path.joinpath(*NAMES)
    records, run = folder / NAMES[0] / "records", folder / "-".join(NAMES)
    shutil.copytree(scenes_records, records)
    assert train(records_dir=records, run_dir=run, epochs=1) == 0
    before = os.stat(run / "checkpoints" / "best.npz").st_mtime_ns
    assert train(records_dir=records, run_dir=run, epochs=1) == 0  # finds its run again
    assert os.stat(run / "checkpoints" / "best.npz").st_mtime_ns == before
    report = folder / "report"
    assert run_evaluate(records_dir=records, run_dir=run, report=report, beam_size=1) == 0
    out = run / "evaluation" / "val"
    assert json.loads((out / "metrics.json").read_text())["run"] == run.name
    assert (report / "index.html").exists()
    photos = folder / NAMES[1]
    photos.mkdir()
    for name in NAMES:
        shutil.copy(_one_image(tmp_path), photos / f"{name}.png")
    assert run_evaluate(images=photos, run_dir=run, output_dir=folder / "out", beam_size=1) == 0
    lines = (folder / "out" / "captions.jsonl").read_text().splitlines()
    found = {os.fsencode(json.loads(line)["image"]) for line in lines}
    assert found == {os.fsencode(photos / f"{name}.png") for name in NAMES}


def _one_image(folder) -> str:
    from PIL import Image

    path = folder / "image.png"
    Image.new("RGB", (32, 32), "red").save(path)
    return str(path)
