"""The training loop: many steps, an epoch's validation, and what is kept of it."""

import signal
import sys
import time
from collections.abc import Callable

import numpy as np

from model.captioner import Captioner
from records.errors import UserError
from records.progress import bar
from trainer.batches import Batches
from trainer.checkpoints import Checkpoints
from trainer.config import TrainConfig
from trainer.history import History, Window
from trainer.optimizer import build_optimizer
from trainer.step import build_step
from trainer.validation import Validation

LOG_STEPS = 50
CHECKPOINT_SECONDS = 300
STOPPED = 75  # the exit code after SIGTERM: saved, run the same command to go on


class _StopRequestedError(Exception):
    """SIGTERM came; the loop saves and ends."""


class Loop:
    """A run from its first or last step to its end.

    Attributes:
        val_stamp: what every validation says of itself (CONTAMINATED n%), "" for nothing.
        step: batches done, of `total_steps`.
        best: {"epoch", "step", "CIDEr", "cross_entropy"} of the best validation, or None.
        without_better: epochs since then.
    """

    def __init__(
        self,
        config: TrainConfig,
        captioner: Captioner,
        batches: Batches,
        validate: Callable[[], Validation] | None,
        steps_per_epoch: int,
        val_stamp: str = "",
    ):
        self.config, self.batches, self.validate = config, batches, validate
        self.steps_per_epoch, self.val_stamp = steps_per_epoch, val_stamp
        self.total_steps = config.max_steps or config.epochs * steps_per_epoch
        self.optimizer = build_optimizer(config, self.total_steps)
        self.optimizer.build(captioner.trainable_variables)
        self.checkpoints = Checkpoints(
            config.run_dir, captioner.trainable_variables, self.optimizer
        )
        self.step_function = build_step(config, captioner, self.optimizer)
        self.step, self.best, self.without_better = 0, None, 0
        self._stop = False

    def run(self) -> int:
        """Train to the end.

        Returns: the exit code: 0 done, 75 stopped by SIGTERM after saving.

        Raises:
            UserError: the loss is no number any more, or a checkpoint cannot be written.
        """
        note = self.checkpoints.restore()
        if note:
            self.step, self.best = note["step"], note["best"]
            self.without_better = note["without_better"]
            print(f"going on from step {self.step:,} of {self.total_steps:,}", file=sys.stderr)
        self.history = History(self.config.run_dir, self.step)
        self._saved_at = time.monotonic()
        signal.signal(signal.SIGTERM, self._on_sigterm)
        try:
            with bar(self.total_steps, "training", "step", self.step) as progress:
                while self.step < self.total_steps and not self._patience_spent():
                    self._epoch(progress)
        except _StopRequestedError:
            print(f"stopped at step {self.step:,}: {self._save()} is saved", file=sys.stderr)
            return STOPPED
        return 0

    def _on_sigterm(self, *_) -> None:
        self._stop = True

    def _patience_spent(self) -> bool:
        spent = 0 < self.config.patience <= self.without_better
        if spent:
            print(f"no better score in {self.without_better} epochs: stopping early")
        return spent

    def _epoch(self, progress) -> None:
        epoch, skip = divmod(self.step, self.steps_per_epoch)
        window = Window()
        for batch in self.batches(epoch, skip):
            scalars = self.step_function(batch.inputs, batch.ids)
            values = {name: float(value) for name, value in scalars.items()}
            self.step += 1
            if not np.isfinite(values["total"] + values["gradient_norm"]):
                raise self._not_finite(values)
            window.add(values, int(np.sum(np.any(batch.ids != 0, -1))))
            progress.update()
            if self.step % LOG_STEPS == 0:
                summary = window.summary()
                rate = self.optimizer.learning_rate
                self.history.write("train", self.step, {**summary, "learning_rate": rate})
                progress.set_postfix_str(
                    f"loss {summary['cross_entropy']:.3f}"
                    f" perplexity {summary['perplexity']:.1f}"
                    f" {summary['captions_per_second']:.0f} captions/s"
                )
                window = Window()
            if self.step >= self.total_steps or self.step % self.steps_per_epoch == 0:
                break  # saved when it is scored: going on from here would miss the score
            if self._stop:
                raise _StopRequestedError
            if time.monotonic() - self._saved_at > CHECKPOINT_SECONDS:
                self._save()
        self._end_of_epoch(epoch, progress)
        if self._stop and self.step < self.total_steps:
            raise _StopRequestedError

    def _end_of_epoch(self, epoch: int, progress) -> None:
        if self.validate:
            progress.clear()
            score = self.validate()
            values = {
                "CIDEr": score.cider,
                "cross_entropy": score.cross_entropy,
                "perplexity": np.exp(score.cross_entropy),
            }
            self.history.write("val", self.step, values, self.val_stamp)
            better = self.best is None or (score.cider, -score.cross_entropy) > (
                self.best["CIDEr"],
                -self.best["cross_entropy"],
            )
            progress.write(
                f"epoch {epoch + 1}: val perplexity {values['perplexity']:.2f}, greedy CIDEr"
                f" {100 * score.cider:.1f}{' (best)' if better else ''}  {self.val_stamp}".rstrip()
            )
            self.without_better += 1
        else:
            score, better = None, True  # nothing to choose by: the last is taken
        if better:
            self.best, self.without_better = {"epoch": epoch + 1, "step": self.step}, 0
            if score:
                self.best |= {"CIDEr": score.cider, "cross_entropy": score.cross_entropy}
            self.checkpoints.save_best(self.best)
        self._save()

    def _save(self) -> str:
        note = {"step": self.step, "best": self.best, "without_better": self.without_better}
        path = self.checkpoints.save(self.step, note)
        self._saved_at = time.monotonic()
        return path

    def _not_finite(self, values: dict[str, float]) -> UserError:
        good = next(iter(self.checkpoints.newest()), None)
        rate = float(np.asarray(self.optimizer.learning_rate))
        return UserError(
            f"step {self.step}: the loss is {values['total']}, the gradient's norm"
            f" {values['gradient_norm']} at learning rate {rate:.2g}; lower --learning_rate or"
            f" --clip_norm; the last good checkpoint is {good or 'none: it broke before the first'}"
        )
