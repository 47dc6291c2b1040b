"""Train a captioner on records: `python -m trainer.main --flagfile=coco.flags`.

The same command again goes on where it was stopped.
"""

import dataclasses
import hashlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import cli.tensorflow_log  # noqa: F401  before TensorFlow

# isort: split
import keras
import tensorflow as tf
from absl import flags

from artifacts import provenance as contamination
from artifacts import recipe, weights
from artifacts import stored_features as stored
from artifacts.recipe import TrainConfig
from cli import atomic_file
from cli.command import run
from cli.errors import UserError
from model.captioner import Captioner
from records.manifest import VOCABULARY, DatasetInfo, read_vocabulary, to_json
from records.split_files import SplitFiles, open_split
from records.vocabulary import Vocabulary
from trainer import distribution
from trainer.distribution import Cluster
from trainer.input.batches import fit_in_memory, training_batches, validation, validation_samples
from trainer.loop import Loop
from trainer.profiling import Profile
from trainer.stop import STOPPED, Stop, StopRequestedError


def main(values: flags.FlagValues, _rest: list[str]) -> int:
    """Train the run that the flags name; return the exit code."""
    config = recipe.from_flags(values)
    cluster = distribution.join()
    stop = Stop()  # only now: where there are several workers, joining them takes SIGTERM over
    try:
        with cluster.watched():
            return _train(config, recipe.given_flags(values), stop, cluster)
    except StopRequestedError:
        print("stopped before a step was taken: nothing is lost", file=sys.stderr)
        return STOPPED


def _train(config: TrainConfig, given: Mapping[str, Any], stop: Stop, cluster: Cluster) -> int:
    """Run folder -> batches -> loop: its exit code."""
    Profile(config.run_dir, config.profile_steps)  # a wrong one is refused before the work
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    info, train = open_split(config.records_dir, "train")
    config = stored.settled(config, info, given)
    vocabulary = read_vocabulary(config.records_dir)
    captioner, train = open_run(config, info, vocabulary, train, cluster)
    cluster.require_same(_fingerprint(config, info, vocabulary))
    cluster.adopt(captioner.variables)
    leak = contamination.find(info, info, "val")
    if leak:
        print(f"warning: {leak.why}; validation scores are {leak.stamp}", file=sys.stderr)
    cached = fit_in_memory(config, captioner, train)
    batches = training_batches(config, train, captioner, cached, (cluster.worker, cluster.workers))
    validate, samples = None, None
    if cluster.chief:
        validate = validation(config, info, captioner, vocabulary, cached, train.grid)
        samples = validation_samples(config, info, captioner, vocabulary)
    steps = -(-train.records // config.batch_size)
    stamp = leak.stamp if leak else ""
    loop = Loop(config, captioner, batches, validate, steps, stamp, stop, cluster, samples)
    code = loop.run()
    if code == 0 and cluster.chief:
        print(f"done: the best weights are {loop.checkpoints.best_path}")
    return code


def _fingerprint(config: TrainConfig, info: DatasetInfo, vocabulary: Vocabulary) -> int:
    """Of all that makes the steps of a run: the recipe and the records, wherever they lie."""
    places = dict.fromkeys(("records_dir", "run_dir", "cache_memory_mb"), "")
    whole = [dataclasses.asdict(config) | places, info.contents("train"), vocabulary.fingerprint]
    return int.from_bytes(hashlib.sha256(to_json(whole)).digest()[:7])


def open_run(
    config: TrainConfig,
    info: DatasetInfo,
    vocabulary: Vocabulary,
    train: SplitFiles,
    cluster: Cluster,
) -> tuple[Captioner, SplitFiles]:
    """The captioner of the run that lies in --run_dir, or of a new one; what it learns from.

    Call arguments:
        cluster: only its chief reads and writes the folder.

    Raises:
        UsageError: a flag contradicts the run that lies there.
        UserError: the records are not those of the run, their features are of another encoder, or
            the folder cannot be written.
    """
    keras.utils.set_random_seed(config.seed)
    model = config.model(len(vocabulary))
    there = os.path.exists(os.path.join(config.run_dir, "config.json"))
    if not (cluster.chief and there):
        with cluster.strategy.scope():
            captioner = weights.build(model, config.encoder_weights)
        stored.repeat_random_weights(captioner, config, info)
        train = stored.chosen(train, info, captioner.encoder)
        if cluster.chief:
            _start_run(config, model, info, vocabulary, captioner)
        return captioner, train
    earlier = weights.read_config(config.run_dir)
    recipe.refuse_contradictions(earlier["training"], dataclasses.asdict(config))
    if earlier["data"]["vocabulary_fingerprint"] != vocabulary.fingerprint:
        raise UserError(
            f"{config.records_dir}: its vocabulary is not the one that {config.run_dir} was"
            " trained with; give those records or another --run_dir"
        )
    trained = contamination.trained_on(config.run_dir)
    if trained and trained.contents("train") != info.contents("train"):
        raise UserError(
            f"{config.records_dir}: its training images are not those that {config.run_dir} is"
            " trained on; give those records or another --run_dir"
        )
    with cluster.strategy.scope():
        captioner = weights.build(model, "random")
    if captioner.non_trainable_variables:
        try:
            frozen, _ = weights.load(os.path.join(config.run_dir, "encoder.npz"))
            weights.scatter(frozen, captioner.non_trainable_variables)
        except (weights.DamagedError, FileNotFoundError) as error:
            raise UserError(f"{error}; remove {config.run_dir} to train from the start") from None
    return captioner, stored.chosen(train, info, captioner.encoder, earlier["data"])


def _start_run(
    config: TrainConfig,
    model: dict,
    info: DatasetInfo,
    vocabulary: Vocabulary,
    captioner: Captioner,
) -> None:
    """Write the run's folder; config.json last, for with it the folder is a run."""
    content = {
        "model": model,
        "training": dataclasses.asdict(config),
        "data": {
            "dataset": info.dataset,
            "vocabulary_fingerprint": vocabulary.fingerprint,
            "encoder_fingerprint": captioner.encoder.fingerprint(),
            **stored.PREPROCESSED,
        },
    }
    try:
        os.makedirs(config.run_dir, exist_ok=True)
        atomic_file.write(os.path.join(config.run_dir, VOCABULARY), vocabulary.to_tsv().encode())
        if captioner.non_trainable_variables:
            frozen = weights.gather(captioner.non_trainable_variables)
            weights.save(os.path.join(config.run_dir, "encoder.npz"), frozen, {})
        atomic_file.write(os.path.join(config.run_dir, contamination.TRAINED_ON), info.to_bytes())
        atomic_file.write(os.path.join(config.run_dir, "config.json"), to_json(content))
    except OSError as error:
        raise UserError(f"{config.run_dir}: the run cannot be written ({error})") from None


if __name__ == "__main__":
    run(main, recipe.define_flags)
