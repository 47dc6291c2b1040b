"""The training loop: many steps, an epoch's validation, and what is kept of it."""

import sys
import time
from collections.abc import Callable

import numpy as np

from artifacts.checkpoints import Checkpoints
from artifacts.recipe import Recipe
from artifacts.run_folder import RunFolder
from cli.progress import bar
from metrics.names import CIDER
from model.captioner import Captioner
from trainer.distribution import Cluster, alone
from trainer.guards import LossGuard
from trainer.history import History, Window
from trainer.input.batches import Batches
from trainer.input.order import Batch
from trainer.optimizer import build_optimizer
from trainer.profiling import Profile
from trainer.samples import Samples
from trainer.step import build_step
from trainer.stop import STOPPED, Stop, StopRequestedError
from trainer.validation import Validation

LOG_STEPS = 50
CHECKPOINT_SECONDS = 300


class Loop:
    """A run from its first or last step to its end.

    Attributes:
        val_stamp: what every validation says of itself (CONTAMINATED n%), "" for nothing.
        step: batches done, of `total_steps`.
        best: {"epoch", "step", "CIDEr", "cross_entropy"} of the best validation, or None.
        without_better: epochs since then.
        scored: the step of the last validation.
        cluster: the workers that train; the chief alone validates, reads and writes.
    """

    def __init__(
        self,
        config: Recipe,
        captioner: Captioner,
        batches: Batches,
        validate: Callable[[], Validation] | None,
        steps_per_epoch: int,
        val_stamp: str = "",
        stop: Stop | None = None,
        cluster: Cluster | None = None,
        samples: Samples | None = None,
    ):
        self.cluster = cluster or alone()
        self.config, self.batches, self.validate = config, batches, validate
        self.steps_per_epoch, self.val_stamp = steps_per_epoch, val_stamp
        self.total_steps = config.max_steps or config.epochs * steps_per_epoch
        with self.cluster.strategy.scope():
            self.optimizer = build_optimizer(config, self.total_steps)
            self.optimizer.build(captioner.trainable_variables)
        self.checkpoints = Checkpoints(
            RunFolder(config.run_dir),
            captioner.trainable_variables,
            self.optimizer,
            config.keep_checkpoints,
        )
        self.step_function = build_step(config, captioner, self.optimizer, self.cluster)
        self.step, self.best, self.without_better, self.scored = 0, None, 0, 0
        self.guard, self.stop, self.samples = LossGuard(), stop or Stop(), samples
        self.profile = Profile(config.run_dir, config.profile_steps)

    def run(self) -> int:
        """Train to the end.

        Returns: the exit code: 0 done, 75 stopped by SIGTERM after saving.

        Raises:
            UserError: the loss is no number or explodes, or a checkpoint cannot be written.
        """
        if self.cluster.workers > 1:
            self.stop.hold()
        self._restore()
        if self.cluster.chief:
            self.history = History(self.config.run_dir, self.step, self.samples)
        self._saved_at = time.monotonic()
        try:
            with bar(self.total_steps, "training", "step", self.step) as progress:
                while True:
                    if self._at_end_of_epoch() and self.scored != self.step:
                        self._score_of_chief(progress)
                    if self.step >= self.total_steps or self._patience_spent():
                        break
                    self._epoch(progress)
        except StopRequestedError:
            saved = f"{self._save()} is saved" if self.cluster.chief else "the chief saves it"
            print(f"stopped at step {self.step:,}: {saved}", file=sys.stderr)
            self.cluster.wait()  # for the chief, who saves
            return STOPPED
        finally:
            self.profile.close()
        self.cluster.wait()
        return 0

    def _restore(self) -> None:
        if self.cluster.chief:
            self._restore_from_file()
        self.step, self.without_better, self.scored = self.cluster.from_chief(
            [self.step, self.without_better, self.scored]
        )
        self.cluster.adopt([*self.checkpoints.variables, *self.optimizer.variables])
        if self.step:
            print(f"going on from step {self.step:,} of {self.total_steps:,}", file=sys.stderr)

    def _restore_from_file(self) -> None:
        note = self.checkpoints.restore()
        if not note:
            return
        self.step, self.best = note["step"], note["best"]
        self.without_better, self.scored = note["without_better"], note.get("scored", self.step)
        if self.best and not self.checkpoints.best_is_good():
            self.best, self.without_better, self.scored = None, 0, 0  # the next score is the best

    def _at_end_of_epoch(self) -> bool:
        return self.step > 0 and (
            self.step % self.steps_per_epoch == 0 or self.step >= self.total_steps
        )

    def _patience_spent(self) -> bool:
        spent = 0 < self.config.patience <= self.without_better
        if spent:
            print(f"no better score in {self.without_better} epochs: stopping early")
        return spent

    def _epoch(self, progress) -> None:
        """The steps that are left of an epoch."""
        window = Window()
        batches = iter(self.batches(*divmod(self.step, self.steps_per_epoch)))
        while True:
            with window.waiting():
                batch = next(batches)
            with self.stop.held():
                with self.profile.step(self.step + 1):
                    self._step(batch, window)
                progress.update()
                if self.step % LOG_STEPS == 0:
                    self._log(window.summary(), progress)
                    window = Window()
                if self._at_end_of_epoch():
                    return  # saved when it is scored
                due = time.monotonic() - self._saved_at > CHECKPOINT_SECONDS
                if due and self.cluster.chief:
                    self._save()
            self._stop_together()

    def _step(self, batch: Batch, window: Window) -> None:
        scalars = self.step_function(batch.inputs, batch.ids)
        values = {name: float(value) for name, value in scalars.items()}
        self.guard.check(self.step + 1, values, np.asarray(batch.image_ids), self.checkpoints)
        self.step += 1
        window.add(values)

    def _log(self, summary: dict[str, float], progress) -> None:
        if self.cluster.chief:
            self.history.write("train", self.step, summary)
        progress.set_postfix_str(
            f"loss {summary['cross_entropy']:.3f}"
            f" perplexity {summary['perplexity']:.1f}"
            f" {summary['captions_per_second']:.0f} captions/s"
            f" {summary['input_wait']:.0%} waiting for input"
        )

    def _stop_together(self) -> None:
        """Workers stop at the same step, whichever of them was asked to."""
        if self.cluster.workers > 1 and self.cluster.any(self.stop.requested):
            raise StopRequestedError

    def _score_of_chief(self, progress) -> None:
        """The other workers wait for the chief's score."""
        if self.cluster.workers == 1:
            return self._score(progress)
        self._stop_together()
        if self.cluster.chief:
            with self.stop.released():
                self._score(progress)
        self.without_better, self.scored = self.cluster.from_chief(
            [self.without_better, self.scored]
        )
        return self._stop_together()

    def _score(self, progress) -> None:
        """Validate, keep the best, save."""
        epoch = -(-self.step // self.steps_per_epoch)
        if self.validate:
            progress.clear()
            score = self.validate()
            better = self._is_better(score)
        else:
            score, better = None, True  # nothing to choose by: the last is taken
        with self.stop.held():
            if score:
                values = score.scalars()
                self.history.write("val", self.step, values, self.val_stamp)
            self.without_better, self.scored = self.without_better + 1, self.step
            if better:
                self.best, self.without_better = {"epoch": epoch, "step": self.step}, 0
                if score:
                    self.best |= {CIDER: score.cider, "cross_entropy": score.cross_entropy}
                self.checkpoints.save_best(self.best)
            self._save()
            if score:  # last: a full disk must not cost the checkpoint
                said = f"val perplexity {values['perplexity']:.2f}, greedy CIDEr"
                said += f" {100 * score.cider:.1f}{' (best)' if better else ''}"
                progress.write(f"epoch {epoch}: {said}  {self.val_stamp}".rstrip())
                self.history.show(self.step, score.samples)

    def _is_better(self, score: Validation) -> bool:
        if self.best is None:
            return True
        best = self.best[CIDER], -self.best["cross_entropy"]
        return (score.cider, -score.cross_entropy) > best

    def _save(self) -> str:
        note = {
            "step": self.step,
            "best": self.best,
            "without_better": self.without_better,
            "scored": self.scored,
        }
        path = self.checkpoints.save(self.step, note)
        self._saved_at = time.monotonic()
        return path
