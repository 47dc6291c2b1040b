"""Caption a split and score it: `python -m trainer.evaluate --flagfile=coco.flags --split=val`.

Writes COCO's own files, so that anyone can score them again, and metrics.json.
"""

import os

import model.quiet  # noqa: F401  before TensorFlow

# isort: split
import tensorflow as tf
from absl import flags

from model import weights
from records.command import run
from records.manifest import DatasetInfo, read_vocabulary
from records.schema import SPLITS
from records.vocabulary import SPECIAL_IDS
from scenes.facts import check_all
from scenes.world import truth
from trainer import config as recipe
from trainer import contamination, metrics, results, stored
from trainer import input as records_input
from trainer.features import stream

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(recipe)  # --help lists them
flags.DEFINE_enum("split", "val", SPLITS, "Split to caption and score.")
flags.DEFINE_bool(
    "allow_leak", False, "Score images that the run was trained on too; every output says so."
)
flags.DEFINE_string("output_dir", None, "Where the files go; default: RUN_DIR/evaluation/SPLIT.")


def main(_rest: list[str]) -> None:
    """Run folder + records -> results, references, metrics.json, a table."""
    records_dir, run_dir = recipe.require("records_dir"), recipe.require("run_dir")
    split = FLAGS.split
    output_dir = FLAGS.output_dir or os.path.join(run_dir, "evaluation", split)
    trained = weights.read_config(run_dir)
    recipe.refuse_contradictions(trained["training"], recipe.given_flags())
    info, source = records_input.open_split(records_dir, split)
    leak = contamination.refuse(run_dir, info, split, FLAGS.allow_leak)
    stamp = leak.stamp if leak else ""
    if leak:
        print(f"{stamp}: {leak.why}")

    captions, references = caption_split(run_dir, info, source)
    listed = info.splits[split].total("listed")
    if len(captions) < listed:
        print(f"{len(captions):,} of {listed:,} images: the others were rejected at the build")
    name = os.path.basename(os.path.abspath(run_dir))
    system = "-".join([name, *stamp.split()])  # COCO's format has no other place for the stamp
    path = os.path.join(output_dir, f"captions_{split}_{system}_results.json")
    results.write_results(path, captions)
    results.write_references(
        os.path.join(output_dir, f"captions_{split}_references.json"), references, stamp
    )
    scores = metrics.evaluate(references, captions, say=lambda line: print(line, flush=True))
    report = {
        "run": name,
        "dataset": info.dataset,
        "split": split,
        "images": len(captions),
        "listed": listed,
        "contamination": stamp or None,
        "metrics": scores.metrics,
        "unavailable": scores.unavailable,
    }
    print(f"captions: {path}\n{metrics.table(scores, stamp)}")
    if info.dataset == "scenes":
        report |= scene_report(info, captions, references, scores.metrics["CIDEr"], stamp)
    results.write_json(os.path.join(output_dir, "metrics.json"), report)


def caption_split(
    run_dir: str, info: DatasetInfo, source: records_input.Source
) -> tuple[dict[int, str], dict[int, list[str]]]:
    """Greedy captions and the references of a split, by image id.

    Strict pairs give one caption and all references for each image id, too.
    """
    captioner, note = weights.restore(run_dir)
    run = weights.read_config(run_dir)["data"]
    source = stored.chosen(source, info, captioner.encoder, run)
    print(f"weights of epoch {note['epoch']}, step {note['step']:,}")
    vocabulary = read_vocabulary(run_dir)
    captions: dict[int, str] = {}
    references: dict[int, list[str]] = {}
    for batch in stream(source, captioner, f"captioning {source.split}"):
        said = captioner.greedy(tf.constant(batch.features), **SPECIAL_IDS).ids.numpy()
        for image_id, ids, texts in zip(batch.image_ids, said, batch.texts, strict=True):
            captions[int(image_id)] = vocabulary.decode(ids)
            references.setdefault(int(image_id), []).extend(t.decode() for t in texts if t)
    return captions, references


def scene_report(
    info: DatasetInfo,
    captions: dict[int, str],
    references: dict[int, list[str]],
    cider: float,
    stamp: str,
) -> dict:
    """What only drawn scenes allow: the share of claims that are true, printed and returned.

    The control gives each image the features of the next one. A caption is a function of its
    features, so it is the next image's caption.
    """
    scenes = truth(info.flags["scenes_images"], info.flags["scenes_seed"])
    ids = list(captions)
    dealt = dict(zip(ids, [captions[i] for i in [*ids[1:], ids[0]]], strict=True))
    facts, control = (
        true / claims for true, claims in (check_all(c, scenes) for c in (captions, dealt))
    )
    ceiling = metrics.leave_one_out_cider(references)
    print(f"facts true: {facts:.0%} (other image: {control:.0%})  {stamp}".rstrip())
    print(f"CIDEr {cider:.2f} (references {ceiling:.2f})  {stamp}".rstrip())
    return {"facts_true": facts, "facts_true_other_image": control, "references_CIDEr": ceiling}


if __name__ == "__main__":
    run(main, failures=(weights.RunError,))
