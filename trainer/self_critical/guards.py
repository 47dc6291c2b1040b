"""What is watched of the captions that self-critical training samples, and what stops it.

A reward is an incomplete judge: captions can run after it and away from what people write. So every
step counts what CIDEr-D hardly sees. The run stops where these counts are far from what they were
at its start; the best weights by validation are kept.
"""

from typing import Any, NamedTuple

import numpy as np

from cli.errors import UserError
from metrics.diversity import UNFINISHED
from records.language import is_english
from records.vocabulary import END, START, UNK, Vocabulary

# What a step counts over its sampled captions; it is logged as means over captions.
SUMS = ("reward", "bad_endings", "repeats", "mean_length", "distinct", "unknown_words")

START_STEPS = 10  # whose mean is the start of the run; more would hide a run that spoils them
_KEPT = 0.98  # share of the mean that a step keeps: it remembers about 50 steps


class Limit(NamedTuple):
    """How far a value may go from what it was at the start."""

    name: str  # for messages
    unit: str  # format of the value
    low: float | None = None  # times its value at the start; None: however far
    high: float | None = None  # likewise
    slack: float = 0.0  # is added to `high` times the value


LIMITS = {
    "reward": Limit("the reward", ".2f", low=0.5),
    "bad_endings": Limit("captions that end in the middle", ".1%", high=1.5, slack=0.1),
    "repeats": Limit("captions that repeat words", ".1%", high=1.5, slack=0.1),
    "mean_length": Limit("words a caption", ".1f", low=0.6, high=1.6),
    "distinct": Limit("distinct captions of an image", ".1%", low=0.2),
    "unknown_words": Limit("unknown words a caption", ".2f", high=1.5, slack=0.2),
    "entropy": Limit("the entropy in nats a word", ".2f", high=1.5, slack=0.2),
}


def unfinished_words(vocabulary: Vocabulary, language: str) -> np.ndarray:
    """Return the ids of words that no complete caption ends in; none where it is not English.

    Args:
        vocabulary: The words of the model.
        language: Tag of their language.
    """
    words = enumerate(vocabulary.words) if is_english(language) else ()
    return np.array([number for number, word in words if word in UNFINISHED], int)


def count_faults(captions: np.ndarray, unfinished: np.ndarray) -> dict[str, float]:
    """Count what is watched, but for the reward.

    Args:
        captions: [B, N, T] int: words, `<end>` where a caption has one, then 0.
        unfinished: Ids of words that no complete caption ends in.

    Returns:
        Sums over the captions: `bad_endings` (it ends in such a word, has no word, or no `<end>`
        within the most words), `repeats` (a word twice in a row, or three words in a row twice),
        `mean_length` (words), `distinct` (its image has it for the first time), `unknown_words`.
    """
    images, samples, width = captions.shape
    rows = captions.reshape(images * samples, width)
    words = np.where(rows == END, 0, rows)
    lengths = np.count_nonzero(words, 1)
    last = np.take_along_axis(words, np.maximum(lengths - 1, 0)[:, None], 1)[:, 0]
    ended = (rows == END).any(1)
    bad = ~ended | (lengths == 0) | np.isin(last, unfinished)
    owned = np.concatenate([np.repeat(np.arange(images), samples)[:, None], rows], 1)
    return {
        "bad_endings": float(bad.sum()),
        "repeats": float(_repeats(words).sum()),
        "mean_length": float(lengths.sum()),
        "distinct": float(len(np.unique(owned, axis=0))),
        "unknown_words": float(np.isin(words, (UNK, START)).sum()),
    }


def _repeats(words: np.ndarray) -> np.ndarray:
    """Tell of captions [H, T] whether they have a word twice in a row, or three words twice."""
    twice = ((words[:, 1:] == words[:, :-1]) & (words[:, 1:] != 0)).any(1)
    if words.shape[1] < 4:
        return twice
    triples = np.stack([words[:, :-2], words[:, 1:-1], words[:, 2:]], -1)
    same = (triples[:, :, None] == triples[:, None]).all(-1)
    same &= np.triu(np.ones(same.shape[1:], bool), 1)
    return twice | (same & (triples[:, :, None] != 0).all(-1)).any((1, 2))


class RunawayGuard:
    """Remembers what captions were like at the start of a run, and stops it when they run away."""

    def __init__(self) -> None:
        self._steps = 0
        self._start: dict[str, float] = {}
        self._recent: dict[str, float] = {}

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: a guard with this state goes on as this one does."""
        return {"steps": self._steps, "start": dict(self._start), "recent": dict(self._recent)}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._steps = state["steps"]
        self._start, self._recent = dict(state["start"]), dict(state["recent"])

    def check(self, step: int, scalars: dict[str, float], best: str) -> None:
        """Check one step.

        Args:
            step: The step, counted from 1.
            scalars: What the training step returned.
            best: Path of the best weights, for the message.

        Raises:
            UserError: The captions have run away.
        """
        self._steps += 1
        values = {name: scalars[name] for name in LIMITS}
        if self._steps <= START_STEPS:
            for name, value in values.items():
                mean = self._start.get(name, 0.0)
                self._start[name] = mean + (value - mean) / self._steps
            self._recent = dict(self._start)
            return
        for name, value in values.items():
            self._recent[name] = _KEPT * self._recent[name] + (1 - _KEPT) * value
        faults = [fault for name in LIMITS if (fault := self._fault(name))]
        if faults:
            raise UserError(
                f"step {step}: the captions run away: {'; '.join(faults)}; the best weights by"
                f" validation are kept in {best}; begin again in another --run_dir with a lower"
                " --scst_learning_rate"
            )

    def _fault(self, name: str) -> str | None:
        """Say what is wrong with a value; None where nothing is."""
        limit, start, recent = LIMITS[name], self._start[name], self._recent[name]
        # A reward below 0 at the start says nothing about how far it may fall.
        too_low = limit.low is not None and start > 0 and recent < limit.low * start
        too_high = limit.high is not None and recent > limit.high * start + limit.slack
        if not too_low and not too_high:
            return None
        return f"{limit.name} {recent:{limit.unit}}, {start:{limit.unit}} at the start"
