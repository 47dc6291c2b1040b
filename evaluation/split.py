"""A split of the records, captioned and scored."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from artifacts import provenance
from artifacts.run_folder import RunFolder
from captioning import job, parts
from captioning.job import JobOptions, JobState
from captioning.records_source import RecordsSource
from evaluation import replaced, words
from evaluation.attention import survey
from evaluation.image_files import unfinished
from evaluation.options import EvaluationOptions, only_evaluation
from evaluation.report import page
from evaluation.report.gallery import NO_PICTURES, Gallery, Selection
from metrics import coco_files, official
from metrics.leave_one_out import leave_one_out
from metrics.summary import Summary
from records.manifest import DatasetInfo
from records.split_files import open_split
from scenes import report as scene_report

_METRICS = "metrics.json"


def evaluate(
    run_dirs: Sequence[str],
    name: str,
    records_dir: str,
    options: EvaluationOptions,
    how: JobOptions,
) -> int:
    """Caption a split; write results, references, metrics.json and, if asked, the report.

    Args:
        run_dirs: The runs that caption together.
        name: The name of the runs, for the names of files.
        records_dir: The records.
        options: The flags.
        how: How the captioning job works.

    Returns:
        The exit code: 0.

    Raises:
        UserError: A run or the records cannot be used, the split was trained on, or an output
            cannot be written.
    """
    output_dir = options.output_dir or RunFolder(run_dirs[0]).evaluation(options.split)
    info, files = open_split(records_dir, options.split)
    if options.report:
        page.refuse_unwritable(options.report)
    stamp = _contamination_stamp(run_dirs, info, options)
    records = RecordsSource(files, info, options.part_images)
    source = f"--records_dir={os.path.abspath(records_dir)} --split={options.split}"
    with only_evaluation(output_dir, how):
        replaced.announce(output_dir, _METRICS, source)
        state = job.caption(run_dirs, records, output_dir, how)
        if state.missing:
            print(unfinished(state))
            return 0
        captioned = _Captioned(run_dirs, name, info, records, state, stamp, source)
        _score(captioned, output_dir, options, how)
    return 0


class _Captioned(NamedTuple):
    """A split that is captioned."""

    run_dirs: Sequence[str]
    name: str
    info: DatasetInfo
    records: RecordsSource
    state: JobState
    stamp: str  # what every output says of images that were trained on
    source: str  # the flags that name the images


def _score(
    captioned: _Captioned, output_dir: str, options: EvaluationOptions, how: JobOptions
) -> None:
    """Write the captions, their scores and, if asked, the report."""
    run_dirs, name, info, records, state, stamp, source = captioned
    captions, references = _by_image(state)
    n_listed = info.splits[options.split].total("listed")
    if len(captions) < n_listed:
        print(f"{len(captions):,} of {n_listed:,} images: the others were rejected at the build")
    n_cut = state.print_cut(how.search)
    prefix = os.path.join(output_dir, f"captions_{options.split}_")
    tag = words.language_of(run_dirs[0], info, options.language, references)
    unknown = words.unknown_share(run_dirs[0], references)
    words.refuse_empty(captions, run_dirs[0])
    replaced.note(output_dir, _METRICS, source)
    path = _write_captions(prefix, name, state, captions, references, stamp)
    scores = official.evaluate(
        references, captions, language=tag, say=lambda line: print(line, flush=True)
    )
    images = {"contamination": stamp or None, "images": scores.images}
    coco_files.write_json(os.path.join(output_dir, "images.json"), images)
    summary = Summary.of(scores)
    print(f"captions: {path}\n{summary.as_text(stamp)}")
    findings = {
        "run": name,
        "dataset": info.dataset,
        "split": options.split,
        "images": len(captions),
        "listed": n_listed,
        "contamination": stamp or None,
        "search": _search_flags(how),
        "captioning": state.computed(),
        "unknown_words": unknown,
        "cut_captions": n_cut,
        **summary.as_json(),
    }
    if scene_report.is_drawn(info):
        findings |= scene_report.facts(info, captions, stamp)
        compared = leave_one_out(scores.references, scores.hypotheses)
        print(compared.as_text(stamp))
        findings["leave_one_out_CIDEr"] = compared.as_json()
    selection = Selection.of(scores)
    shown = selection.image_ids() if options.report else ()
    attention, attended = survey(run_dirs, records, info, how, list(captions), shown)
    findings |= attention
    coco_files.write_json(os.path.join(output_dir, _METRICS), findings)
    if options.report:
        gallery = Gallery(selection, captions, references, scores.images, attended)
        _write_report(options.report, findings, summary, gallery, run_dirs[0])


def _by_image(state: JobState) -> tuple[dict[int, str], dict[int, list[str]]]:
    """Return the caption and the references of each image by its id."""
    results = parts.by_image(state.results())
    captions = {image_id: result.caption for image_id, result in results.items()}
    references = {image_id: list(result.references) for image_id, result in results.items()}
    return captions, references


def _write_report(
    directory: str, findings: Mapping[str, Any], summary: Summary, gallery: Gallery, run_dir: str
) -> None:
    html = page.render(findings, summary, gallery, RunFolder(run_dir))
    path = page.write(directory, html)
    if not gallery.has_pictures:
        print(NO_PICTURES)
    print(f"report: {path}")


def _contamination_stamp(
    run_dirs: Sequence[str], info: DatasetInfo, options: EvaluationOptions
) -> str:
    """Refuse images that were trained on, or print them and return what outputs must say."""
    checked = [
        provenance.refuse_contamination(RunFolder(run_dir), info, options.split, options.allow_leak)
        for run_dir in run_dirs
    ]
    leaks = list(dict.fromkeys(leak for leak in checked if leak))
    for leak in leaks:
        print(f"{leak.stamp}: {leak.why}")
    return " ".join(dict.fromkeys(leak.stamp for leak in leaks))


def _search_flags(how: JobOptions) -> dict[str, Any]:
    search = dataclasses.asdict(how.search)
    del search["n_best"]  # it changes what is written, not what is scored
    return search


def _write_captions(
    prefix: str,
    name: str,
    state: JobState,
    captions: Mapping[int, str],
    references: Mapping[int, list[str]],
    stamp: str,
) -> str:
    """Write COCO's two files and the JSON lines; return the path of the results."""
    system = "-".join([name, *stamp.split()])  # COCO's format has no other place for the stamp
    path = f"{prefix}{system}_results.json"
    coco_files.write_results(path, captions)
    lines = parts.distinct(state.folder.lines(state.parts))
    parts.write_lines(f"{prefix}{system}.jsonl", lines)
    coco_files.write_references(f"{prefix}references.json", references, stamp)
    return path
