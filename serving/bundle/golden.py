"""Golden images: what a bundle must say of them, wherever it runs."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from serving.bundle.runtime import Caption

# Captions whose scores differ by less may change places: engines round differently.
_TIE = 1e-3


class GoldenCaption(NamedTuple):
    """A caption that a golden image must get; as in `runtime.Caption`."""

    text: str
    words: tuple[str, ...]
    score: float

    @classmethod
    def of(cls, caption: "Caption") -> Self:
        """Return a caption without its attention."""
        return cls(caption.text, caption.words, caption.score)


class Golden(NamedTuple):
    """A golden image with its captions, the best first.

    Attributes:
        file: The name of the image file in the folder `golden`.
        captions: Those of the run in float32.
        lite: Those of a quantised model.tflite; None where it is not quantised.
    """

    file: str
    captions: tuple[GoldenCaption, ...]
    lite: tuple[GoldenCaption, ...] | None = None

    def expected(self, runtime: str) -> tuple[GoldenCaption, ...]:
        """Return the captions that a runtime must give.

        Args:
            runtime: Its name.
        """
        return self.lite if self.lite is not None and runtime == "litert" else self.captions


def difference(
    expected: Sequence[GoldenCaption], captions: Sequence["GoldenCaption | Caption"]
) -> str | None:
    """Tell how captions differ from those that were expected.

    Args:
        expected: What the image must get.
        captions: What it got.

    Returns:
        Both captions where they differ first; None where they are the same.
    """
    if sorted(caption.text for caption in expected) == sorted(c.text for c in captions) and all(
        abs(mine.score - other.score) < _TIE for mine, other in zip(expected, captions, strict=True)
    ):
        return None
    for place in range(max(len(expected), len(captions))):
        wanted, got = (
            f"{of[place].text!r} ({of[place].score:.4f})" if place < len(of) else "no caption"
            for of in (expected, captions)
        )
        if wanted != got:
            return f"expected {wanted}, got {got}"
    return "the order of its captions differs"


def parse(text: str) -> list[Golden]:
    """Parse golden.json.

    Args:
        text: The content of the file.

    Raises:
        ValueError: It is something else.
    """
    try:
        return [
            Golden(
                str(image["file"]),
                _captions(image["captions"]),
                _captions(image["lite"]) if "lite" in image else None,
            )
            for image in json.loads(text)
        ]
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a list of images with their captions ({error!r})") from None


def to_json(images: Sequence[Golden]) -> str:
    """Return the content of golden.json.

    Args:
        images: The golden images.
    """
    entries = []
    for image in images:
        entry = {"file": image.file, "captions": [c._asdict() for c in image.captions]}
        if image.lite is not None:
            entry["lite"] = [caption._asdict() for caption in image.lite]
        entries.append(entry)
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


def _captions(captions: Sequence[Mapping[str, Any]]) -> tuple[GoldenCaption, ...]:
    return tuple(
        GoldenCaption(str(caption["text"]), tuple(caption["words"]), float(caption["score"]))
        for caption in captions
    )
