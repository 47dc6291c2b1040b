"""Export a run as a bundle: `python -m serving.export --run_dir=RUN --output_dir=BUNDLE`.

A bundle captions anywhere: in TensorFlow Serving, in `python -m serving.server` with TensorFlow or
without it, and on a phone. It holds one run, its search and its golden images, everything in
float32, and is written whole or not at all.
"""

import importlib.util
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cli.start_tensorflow  # noqa: F401  before TensorFlow

# isort: split
import numpy as np
import tensorflow as tf
from absl.flags import FlagValues

from artifacts import restore, run_config
from artifacts.restore import Restored
from artifacts.run_folder import RunFolder
from captioning import run_search
from captioning.search_options import BeamSearch
from cli import atomic_file, flags
from cli.command import run
from cli.errors import UsageError, UserError
from records import joining
from serving.bundle import golden, layout
from serving.bundle.golden import Golden
from serving.exporting import (
    card,
    card_text,
    golden_images,
    lite,
    reference,
    saved_model,
    score,
    trial,
)
from serving.exporting.fresh import is_readable
from serving.exporting.golden_images import GoldenImage
from serving.exporting.graph import ExportedCaptioner
from serving.exporting.options import ExportOptions
from serving.exporting.verify import verify

_WARMUP_IMAGES = 2
_PACKAGES = ("tensorflow_serving", "ai_edge_litert", "ai_edge_quantizer")


def define_flags(values: FlagValues) -> None:
    """Declare the flags of this command.

    Args:
        values: Where to declare them.
    """
    for options in (ExportOptions, BeamSearch):
        flags.define(options, values)


def main(values: FlagValues, _rest: list[str]) -> None:
    """Write the bundle.

    Args:
        values: Parsed flags.
    """
    options = flags.read(ExportOptions, values)
    options.check()
    _require_packages()
    run_dirs, configs = run_config.read_all(options.run_dir)
    if len(run_dirs) > 1:
        raise UsageError(
            f"--run_dir={options.run_dir}: a bundle holds one run, and these are {len(run_dirs)};"
            " name one"
        )
    search, _ = run_search.of_runs(run_dirs, configs, flags.given(BeamSearch, values))
    search = options.with_n_best(search)
    output = os.path.realpath(options.output_dir)
    _refuse_other_folder(output, options.output_dir)
    if options.records_dir:
        score.check(options)
    try:
        os.makedirs(os.path.dirname(output), exist_ok=True)
        atomic_file.sweep(os.path.dirname(output))
        with atomic_file.create_folder(output) as folder:
            _write(folder, run_dirs[0], search, options)
    except FileExistsError as error:
        raise UserError(
            f"--output_dir={options.output_dir}: {error.filename} is a file; give the folder of the"
            " bundle"
        ) from None
    except (OSError, tf.errors.OpError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
        raise UserError(
            f"--output_dir={options.output_dir}: the bundle cannot be written: {reason}; free space"
            " there or give another folder"
        ) from None
    print(
        f"bundle: {options.output_dir}\n"
        f"what it is: {os.path.join(options.output_dir, layout.CARD_TEXT)}\n"
        f"next: python -m serving.server --bundle={shlex.quote(options.output_dir)}"
    )


def _require_packages() -> None:
    """Refuse to work without what only the extra `serve` installs."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"the export needs {' and '.join(missing)}, not installed: run `pip install '.[serve]'`"
            " in the folder of this program"
        )


def _refuse_other_folder(output: str, named: str) -> None:
    """Refuse to replace what is no bundle."""
    if not os.path.lexists(output):
        return
    if not os.path.isdir(output):
        raise UserError(f"--output_dir={named}: a file; give the folder of the bundle")
    if others := layout.others(output):
        raise UserError(
            f"--output_dir={named}: a folder with other things than a bundle in it, as {others[0]};"
            " give a new folder, or take them out"
        )


def _write(folder: str, run_dir: str, search: BeamSearch, options: ExportOptions) -> None:
    """Write all files of a bundle into an empty folder."""
    weights = restore.digest(run_dir)
    images = golden_images.collect(options.golden, reference.input_size(run_dir))
    golden_folder = os.path.join(folder, layout.GOLDEN)
    golden_images.write(images, golden_folder)
    print(f"captioning {len(images)} golden images with {run_dir} in float32", flush=True)
    replica, captioned = golden_images.captions(run_dir, images, golden_folder, search)
    restored = replica.restored[0]
    _write_model(folder, run_dir, restored, search, options, images)
    content = card.describe(run_dir, restored, search, options)
    if weights != content["run"]["weights"]:
        raise UserError(f"{run_dir}: the weights were replaced just now; run again")
    content["lite"] = {}
    _write_card(folder, content, captioned)
    captioned, content["lite"] = trial.of_lite(folder, run_dir, search, options, captioned)
    _write_card(folder, content, captioned)
    if options.verify:
        verify(folder, captioned, {image.file: image.origin for image in images}, _say)


def _write_model(
    folder: str,
    run_dir: str,
    restored: Restored,
    search: BeamSearch,
    options: ExportOptions,
    images: list[GoldenImage],
) -> None:
    """Write the two models, and the words that their ids mean."""
    vocabulary = restore.read_vocabulary(run_dir)
    pairs = [joining.bits(word) for word in vocabulary.words]
    ends, begins = np.array(pairs, np.int32).T
    exported = ExportedCaptioner(restored, vocabulary.words, ends, begins, search)
    print("writing the SavedModel", flush=True)
    readable = [image.content for image in images if is_readable(image.content)]
    saved_model.write(exported, os.path.join(folder, layout.SAVED_MODEL), readable[:_WARMUP_IMAGES])
    print(f"writing model.tflite ({options.quantize})", flush=True)
    lite.write(exported, os.path.join(folder, layout.LITE_MODEL), options.quantize)
    texts = {
        layout.VOCABULARY: Path(RunFolder(run_dir).vocabulary).read_bytes(),
        layout.JOINS: joining.to_tsv(vocabulary.words).encode(),
        layout.BATCHING: saved_model.BATCHING_CONFIG.encode(),
    }
    for name, content in texts.items():
        Path(folder, name).write_bytes(content)


def _write_card(folder: str, content: Mapping[str, Any], captioned: list[Golden]) -> None:
    Path(folder, layout.GOLDEN_CAPTIONS).write_text(golden.to_json(captioned), "utf-8")
    text = card_text.text(content) if content["lite"] else "not complete\n"
    Path(folder, layout.CARD_TEXT).write_text(text, "utf-8")
    card.write(folder, content)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    run(main, define_flags)
