"""Flags of the stages of training, and of the self-critical one."""

import dataclasses

from cli.flags import flag

CROSS_ENTROPY, SELF_CRITICAL = STAGES = ("cross_entropy", "scst")


@dataclasses.dataclass(frozen=True)
class SelfCriticalFlags:
    """What is learnt from: people's captions, or rewards of sampled ones. Every field is a flag."""

    stage: str = flag(
        CROSS_ENTROPY,
        "What training learns from: `cross_entropy` from people's captions, word by word; `scst`"
        " (self-critical training) from captions that it samples, each rewarded by its CIDEr-D."
        " scst goes on from --init_run, has a learning rate of its own, --scst_learning_rate,"
        " applies --dropout to the features of a frozen encoder alone, and has no label smoothing.",
        choices=STAGES,
    )
    scst_learning_rate: float = flag(
        5e-5,
        "With --stage=scst: Adam's learning rate in place of --learning_rate, 0 or more.",
        at_least=0.0,
    )
    scst_temperature: float = flag(
        0.5,
        "With --stage=scst: temperature that the captioner is trained at, above 0 to 1; its logits"
        " are divided by it once, before the first step, which leaves the likeliest words as they"
        " are. Below 1 fewer words are drawn by chance; a captioner that was trained with"
        " --label_smoothing needs that.",
        at_least=1e-2,
        at_most=1.0,
    )
    scst_samples: int = flag(
        5,
        "With --stage=scst: captions sampled of each image (N), 2 or more; each is compared with"
        " the mean reward of the others.",
        at_least=2,
    )
    scst_bleu_weight: float = flag(
        0.0,
        "With --stage=scst: weight of a caption's BLEU-4 (0 to 1), which is added to its CIDEr-D (0"
        " to 10) in the reward, 0 or more.",
        at_least=0.0,
    )

    @property
    def self_critical(self) -> bool:
        """Whether this is self-critical training."""
        return self.stage == SELF_CRITICAL
