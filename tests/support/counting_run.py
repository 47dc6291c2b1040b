"""A training run whose steps cost nothing, for tests of the loop around them."""

import json
import signal
import types

import numpy as np
import tensorflow as tf

from artifacts import weights_file
from artifacts.run_folder import RunFolder
from tests.support.training import config
from trainer import loop
from trainer.distribution import one_device
from trainer.input.order import Batch
from trainer.opening.open_run import OpenedRun
from trainer.opening.plan import Plan, wanted_steps
from trainer.stop import Stop
from trainer.validation import Score, Validation

STEPS = 5  # in an epoch


class CountingRun:
    """A run whose training steps and validations only count.

    Attributes:
        steps: (epoch, batch of the epoch) of every step taken, over all calls of `go`.
        scored: The step at each validation.
        plan: How long it trains.
        at_step: Called with the number of each step; what it returns joins the step's scalars.
    """

    def __init__(self, path, monkeypatch, scores=(), **changes):
        path.mkdir()
        self.config = config(run_dir=path, **({"epochs": 4} | changes))
        steps = wanted_steps(self.config, STEPS)
        self.plan = Plan(steps, steps)
        self.scores = dict(enumerate(scores, 1))
        self.steps, self.scored = [], []
        self.at_step = lambda step: None
        monkeypatch.setattr(loop, "build_step", lambda *_: self._step)

    def go(self, validate=True) -> int:
        """Start the command again: with fresh weights, and what earlier calls saved."""
        self.weight = tf.keras.Variable([1.0, 2.0], name="weight")
        encoder = types.SimpleNamespace(trainable_variables=[])
        captioner = types.SimpleNamespace(trainable_variables=[self.weight], encoder=encoder)
        batches = types.SimpleNamespace(epoch=self._batches, steps_per_epoch=STEPS)
        validation = Validation(self._validate) if validate else None
        run = OpenedRun(RunFolder(self.config.run_dir), captioner, None, self.plan)
        before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
        self.loop = loop.Loop(self.config, run, batches, validation, one_device(), Stop())
        try:
            return self.loop.run()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _batches(self, epoch, skip):
        for batch in range(skip, STEPS):
            yield Batch((epoch, batch), np.ones((2, 3, 4), np.int32), np.array([7, 8]))

    def _step(self, inputs, ids):
        self.steps.append(inputs)
        self.loop.optimizer.iterations.assign_add(1)
        self.weight.assign_add([1.0, 1.0])
        names = ("total", "cross_entropy", "gradient_norm", "learning_rate", "words", "captions")
        values = dict.fromkeys(names, 1.0)
        return values | (self.at_step(len(self.steps)) or {})

    def _validate(self):
        self.scored.append(self.loop.position.step)
        score = self.scores.get(self.loop.position.step // STEPS, (0.1, 1.0))
        cider, cross_entropy, *bleu_4 = score
        return Score(cross_entropy, cider, bleu_4=bleu_4[0] if bleu_4 else 0.0)

    def best(self):
        return weights_file.load(self.loop.checkpoints.folder.best)

    def history(self, kind="val"):
        with open(self.loop.history.path) as file:
            lines = [json.loads(line) for line in file]
        return [line["step"] for line in lines if line["kind"] == kind]


def all_steps(epochs=4):
    return [(epoch, batch) for epoch in range(epochs) for batch in range(STEPS)]
