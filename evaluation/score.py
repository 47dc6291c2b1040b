"""Score any COCO results file against any COCO captions file.

    python -m evaluation.score --results=captions_val2017_NAME_results.json \\
        --annotations=captions_val2017.json [--baseline=OTHER_results.json] [--output=scores.json]
"""

import functools
import sys

from absl import flags

from cli import command
from cli.errors import UsageError, UserError
from metrics import bootstrap
from metrics import coco_files as results
from metrics import official as metrics
from metrics.summary import Summary, compared


def define_flags(values: flags.FlagValues) -> None:
    """Declare the flags of this command."""
    text = functools.partial(flags.DEFINE_string, flag_values=values)
    text("results", None, 'The captions to score: a JSON list of {"image_id", "caption"}.')
    text("annotations", None, "The references: a COCO captions file such as captions_val2017.json.")
    text(
        "baseline",
        None,
        "Other results for the same images: is the difference more than chance? (paired bootstrap)",
    )
    text(
        "output",
        None,
        "Write the scores here, of each image too, unrounded, as JSON. Nothing when not given.",
    )


def main(values: flags.FlagValues, _rest: list[str]) -> None:
    for name in ("results", "annotations"):
        if not values[name].value:
            raise UsageError(f"--{name} is missing (--help says what it takes)")
    references = results.read_references(values.annotations)
    paths = [values.results, *([values.baseline] if values.baseline else [])]
    systems = [results.read_results(path) for path in paths]
    for path, system in zip(paths, systems, strict=True):
        _refuse_unknown(system, references, path, values.annotations)
    systems = _of_the_same_images(systems, paths)
    print(f"{len(systems[0]):,} of {len(references):,} images", flush=True)
    scores, *baseline = metrics.evaluate_together(references, systems, say=_say)
    summary = Summary.of(scores)
    differences = bootstrap.paired(scores, baseline[0]) if baseline else {}
    if values.output:
        written = summary.as_json() | {"images": scores.images}
        if baseline:
            written["baseline"] = {
                "metrics": baseline[0].metrics,
                "differences": {name: one._asdict() for name, one in differences.items()},
            }
        results.write_json(values.output, written)
    print(summary.printed())
    if baseline:
        print(f"\n{compared(differences, scores, baseline[0])}")


def _of_the_same_images(systems: list[dict[int, str]], paths: list[str]) -> list[dict[int, str]]:
    """The captions of images that all files caption; a line says so when that is not all."""
    common = set.intersection(*map(set, systems))
    if not common:
        raise UserError(f"{' and '.join(paths)} caption no image in common; nothing to compare")
    for path, system in zip(paths, systems, strict=True):
        if left_out := len(system) - len(common):
            print(f"{path}: {left_out:,} of its {len(system):,} images are left out: not in both")
    return [{i: text for i, text in system.items() if i in common} for system in systems]


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
    command.run(main, define_flags)
