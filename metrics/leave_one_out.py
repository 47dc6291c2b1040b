"""How captions compare with people's: the CIDEr of both against the same number of references.

A reference that is scored cannot be its own reference, so it meets one reference fewer than a
caption does in the official score, and scores less for that alone. Here a caption meets the same
references as the reference that it is compared with.
"""

from typing import Any, NamedTuple

from metrics.names import CIDER, HEADINGS
from metrics.official import cider_of_tokens
from metrics.tokens import Tokens


class LeaveOneOut(NamedTuple):
    """The CIDEr of captions and of references, both with one reference of each image left out.

    Attributes:
        captions: The CIDEr of the captions; lower than the official one.
        references: The CIDEr of the references that were left out.
        images: Number of images with two references or more. Only they are compared.
        single: Number of the other images.
    """

    captions: float
    references: float
    images: int
    single: int

    def as_json(self) -> dict[str, Any] | None:
        """Return the fields for metrics.json; None where no image can be compared."""
        return self._asdict() if self.images else None

    def as_text(self, stamp: str = "") -> str:
        """Return the line that commands print.

        Args:
            stamp: Ends the line.
        """
        heading = HEADINGS[CIDER]
        if not self.images:
            line = f"{heading} of the references is unknown: no image has two"
        else:
            line = (
                f"{heading} with one reference fewer: captions {self.captions:.2f},"
                f" references {self.references:.2f}"
            )
            if self.single:
                line += f" ({self.single:,} images with a single reference are left out)"
        return f"{line}  {stamp}".rstrip()


def leave_one_out(references: Tokens, hypotheses: Tokens) -> LeaveOneOut:
    """Score the captions and the references against the same references.

    Round k leaves out reference k of every image and computes the CIDEr over all images twice: of
    the captions and of the references that were left out, both against the other references. There
    are as many rounds as the longest list has references; an image with n references leaves out
    number k modulo n, so that every round covers the same images. The results are the means of the
    rounds.

    Args:
        references: Image id -> its reference captions.
        hypotheses: Image id -> a list of its one caption, for the same images.

    Returns:
        The two CIDErs; 0.0 where no image has two references.
    """
    compared = {image: texts for image, texts in references.items() if len(texts) > 1}
    rounds = max((len(texts) for texts in compared.values()), default=0)
    of_captions = of_references = 0.0
    for k in range(rounds):
        others, left_out = {}, {}
        for image, texts in compared.items():
            place = k % len(texts)
            left_out[image] = [texts[place]]
            others[image] = [*texts[:place], *texts[place + 1 :]]
        captions = {image: hypotheses[image] for image in compared}
        of_captions += cider_of_tokens(others, captions)[0] / rounds
        of_references += cider_of_tokens(others, left_out)[0] / rounds
    single = len(references) - len(compared)
    return LeaveOneOut(of_captions, of_references, len(compared), single)
