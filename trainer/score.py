"""Score any COCO results file against any COCO captions file.

    python -m trainer.score --results=captions_val2017_NAME_results.json \\
        --annotations=captions_val2017.json [--output=scores.json]
"""

import sys

from absl import flags

from records import command
from records.errors import UsageError, UserError
from trainer import metrics, results

_RESULTS = flags.DEFINE_string(
    "results", None, 'The captions to score: a JSON list of {"image_id", "caption"}.'
)
_ANNOTATIONS = flags.DEFINE_string(
    "annotations", None, "The references: a COCO captions file such as captions_val2017.json."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, 'Write {"metrics", "images"} here, unrounded, as JSON. Nothing when not given.'
)


def main(_: list[str]) -> None:
    for flag in (_RESULTS, _ANNOTATIONS):
        if not flag.value:
            raise UsageError(f"--{flag.name} is missing (--help says what it takes)")
    hypotheses = results.read_results(_RESULTS.value)
    references = results.read_references(_ANNOTATIONS.value)
    _refuse_unknown(hypotheses, references, _RESULTS.value, _ANNOTATIONS.value)
    print(f"{len(hypotheses):,} of {len(references):,} images", flush=True)
    scores = metrics.evaluate(references, hypotheses, say=_say)
    if _OUTPUT.value:
        results.write_json(_OUTPUT.value, {"metrics": scores.metrics, "images": scores.images})
    print(metrics.table(scores))


def _refuse_unknown(
    hypotheses: dict[int, str], references: dict[int, list[str]], found_in: str, missing_in: str
) -> None:
    unknown = [image_id for image_id in hypotheses if image_id not in references]
    if unknown:
        others = f" (and {len(unknown) - 1:,} other ids)" if len(unknown) > 1 else ""
        raise UserError(
            f"{found_in}: image id {unknown[0]}{others} has no captions in {missing_in}; "
            "give the annotations of the split that these results are for"
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    command.run(main)
