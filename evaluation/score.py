r"""Score any COCO results file against any COCO captions file.

python -m evaluation.score --results=captions_val2017_NAME_results.json \
    --annotations=captions_val2017.json [--baseline=OTHER_results.json] [--output=scores.json]
"""

import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import chain

from absl.flags import FlagValues

from cli import command, flags
from cli.errors import UsageError, UserError
from cli.flags import flag
from metrics import coco_files, official
from metrics.summary import Comparison, Summary
from records import language
from records.language import ENGLISH


@dataclasses.dataclass(frozen=True)
class ScoreOptions:
    """What to score. Every field is a flag."""

    results: str = flag("", 'Results file to score: a JSON list of {"image_id", "caption"}.')
    annotations: str = flag(
        "", "COCO captions file with the references, such as captions_val2017.json."
    )
    baseline: str = flag(
        "",
        "Second results file for the same images: a paired bootstrap test says whether the"
        " difference between the two is more than chance.",
    )
    language: str | None = flag(
        None,
        "Language of the captions, a tag such as en, zh or pt-BR: English (the default) is scored"
        " by the official metrics, others without METEOR and SPICE.",
    )
    output: str = flag(
        "", "JSON file for the unrounded scores, also those of each image; by default none."
    )

    def check(self) -> None:
        """Refuse options without the files to score.

        Raises:
            UsageError: --results or --annotations is missing.
        """
        for name in ("results", "annotations"):
            if not getattr(self, name):
                raise UsageError(f"--{name} is missing (--help says what it takes)")


def define_flags(values: FlagValues) -> None:
    """Declare the flags of this command.

    Args:
        values: Where to declare them.
    """
    flags.define(ScoreOptions, values)


def main(values: FlagValues, _rest: list[str]) -> None:
    """Read the files, score the captions, print the table and keep the scores.

    Args:
        values: Parsed flags.
    """
    options = flags.read(ScoreOptions, values)
    options.check()
    tag = ENGLISH if options.language is None else language.checked(options.language)
    references = coco_files.read_references(options.annotations)
    paths = [options.results, *([options.baseline] if options.baseline else [])]
    systems = [coco_files.read_results(path) for path in paths]
    for path, system in zip(paths, systems, strict=True):
        _refuse_unknown_images(system, references, path, options.annotations)
    systems = _of_the_same_images(systems, paths)
    print(f"{len(systems[0]):,} of {len(references):,} images", flush=True)
    if options.language is None and (line := language.hint(Counter(chain(*references.values())))):
        print(line, flush=True)
    scores, *baseline = official.evaluate_together(
        references, systems, language=tag, say=_print_to_stderr
    )
    summary = Summary.of(scores)
    comparison = Comparison.of(scores, baseline[0]) if baseline else None
    if options.output:
        content = summary.as_json() | {"images": scores.images}
        if comparison:
            content["baseline"] = comparison.as_json()
        coco_files.write_json(options.output, content)
    print(summary.as_text())
    if comparison:
        print(f"\n{comparison.as_text()}")


def _of_the_same_images(
    systems: Sequence[dict[int, str]], paths: Sequence[str]
) -> list[dict[int, str]]:
    """Keep the images that all files caption, and print how many of each file are left out."""
    common = set.intersection(*map(set, systems))
    if not common:
        raise UserError(f"{' and '.join(paths)} caption no image in common; nothing to compare")
    for path, system in zip(paths, systems, strict=True):
        if left_out := len(system) - len(common):
            print(f"{path}: {left_out:,} of its {len(system):,} images are left out: not in both")
    return [{i: text for i, text in system.items() if i in common} for system in systems]


def _refuse_unknown_images(
    hypotheses: dict[int, str],
    references: dict[int, list[str]],
    results_path: str,
    annotations_path: str,
) -> None:
    unknown = [image_id for image_id in hypotheses if image_id not in references]
    if unknown:
        others = f" (and {len(unknown) - 1:,} other ids)" if len(unknown) > 1 else ""
        raise UserError(
            f"{results_path}: image id {unknown[0]}{others} has no captions in {annotations_path}; "
            "give the annotations of the split that these results are for"
        )


def _print_to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    command.run(main, define_flags)
