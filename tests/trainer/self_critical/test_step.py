"""The self-critical step: its captions are the policy's, its gradient that of the mean reward."""

import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.caption_generator import draw
from model.definition import forcing
from model.search.rules import Rules
from records.vocabulary import END, PAD, START
from tests.support.captioner import small_captioner, some_features
from tests.support.commands import run_process
from tests.support.training import config
from trainer.self_critical.step import Judgement, SelfCriticalStep
from trainer.step import Replica

WORDS = 5  # <pad> <start> <end> and two more
LONGEST = 2  # words of a caption, its end counted
NO_PENALTIES = {"dropout": 0.0, "doubly_stochastic": 0.0, "l2": 0.0, "clip_norm": 1e9}


def captioner_of(precision="float32"):
    """Return a captioner of so few words that all captions can be enumerated."""
    captioner = small_captioner(vocabulary_size=WORDS, precision=precision)
    bias = captioner.decoder.output_logits.bias
    # Padding is never said, as in a trained model: no caption has it.
    bias.assign(tf.tensor_scatter_nd_update(bias, [[PAD]], [-50.0]))
    return captioner


def all_captions() -> np.ndarray:
    """Return every caption of up to `LONGEST` words, [C, LONGEST]."""
    said = [w for w in range(WORDS) if w != PAD]
    rows = [[END, PAD], *([a, b] for a, b in itertools.product(said, said) if a != END)]
    return np.array(rows)


def rewards_of(captions: np.ndarray) -> np.ndarray:
    """Return an arbitrary reward of captions [..., T], unlike for any two of them."""
    return np.sin(1 + 3.0 * captions[..., 0] + 7.0 * captions[..., 1] ** 2)


def with_start(captions: np.ndarray) -> tf.Tensor:
    ids = np.pad(captions, [*[(0, 0)] * (captions.ndim - 1), (1, 0)], constant_values=START)
    return tf.constant(ids, tf.int32)


def exact_gradient(captioner, features) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the gradient of the mean reward over all captions, and their probabilities."""
    captions = all_captions()
    variables = captioner.trainable_variables
    with tf.GradientTape() as tape:
        forced = forcing.teacher_force(captioner.decoder, features, with_start(captions)[None])
        # `losses` is -log p; `nll` has no gradient.
        probabilities = tf.exp(-tf.reduce_sum(forced.losses, 0))[0]
        mean = tf.reduce_sum(probabilities * tf.constant(rewards_of(captions), tf.float32))
    gradients = tape.gradient(mean, variables)
    return [tf.convert_to_tensor(g).numpy() for g in gradients], probabilities.numpy()


@pytest.mark.parametrize("plain", [False, True])
def test_the_expected_gradient_is_that_of_the_mean_reward(plain):
    """Over all pairs of captions, each as often as it is sampled."""
    captioner, features = captioner_of(), some_features(1)
    captioner.plain = plain
    expected, probabilities = exact_gradient(captioner, features)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    captions = all_captions()
    pairs = np.array(list(itertools.product(range(len(captions)), repeat=2)))
    both = captions[pairs]  # [P, 2, T]
    often = probabilities[pairs].prod(1) * len(pairs)
    rewards = rewards_of(both)
    advantages = rewards - rewards[:, ::-1]  # of two samples the other is the baseline
    replica = Replica(
        config(**NO_PENALTIES | {"dropout": 0.5, "label_smoothing": 0.1}),
        captioner,
        keras.optimizers.SGD(),
    )
    _, gradients = replica.differentiate(
        tf.repeat(features, len(pairs), 0),
        with_start(both),
        tf.zeros([2], tf.int32),
        advantages=tf.constant(advantages * often[:, None], tf.float32),
    )
    for gradient, exact, variable in zip(
        gradients, expected, captioner.trainable_variables, strict=True
    ):
        np.testing.assert_allclose(-gradient.numpy(), exact, atol=2e-5, err_msg=variable.path)
    assert max(np.abs(exact).max() for exact in expected) > 0.05


def test_captions_are_drawn_as_often_as_they_are_likely():
    captioner, features = captioner_of(), some_features(1)
    _, probabilities = exact_gradient(captioner, features)
    count = 20_000
    seeds = tf.constant([[1, 2]], tf.int64)
    drawn = draw(captioner, features, Rules(START, END, max_length=LONGEST), seeds, count).ids[0]
    codes = {tuple(caption): number for number, caption in enumerate(all_captions())}
    found = np.bincount([codes[tuple(row)] for row in drawn.numpy()], minlength=len(codes))
    spread = np.sqrt(probabilities * (1 - probabilities) / count)
    assert np.all(np.abs(found / count - probabilities) < 5 * spread + 1e-6)


def stepped(captioner, features, samples, seed=1, **changes):
    """Take one step of plain gradient descent; return the change of the weights and the scalars."""
    recipe = config(stage="scst", scst_samples=samples, seed=seed, **NO_PENALTIES, **changes)
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build(captioner.trainable_variables)
    before = [variable.numpy() for variable in captioner.trainable_variables]
    judgement = Judgement(lambda _, captions: rewards_of(captions), np.array([3]), LONGEST)
    step = SelfCriticalStep(recipe, captioner, optimizer, judgement)
    scalars = {name: float(value) for name, value in step(features, np.array([7])).items()}
    return [
        v.numpy() - old for v, old in zip(captioner.trainable_variables, before, strict=True)
    ], scalars


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_climbs_the_mean_reward(precision):
    captioner, features = captioner_of(precision), some_features(1)
    expected, probabilities = exact_gradient(captioner, features)
    moved, scalars = stepped(captioner, features, 8_000)
    flat, exact = (np.concatenate([a.ravel() for a in arrays]) for arrays in (moved, expected))
    assert flat @ exact / np.linalg.norm(flat) / np.linalg.norm(exact) > 0.98
    assert np.linalg.norm(flat) == pytest.approx(np.linalg.norm(exact), rel=0.15)
    captions = all_captions()
    assert scalars["reward"] == pytest.approx(probabilities @ rewards_of(captions), abs=0.05)
    lengths = (captions != PAD).sum(1)
    nats = -probabilities @ np.log(probabilities) / (probabilities @ lengths)
    assert scalars["entropy"] == pytest.approx(nats, rel=0.05)
    assert scalars["captions"] == 8_000


def test_a_step_depends_on_seed_and_number_alone():
    def moved(seed, steps=1):
        captioner = captioner_of()
        return [stepped(captioner, some_features(1), 6, seed)[1] for _ in range(steps)][-1]

    assert moved(1) == moved(1)
    assert moved(1)["reward"] != moved(2)["reward"]


def test_an_image_alone_in_its_batch_and_among_others_gets_the_same_captions():
    captioner = captioner_of()
    seen = []

    def watched(image_ids, captions):
        seen.append({i: c.tolist() for i, c in zip(image_ids.tolist(), captions, strict=True)})
        return rewards_of(captions)

    optimizer = keras.optimizers.SGD(0.0)
    optimizer.build(captioner.trainable_variables)
    step = SelfCriticalStep(
        config(stage="scst", scst_samples=6, **NO_PENALTIES),
        captioner,
        optimizer,
        Judgement(watched, np.zeros(0), LONGEST),
    )
    step(some_features(3)[:1], np.array([70]))
    optimizer.iterations.assign(0)
    step(some_features(3), np.array([70, 71, 72]))
    step(some_features(3), np.array([70, 71, 72]))
    assert seen[0][70] == seen[1][70]
    assert seen[1][70] != seen[1][71]
    assert seen[2] != seen[1]  # another step, other captions
    for captions in seen[1].values():  # the longest first
        lengths = np.count_nonzero(captions, 1).tolist()
        assert lengths == sorted(lengths, reverse=True)


def test_two_devices_learn_as_one_does():
    done = run_process("-m", "tests.trainer.self_critical.two_devices")
    assert done.returncode == 0, done.stderr
    apart = json.loads(done.stdout.splitlines()[-1])
    assert apart["replicas"] == 2
    assert min(apart["rewards"]) > 0
    assert apart["weights"] < 1e-5
    assert apart["scalars"] < 1e-4
