"""What is counted of sampled captions, and when a run is stopped."""

import json

import numpy as np
import pytest

from cli.errors import UserError
from records.vocabulary import END, UNK, Vocabulary
from trainer.self_critical.guards import (
    LIMITS,
    START_STEPS,
    RunawayGuard,
    count_faults,
    unfinished_words,
)

WITH, DOG, RUNS, FAR = 4, 5, 6, 7


def captions_of(*images):
    width = max(len(caption) for image in images for caption in image)
    return np.array([[c + [0] * (width - len(c)) for c in image] for image in images])


@pytest.mark.parametrize(
    ("caption", "faults"),
    [
        ([DOG, RUNS, END], set()),
        ([DOG, RUNS, WITH, END], {"bad_endings"}),
        ([WITH, DOG, END], set()),
        ([DOG, RUNS, FAR, WITH, DOG], {"bad_endings"}),  # is cut
        ([END], {"bad_endings"}),
        ([DOG, DOG, END], {"repeats"}),
        ([DOG, RUNS, DOG, RUNS, END], set()),
        ([DOG, RUNS, FAR, WITH, DOG, RUNS, FAR, END], {"repeats"}),
        ([DOG, RUNS, DOG, RUNS, DOG, END], {"repeats"}),
        ([DOG, UNK, END], {"unknown_words"}),
    ],
)
def test_a_caption_is_counted(caption, faults):
    # Padding to the right changes nothing.
    counts = count_faults(captions_of([caption + [0] * 5]), np.array([WITH]))
    assert {name for name in ("bad_endings", "repeats", "unknown_words") if counts[name]} == faults
    assert counts["mean_length"] == len([word for word in caption if word != END])


def test_captions_are_distinct_within_their_image():
    one, two = [DOG, END], [DOG, RUNS, END]
    counts = count_faults(captions_of([one, one, two], [one, two, [RUNS]]), np.zeros(0))
    assert counts["distinct"] == 2 + 3
    assert counts["bad_endings"] == 1  # the one that is cut


def test_unfinished_words_are_those_of_english():
    words = Vocabulary(["<pad>", "<start>", "<end>", "<unk>", "with", "dog", "a"], [1] * 7)
    assert unfinished_words(words, "en").tolist() == [4, 6]
    assert unfinished_words(words, "fr").tolist() == []


USUAL = {
    "reward": 0.5,
    "bad_endings": 0.02,
    "repeats": 0.05,
    "mean_length": 9.0,
    "distinct": 0.9,
    "unknown_words": 0.1,
    "entropy": 2.0,
}


def watch(guard, scalars, steps, first=1):
    for step in range(first, first + steps):
        guard.check(step, scalars, "best.npz")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reward", 0.1),
        ("bad_endings", 0.4),
        ("repeats", 0.5),
        ("mean_length", 3.0),
        ("mean_length", 25.0),
        ("distinct", 0.1),
        ("unknown_words", 2.0),
        ("entropy", 5.0),
    ],
)
def test_each_value_stops_the_run_when_it_runs_away(name, value):
    guard = RunawayGuard()
    watch(guard, USUAL, START_STEPS + 100)
    with pytest.raises(UserError, match=f"run away: {LIMITS[name].name} .* at the start; the best"):
        watch(guard, USUAL | {name: value}, 300, START_STEPS + 101)


def test_what_self_critical_training_usually_does_is_let_go_on():
    guard = RunawayGuard()
    watch(guard, USUAL, START_STEPS)
    usual = {"reward": 1.0, "entropy": 0.3, "distinct": 0.4, "mean_length": 8.0, "bad_endings": 0.0}
    watch(guard, USUAL | usual, 500)
    watch(guard, USUAL | {"bad_endings": 0.6}, 3)  # an unlucky batch or three


def test_a_negative_reward_may_rise():
    guard = RunawayGuard()
    watch(guard, USUAL | {"reward": -1.0}, START_STEPS)
    watch(guard, USUAL | {"reward": -0.1}, 200)


def test_a_guard_goes_on_from_its_state():
    guard, other = RunawayGuard(), RunawayGuard()
    watch(guard, USUAL, START_STEPS + 7)
    other.state = json.loads(json.dumps(guard.state))
    rising = USUAL | {"bad_endings": 0.25}

    def stopped(guard):
        for step in range(1000):
            try:
                guard.check(step, rising, "")
            except UserError:
                return step
        return None

    assert stopped(guard) == stopped(other) is not None
