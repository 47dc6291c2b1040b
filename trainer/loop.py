"""The training loop: many steps, a validation after each epoch, and what is saved of them."""

import math
import sys
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from artifacts.checkpoints import Checkpoints
from artifacts.recipe import Recipe
from cli.progress import bar
from model.captioner import Captioner
from trainer.distribution import Cluster
from trainer.guards import LossGuard
from trainer.input.batches import TrainingBatches
from trainer.input.order import Batch
from trainer.logs.history import History, StepWindow
from trainer.logs.profiling import Profile
from trainer.opening.open_run import OpenedRun
from trainer.optimizer import build_optimizer
from trainer.position import Position
from trainer.self_critical.guards import RunawayGuard
from trainer.self_critical.step import Judgement, SelfCriticalStep
from trainer.step import build_step
from trainer.stop import Stop, StopRequestedError
from trainer.validation import Score, Validation, search_name

LOG_STEPS = 50  # between two lines of metrics.jsonl; the end of an epoch has one, too
CHECKPOINT_SECONDS = 300  # between two checkpoints inside an epoch


class Loop:
    """A run from its start, or from its newest checkpoint, to its end.

    Args:
        recipe: The recipe.
        run: The run: its captioner, and how long it is trained.
        batches: What it learns from.
        validation: What it is validated with; None: the last weights are taken for the best. Only
            the chief's is used.
        cluster: The workers that train; only the chief validates, reads and writes.
        stop: Handles SIGTERM.
        sampled: What self-critical training judges captions by; None: people's captions are learnt.

    Attributes:
        position: How far the run is.
        total_steps: Where it ends.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: OpenedRun,
        batches: TrainingBatches,
        validation: Validation | None,
        cluster: Cluster,
        stop: Stop,
        sampled: Judgement | None = None,
    ) -> None:
        self.recipe, self.batches, self.validation = recipe, batches, validation
        self.stamp = validation.stamp if validation else ""
        self.cluster, self.stop = cluster, stop
        self.opened, self.folder, captioner = run, run.folder, run.captioner
        self.position = Position()
        self.total_steps = run.plan.stop
        with cluster.strategy.scope():
            encoder = captioner.encoder.trainable_variables
            steps = run.plan.schedule, batches.steps_per_epoch
            self.optimizer = build_optimizer(recipe, *steps, encoder)
            self.optimizer.build(captioner.trainable_variables)
        variables, keep = captioner.trainable_variables, recipe.keep_checkpoints
        self.checkpoints = Checkpoints(self.folder, variables, self.optimizer, keep, run.id)
        self.training_step = self._build_step(captioner, sampled)
        self.guard = LossGuard("--scst_learning_rate", math.inf) if sampled else LossGuard()
        self.runaway_guard = RunawayGuard() if sampled else None
        self.profile = Profile(self.folder, recipe.profile_steps)

    def _build_step(
        self, captioner: Captioner, sampled: Judgement | None
    ) -> Callable[[Batch], dict[str, tf.Tensor]]:
        if sampled:
            sampling = SelfCriticalStep(
                self.recipe, captioner, self.optimizer, sampled, self.cluster
            )
            return lambda batch: sampling(batch.inputs, np.asarray(batch.image_ids))
        step = build_step(self.recipe, captioner, self.optimizer, self.cluster)
        return lambda batch: step(batch.inputs, batch.ids)

    def run(self) -> int:
        """Train to the end.

        Returns:
            The exit code: 0 done; 75 or 130: SIGTERM or Ctrl-C stopped it after saving.

        Raises:
            UserError: The loss is not a number or explodes, or a file cannot be written.
        """
        if self.cluster.workers > 1:
            self.stop.hold()
        self._restore()
        if self.cluster.chief:
            samples = self.validation.samples if self.validation else None
            self.history = History(self.folder, self.position, samples)
        self._saved_at = time.monotonic()
        try:
            with bar(self.total_steps, "training", "step", self.position.step) as progress:
                self._train(progress)
        except StopRequestedError:
            saved = f"{self._save()} is saved" if self.cluster.chief else "the chief saves it"
            print(
                f"stopped at step {self.position.step:,}: {saved}; run the same command again to"
                " continue",
                file=sys.stderr,
            )
            self.cluster.wait()  # for the chief, who saves
            return self.stop.exit_code
        finally:
            self.profile.close()
        self.cluster.wait()
        return 0

    def _restore(self) -> None:
        """Resume from the chief's newest checkpoint, on every worker."""
        if self.cluster.chief:
            self._restore_from_file()
        position = self.position
        position.step, position.without_better, position.scored = self.cluster.from_chief(
            [position.step, position.without_better, position.scored]
        )
        self.cluster.copy_from_chief([*self.checkpoints.variables, *self.optimizer.variables])
        if position.step:
            print(f"resuming from step {position.step:,} of {self.total_steps:,}", file=sys.stderr)

    def _restore_from_file(self) -> None:
        note = self.checkpoints.restore()
        if not note:
            return
        self.position = Position.from_note(note)
        if self.position.best and not self.checkpoints.best_is_good():
            # Without these the next score counts as the best one.
            step = self.position.step
            scored = min(self.position.scored, step - 1)
            self.position = Position(step, scored=scored, watched=self.position.watched)
        if self.runaway_guard and self.position.watched:
            self.runaway_guard.state = self.position.watched

    def _train(self, progress: tqdm) -> None:
        """Train epoch by epoch, with a validation at the end of each.

        Self-critical training goes on from weights that are good already. They are scored first, so
        that the best weights are never worse.
        """
        unscored = self.position.step == 0 and self.position.best is None
        if self.runaway_guard and any(self.cluster.from_chief([int(unscored)])):
            self._score_on_chief(progress)
        while True:
            if self._at_end_of_epoch() and self.position.scored != self.position.step:
                self._score_on_chief(progress)
            if self.position.step >= self.total_steps or self._patience_spent():
                return
            self._train_epoch(progress)

    def _at_end_of_epoch(self) -> bool:
        step = self.position.step
        return step > 0 and (step % self.batches.steps_per_epoch == 0 or step >= self.total_steps)

    def _patience_spent(self) -> bool:
        spent = 0 < self.recipe.patience <= self.position.without_better
        if spent:
            epochs = self.position.without_better
            print(f"no better score in {epochs} epochs: stopping early")
        return spent

    def _train_epoch(self, progress: tqdm) -> None:
        """Take the steps that are left of an epoch."""
        window = StepWindow()
        epoch, done = divmod(self.position.step, self.batches.steps_per_epoch)
        batches = iter(self.batches.epoch(epoch, skip=done))
        while True:
            with window.waiting():
                batch = next(batches)
            with self.stop.held():
                with self.profile.step(self.position.step + 1):
                    window.add(self._take_step(batch))
                progress.update()
                if self.position.step % LOG_STEPS == 0 or self._at_end_of_epoch():
                    self._log(window.summary(), progress)
                    window = StepWindow()
                if self._at_end_of_epoch():
                    return  # the checkpoint is saved with the score
                due = time.monotonic() - self._saved_at > CHECKPOINT_SECONDS
                if due and self.cluster.chief:
                    self._save()
            self._stop_together()

    def _take_step(self, batch: Batch) -> dict[str, float]:
        scalars = self.training_step(batch)
        values = {name: float(value) for name, value in scalars.items()}
        step, image_ids = self.position.step + 1, np.asarray(batch.image_ids)
        self.guard.check(step, values, image_ids, self.checkpoints)
        if self.runaway_guard and self.cluster.chief:
            self.runaway_guard.check(step, values, self.folder.best)
            self.position.watched = self.runaway_guard.state
        self.position.step = step
        return values

    def _log(self, summary: dict[str, float], progress: tqdm) -> None:
        if self.cluster.chief:
            self.history.write("train", self.position.step, summary)
        learnt = (
            f"reward {summary['reward']:.3f} entropy {summary['entropy']:.2f}"
            f" bad endings {summary['bad_endings']:.1%}"
            if self.runaway_guard
            else f"loss {summary['cross_entropy']:.3f} perplexity {summary['perplexity']:.1f}"
        )
        progress.set_postfix_str(
            f"{learnt} {summary['captions_per_second']:.0f} captions/s"
            f" {summary['input_wait']:.0%} waiting for input"
        )

    def _stop_together(self) -> None:
        """Stop all workers at the same step when one of them was asked to stop."""
        if self.cluster.workers > 1 and self.cluster.any_worker(self.stop.requested):
            raise StopRequestedError

    def _score_on_chief(self, progress: tqdm) -> None:
        """Score on the chief while the other workers wait."""
        if self.cluster.workers == 1:
            self._score(progress)
            return
        self._stop_together()
        if self.cluster.chief:
            with self.stop.released():
                self._score(progress)
        self.position.without_better, self.position.scored = self.cluster.from_chief(
            [self.position.without_better, self.position.scored]
        )
        self._stop_together()

    def _score(self, progress: tqdm) -> None:
        """Validate, keep the best weights, save a checkpoint."""
        epoch = -(-self.position.step // self.batches.steps_per_epoch)
        score = None
        # Before the best weights, which must not lie there alone, and before the time that a
        # validation takes.
        with self.stop.held():
            self._save()
            self.optimizer.show_averages(True)  # until the next `_save`
        if self.validation:
            progress.clear()
            score = self.validation.score()
        with self.stop.held():
            if score:
                self.history.write("val", self.position.step, score.scalars(), self.stamp)
            best = self.position.end_epoch(epoch, score, self.recipe.validation_metric)
            if best:
                self.checkpoints.save_best(best)
            self._save()
            if score:  # last: a full disk must not cost the checkpoint
                self._report(epoch, score, best is not None, progress)

    def _report(self, epoch: int, score: Score, better: bool, progress: tqdm) -> None:
        line = f"epoch {epoch}: val perplexity {score.scalars()['perplexity']:.2f}"
        line += f", {search_name(self.recipe.validation_beam)} CIDEr {100 * score.cider:.1f}"
        line += " (best)" if better else ""
        progress.write(f"{line}  {self.stamp}".rstrip())
        self.history.show(self.position.step, score.samples)

    def _save(self) -> str:
        self.optimizer.show_averages(False)  # A signal may have ended the validation.
        path = self.checkpoints.save(self.position.step, self.position.note())
        self._saved_at = time.monotonic()
        self.opened.note_step(self.position.step, self.batches.steps_per_epoch)
        return path
