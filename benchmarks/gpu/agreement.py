"""Part 2: whether a GPU computes what a CPU computes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import cli.start_tensorflow  # noqa: F401, before TensorFlow
from benchmarks import train_work as work
from benchmarks.gpu.measure import add_row

NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}


def gradients(images: int) -> None:
    """Compare the loss and every gradient of the plain step with the CPU's, in float32.

    Args:
        images: in the batch.
    """
    import tensorflow as tf

    from captioning import devices

    first = devices.devices()[0]
    decoder = work.decoder_config("S", True, "float32")
    batch = work.batch("S", images=images)
    reference_loss, reference = _loss_and_gradients("/CPU:0", decoder, batch, False)
    for tf32 in (False, True):
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
        loss, found = _loss_and_gradients(first, decoder, batch, True)
        errors = {
            name: float(np.linalg.norm(found[name] - value) / max(np.linalg.norm(value), 1e-12))
            for name, value in reference.items()
        }
        worst = max(errors, key=lambda name: errors[name])
        add_row(
            f"plain step under XLA on {first[-5:]} against CPU, {'TF32' if tf32 else 'float32'}",
            loss_off=abs(loss / reference_loss - 1),
            worst_gradient_off=errors[worst],
            worst=worst,
            median_off=float(np.median(list(errors.values()))),
        )


def _loss_and_gradients(
    device: str, config: Any, batch: work.Batch, whole: bool
) -> tuple[float, dict[str, np.ndarray]]:
    """Return the loss and the gradients of all weights, which a seed decides."""
    import keras
    import tensorflow as tf

    from artifacts.recipe import Recipe
    from benchmarks.train_cases import FeaturesOnly
    from model.definition.decoder import Decoder
    from trainer.optimizer import build_optimizer
    from trainer.step import Replica

    with tf.device(device):
        decoder = Decoder(config)
        rng = np.random.default_rng(1)  # Keras' initializers draw otherwise on each device
        for weight in decoder.weights:
            weight.assign(rng.normal(0, 0.05, weight.shape).astype(np.float32))
        recipe = Recipe(dropout=0.5, doubly_stochastic=0.01)
        captioner: Any = FeaturesOnly(decoder, plain=True)
        optimizer = build_optimizer(recipe, 10)
        replica = Replica(recipe, captioner, optimizer)

        def differentiate(features: tf.Tensor, ids: tf.Tensor) -> Any:
            with tf.device(device):
                return replica.differentiate(features, ids, tf.constant([1, 2]))

        compiled = tf.function(differentiate, autograph=False, jit_compile=whole)
        losses, found = compiled(tf.constant(batch.features), tf.constant(batch.ids))
    variables: list[keras.Variable] = decoder.trainable_variables
    named = zip(variables, found, strict=True)
    return float(losses.total), {v.path: np.asarray(gradient) for v, gradient in named}


def evaluation(run_dir: str, records_dir: str, work_dir: str) -> None:
    """Evaluate a run by its own command, on the GPU and on the CPU, and compare the captions.

    One of the evaluations is killed once and run again.

    Args:
        run_dir: the run.
        records_dir: its records.
        work_dir: folder for the outputs.
    """
    shutil.rmtree(work_dir, ignore_errors=True)
    command = [sys.executable, "-m", "evaluation.main", f"--run_dir={run_dir}"]
    command += [f"--records_dir={records_dir}", "--split=val", "--allow_leak"]
    kinds = {
        "cpu": (["--caption_precision=float32"], NO_GPU),
        "float32": (["--caption_precision=float32"], {}),
        "bfloat16": (["--caption_precision=bfloat16"], {}),
    }
    processes = {
        kind: _start([*command, *flags, f"--output_dir={work_dir}/{kind}"], more)
        for kind, (flags, more) in kinds.items()
    }
    for kind, process in processes.items():
        output = process.communicate()[0]
        if process.returncode:
            add_row(f"evaluation failed: {kind}", code=process.returncode, output=output[-1500:])
            return
        said = [line for line in output.splitlines() if line.startswith("captioning on")]
        add_row(f"evaluation, {kind}", says=said, cider=_cider(f"{work_dir}/{kind}"))
    reference = _captions(f"{work_dir}/cpu")
    for kind in ("float32", "bfloat16"):
        _compare(f"captions on GPU in {kind} against CPU in float32", kind, work_dir, reference)
    _killed([*command, "--caption_precision=float32", "--part_images=32"], work_dir)
    _compare("captions of the killed evaluation against CPU", "killed", work_dir, reference)


def _start(command: list[str], more: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | more,
        start_new_session=True,
    )


def _killed(command: list[str], work_dir: str) -> None:
    """Kill an evaluation once some parts are written, and run it again."""
    folder = Path(work_dir) / "killed"
    command = [*command, f"--output_dir={folder}"]
    process = _start(command, {})
    deadline = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < deadline:
        if len(list(folder.glob("parts/*/part-*.jsonl"))) >= 2:
            break
        time.sleep(0.02)
    finished = process.poll() is not None
    os.killpg(process.pid, signal.SIGKILL) if not finished else None
    process.communicate()
    parts = len(list(folder.glob("parts/*/part-*.jsonl")))
    again = _start(command, {})
    output = again.communicate()[0]
    said = [line for line in output.splitlines() if "captioned already" in line]
    add_row(
        "evaluation killed and run again",
        finished_before_the_kill=finished, parts_before=parts, code=again.returncode, says=said,
    )  # fmt: skip


def _captions(folder: str) -> dict[int, str]:
    (path,) = Path(folder).glob("captions_*_results.json")
    return {entry["image_id"]: entry["caption"] for entry in json.loads(path.read_text())}


def _cider(folder: str) -> float:
    return float(json.loads((Path(folder) / "metrics.json").read_text())["metrics"]["CIDEr"])


def _compare(case: str, kind: str, work_dir: str, reference: dict[int, str]) -> None:
    captions = _captions(f"{work_dir}/{kind}")
    same = sum(captions.get(image) == caption for image, caption in reference.items())
    add_row(
        case,
        same=f"{same} of {len(reference)}",
        cider=100 * _cider(f"{work_dir}/{kind}"),
        cider_cpu=100 * _cider(f"{work_dir}/cpu"),
    )
