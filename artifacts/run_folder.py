"""The names of everything that lies in a run's folder. Each name stands here and nowhere else."""

import dataclasses
import os

from records.manifest import VOCABULARY


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """One run on disk.

    Attributes:
        path: The folder, as the user gave it.
    """

    path: str

    @property
    def name(self) -> str:
        """The run's name: the last part of its path."""
        return os.path.basename(os.path.abspath(self.path))

    @property
    def config(self) -> str:
        """Model, recipe and data (`run_config.py`). Written last: it makes the folder a run."""
        return self._inside("config.json")

    @property
    def provenance(self) -> str:
        """The manifest of the records that the run is trained on (`provenance.py`)."""
        return self._inside("records.json")

    @property
    def initial_provenance(self) -> str:
        """The manifests that the weights of --init_run were trained on (`provenance.py`)."""
        return self._inside("init_records.json")

    @property
    def vocabulary(self) -> str:
        """The words, as in the records."""
        return self._inside(VOCABULARY)

    @property
    def frozen(self) -> str:
        """The weights that training does not change: a frozen encoder, or batch statistics."""
        return self._inside("encoder.npz")

    @property
    def checkpoints(self) -> str:
        """The folder of the best weights and of the checkpoints to resume from."""
        return self._inside("checkpoints")

    @property
    def best(self) -> str:
        """The weights of the best validation, without the optimizer."""
        return os.path.join(self.checkpoints, "best.npz")

    def checkpoint(self, step: int) -> str:
        """Return the path of the checkpoint after `step` steps: weights, optimizer and step."""
        return os.path.join(self.checkpoints, f"step-{step:09d}.npz")

    def checkpoint_names(self) -> list[str]:
        """Return the sorted names of what lies in `checkpoints`; none where it is missing."""
        # Listed and not globbed: a run's path may hold characters that a glob would interpret.
        try:
            return sorted(os.listdir(self.checkpoints))
        except FileNotFoundError:
            return []

    @property
    def has_weights(self) -> bool:
        """Whether a training has saved weights in the folder."""
        return any(name.endswith(".npz") for name in self.checkpoint_names())

    @property
    def metrics(self) -> str:
        """Training and validation scalars, one JSON object a line."""
        return self._inside("metrics.jsonl")

    @property
    def events(self) -> str:
        """The same scalars, sample captions and profiles for TensorBoard."""
        return self._inside("events")

    @property
    def samples(self) -> str:
        """Captions and attention of a few validation images after each validation."""
        return self._inside("samples")

    def evaluation(self, subject: str) -> str:
        """Return the folder for an evaluation of `subject`: a split, or a set of images."""
        return os.path.join(self.path, "evaluation", subject)

    @property
    def exists(self) -> bool:
        """Whether a run lies in the folder."""
        return os.path.exists(self.config)

    def _inside(self, name: str) -> str:
        return os.path.join(self.path, name)
