"""Train a captioner on records: `python -m trainer.main --flagfile=coco.flags`.

A run that was stopped continues when the same command is given again.
"""

import dataclasses
import hashlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import cli.start_tensorflow  # noqa: F401  before TensorFlow

# isort: split
import tensorflow as tf
from absl.flags import FlagValues

from artifacts import provenance, weights_file
from artifacts.provenance import TrainedOn
from artifacts.recipe import Recipe
from artifacts.run_folder import RunFolder
from captioning import run_search
from captioning.search_options import BeamSearch
from cli import flags, paths, process_lock
from cli.command import run
from metrics.names import CIDER
from records.canonical_json import to_json
from records.language import ENGLISH
from records.manifest import DatasetInfo, read_vocabulary
from records.split_files import SplitFiles, open_split
from records.vocabulary import Vocabulary
from trainer import distribution
from trainer.distribution import Cluster
from trainer.input import augment
from trainer.input.batches import TrainingBatches
from trainer.input.feature_cache import fits_in_memory
from trainer.logs.profiling import Profile
from trainer.loop import Loop
from trainer.opening.initial_weights import adopt_model
from trainer.opening.inputs import adopt_stored_encoder
from trainer.opening.open_run import OpenedRun, open_run
from trainer.opening.plan import Plan
from trainer.opening.precision import settle
from trainer.optimizer import warmup_remark
from trainer.self_critical.guards import unfinished_words
from trainer.self_critical.reward import References, Reward
from trainer.self_critical.step import Judgement
from trainer.stop import Stop, StopRequestedError
from trainer.validation import open_validation, search_name
from trainer.workers.tf_config import Task, parse_tf_config


def define_flags(values: FlagValues) -> None:
    """Declare the flags of this command.

    Args:
        values: Where to declare them.
    """
    for options in (Recipe, BeamSearch):  # The run keeps how to search.
        flags.define(options, values)


def main(values: FlagValues, _rest: list[str]) -> int:
    """Train as the flags say.

    Args:
        values: Parsed flags.

    Returns:
        The exit code: 0 done; 75 or 130: SIGTERM or Ctrl-C stopped it after saving.
    """
    recipe = flags.read(Recipe, values)
    recipe.require("records_dir", "run_dir")
    recipe.require_trained_encoder(recipe.peak_learning_rate)
    paths.require_local("records_dir", recipe.records_dir)
    paths.require_local("run_dir", recipe.run_dir)
    Profile(RunFolder(recipe.run_dir), recipe.profile_steps)  # refuses a wrong value at once
    task = parse_tf_config(os.environ.get("TF_CONFIG", ""))
    given = flags.given(Recipe, values) | flags.given(BeamSearch, values)
    if task.worker > 0:  # the chief alone writes into the run's folder
        return _join_and_train(recipe, given, task)
    with process_lock.only_process(recipe.run_dir, "training", "give another --run_dir"):
        return _join_and_train(recipe, given, task)


def _join_and_train(recipe: Recipe, given: Mapping[str, Any], task: Task) -> int:
    """Train with the other workers, if there are any; returns the exit code."""
    stop = Stop()
    try:
        cluster = distribution.join(task)
        with cluster.watched():
            info, train = open_split(recipe.records_dir, "train", recipe.max_train_images)
            recipe = adopt_stored_encoder(adopt_model(recipe, given), given, info)
            recipe = settle(recipe, cluster)
            return _open_and_train(recipe, given, info, train, stop, cluster)
    except StopRequestedError:
        print("stopped before the first step: nothing is lost", file=sys.stderr)
        return stop.exit_code


def _open_and_train(
    recipe: Recipe,
    given: Mapping[str, Any],
    info: DatasetInfo,
    train: SplitFiles,
    stop: Stop,
    cluster: Cluster,
) -> int:
    """Open the run and train it, if anything is left to do; returns the exit code."""
    if recipe.deterministic:
        tf.config.experimental.enable_op_determinism()
    vocabulary = read_vocabulary(recipe.records_dir)
    opened = open_run(recipe, given, info, vocabulary, train, cluster)
    if cluster.chief:
        opened = opened._replace(config=run_search.keep(opened.folder, given, info))
    cluster.require_same(_fingerprint(recipe, info, vocabulary))
    (finished,) = cluster.from_chief([int(opened.finished is not None)])
    if finished:
        print(f"{recipe.run_dir} is finished: {opened.finished or 'the chief says so'}")
        code = 0
    else:
        code = _train(opened, recipe, info, vocabulary, stop, cluster)
    if code == 0 and cluster.chief:
        print(f"done: the best weights are {_describe_best(recipe)}")
    return code


def _describe_best(recipe: Recipe) -> str:
    """Return the path of the best weights, their epoch, and their score where there is one."""
    best = RunFolder(recipe.run_dir).best
    note, search = weights_file.load_note(best), search_name(recipe.validation_beam)
    score = f", {search} CIDEr {100 * note[CIDER]:.1f}" if CIDER in note else ""
    return f"{best} (epoch {note['epoch']}{score})"


def _train(
    opened: OpenedRun,
    recipe: Recipe,
    info: DatasetInfo,
    vocabulary: Vocabulary,
    stop: Stop,
    cluster: Cluster,
) -> int:
    """Make the run's batches and run the loop; returns the exit code."""
    captioner, train = opened.captioner, opened.train
    cluster.copy_from_chief(captioner.variables)
    opened = opened._replace(plan=Plan(*cluster.from_chief(list(opened.plan))))
    for remark in (_images_remark(recipe, info), warmup_remark(recipe, opened.plan.schedule)):
        if cluster.chief and remark:
            print(remark)
    own = TrainedOn(info, recipe.max_train_images)
    leak = provenance.find_contamination([own, *opened.trained_on], info, "val")
    if leak:
        print(f"warning: {leak.why}; validation scores are {leak.stamp}", file=sys.stderr)
    cached = fits_in_memory(recipe, captioner, train)
    flips = recipe.augment and augment.looks_english(vocabulary)
    if recipe.augment and cluster.chief:
        print(augment.remark(flips, recipe.encoder_trainable))
    batches = TrainingBatches(recipe, train, captioner, cached, cluster.share, flips)
    validation = None
    if cluster.chief and opened.config:
        validation = open_validation(
            recipe,
            opened.config.search,
            info,
            captioner,
            vocabulary,
            cached=cached,
            grid=train.grid,
            stamp=leak.stamp if leak else "",
        )
    sampled = None
    if recipe.self_critical:
        references = References.read(batches.texts(), vocabulary, recipe.records_dir)
        sampled = Judgement(
            Reward(references, recipe.scst_bleu_weight),
            unfinished_words(vocabulary, info.flags.language or ENGLISH),
            run_search.longest(info),
        )
    return Loop(recipe, opened, batches, validation, cluster, stop, sampled).run()


def _images_remark(recipe: Recipe, info: DatasetInfo) -> str | None:
    """Return a line on how many of the images --max_train_images takes; None without the flag."""
    wanted, images = recipe.max_train_images, info.splits["train"].total("images")
    if wanted <= images:
        return f"training on the first {wanted:,} of {images:,} images" if wanted else None
    return f"--max_train_images={wanted}: the training split has {images:,} images: all are taken"


def _fingerprint(recipe: Recipe, info: DatasetInfo, vocabulary: Vocabulary) -> int:
    """Hash all that decides the steps of a run: the recipe and the records, wherever they lie."""
    places = dict.fromkeys(("records_dir", "run_dir", "cache_memory_mb"), "")
    content = {
        "recipe": dataclasses.asdict(recipe) | places,
        "images": info.content_hashes("train", recipe.max_train_images),
        "vocabulary": vocabulary.fingerprint,
    }
    return int.from_bytes(hashlib.sha256(to_json(content)).digest()[:7])


if __name__ == "__main__":
    run(main, define_flags)
