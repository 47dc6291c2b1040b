"""Part 6: `python -m trainer.main` with its own input pipeline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean

from benchmarks.gpu.measure import add_row, alone

ENCODER = "nasnet_mobile"


def training(name: str, inputs: str, work_dir: str, steps: int, flags: list[str]) -> None:
    """Train, and tell how fast the last quarter was and how long it waited for input.

    Args:
        name: what is trained.
        inputs: folder of `benchmarks.gpu.prepare`.
        work_dir: folder for the run.
        steps: training steps.
        flags: more flags of the training; `{inputs}` stands for the folder.
    """
    run_dir = f"{work_dir}/{name.replace(' ', '-')}"
    command = [
        *(sys.executable, "-m", "trainer.main", f"--run_dir={run_dir}", f"--max_steps={steps}"),
        *(f"--encoder={ENCODER}", f"--encoder_weights={inputs}/{ENCODER}.weights.h5"),
        *(flag.format(inputs=inputs) for flag in flags),
    ]
    with alone():
        began = time.perf_counter()
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
        )
        seconds = time.perf_counter() - began
    if done.returncode:
        add_row(f"training failed: {name}", code=done.returncode, output=done.stdout[-1500:])
        return
    lines = map(json.loads, (Path(run_dir) / "metrics.jsonl").read_text().splitlines())
    windows = [line for line in lines if line["kind"] == "train"]
    last = [window for window in windows if window["step"] > steps * 3 // 4] or windows[-1:]
    add_row(
        f"trainer.main, {name}, {steps} steps",
        captions_per_s=max(window["captions_per_second"] for window in last),
        captions_per_s_mean=mean(window["captions_per_second"] for window in last),
        waiting_for_input=mean(window["input_wait"] for window in last),
        seconds=seconds,
        loss_last=windows[-1]["cross_entropy"],
        by_window=[round(window["captions_per_second"]) for window in windows],
    )
