"""Flags of the machine: memory, files and profiles."""

import dataclasses

from cli.flags import flag


@dataclasses.dataclass(frozen=True)
class MachineFlags:
    """What a training takes of its machine. Every field is a flag."""

    cache_memory_mb: int = flag(
        4096,
        "Memory in MB that the features of a frozen encoder may take, or the decoded images where"
        " the encoder is trained or images are augmented; 0 or more. What does not fit is computed,"
        " read or decoded again in every epoch.",
        at_least=0,
    )
    accumulate_steps: int = flag(
        1,
        "Pieces in which a batch of --batch_size images is computed, 1 or more: one after another,"
        " in the memory that a piece takes. Their gradients are added up, so the step is that of"
        " the whole batch.",
        at_least=1,
    )
    shuffle_mb: int = flag(
        512,
        "Size in MB of the window of encoded records that are shuffled together, 1 or more.",
        at_least=1,
    )
    keep_checkpoints: int = flag(
        3, "Checkpoints to keep for resuming, beside the best weights; 1 or more.", at_least=1
    )
    profile_steps: str = flag(
        "",
        "First and last step to profile for TensorBoard, as in 100:110; empty profiles none.",
    )
