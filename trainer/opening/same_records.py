"""Whether a run that is resumed goes on with the records that it began with."""

import sys

from artifacts.provenance import TrainedOn
from cli.errors import UserError
from records.manifest import DatasetInfo, Split


def require_same_records(
    records_dir: str, info: DatasetInfo, run_dir: str, began_with: TrainedOn
) -> None:
    """Refuse other images or captions to train on; warn where only their order or bytes differ.

    Args:
        records_dir: The records, for messages.
        info: Their manifest.
        run_dir: The run's folder, for messages.
        began_with: The images that the run began with.

    Raises:
        UserError: The training images or captions are others.
    """
    trained_on, max_images = began_with
    remedy = f"give the records that {run_dir} began with, or another --run_dir"
    if trained_on.content_hashes("train") != info.content_hashes("train"):
        raise UserError(
            f"{records_dir}: its training images are not those that {run_dir} is trained on;"
            f" {remedy}"
        )
    before, now = trained_on.splits["train"], info.splits["train"]
    if before.total("records") != now.total("records"):
        raise UserError(
            f"{records_dir}: has {now.total('records'):,} training records, {run_dir} began with"
            f" {before.total('records'):,}: it was built with another --captions_per_record;"
            f" {remedy}"
        )
    if _captions_edited(trained_on, info):
        raise UserError(
            f"{records_dir}: its training captions are not those that {run_dir} is trained on: they"
            f" were edited; {remedy} (--init_run={run_dir} begins it with the trained weights)"
        )
    if trained_on.content_hashes("train", max_images) != info.content_hashes("train", max_images):
        raise UserError(
            f"{records_dir}: its first {max_images:,} training images (--max_train_images) are not"
            f" those that {run_dir} is trained on: the same images lie in another order"
            f" ({len(now.shards)} shards, {len(before.shards)} before); {remedy}"
        )
    _warn_of_order(records_dir, info, run_dir, trained_on)
    _warn_of_validation(records_dir, info, run_dir, trained_on)


def _captions_edited(trained_on: DatasetInfo, info: DatasetInfo) -> bool:
    before, now = trained_on.splits["train"], info.splits["train"]
    if before.captions and now.captions:
        return before.captions != now.captions
    if before.total("pairs") != now.total("pairs"):
        return True
    # Records of earlier versions do not tell. Shards of the same images, written by the same
    # program with the same flags, have other bytes only if the captions are others.
    same_writer = (trained_on.schema_version, trained_on.writer_version) == (
        info.schema_version,
        info.writer_version,
    )
    same_pixels = trained_on.preprocessing == info.preprocessing and (
        trained_on.encoder == info.encoder and trained_on.flags.store == info.flags.store
    )
    same_order = _order(before) == _order(now)
    return same_writer and same_pixels and same_order and _bytes(before) != _bytes(now)


def _warn_of_order(
    records_dir: str, info: DatasetInfo, run_dir: str, trained_on: DatasetInfo
) -> None:
    before, now = trained_on.splits["train"], info.splits["train"]
    if _bytes(before) == _bytes(now):
        return
    captions = "captions" if before.captions and now.captions else "number of captions"
    if _order(before) == _order(now):
        difference = "the images are stored otherwise"
    else:
        difference = (
            f"they lie in another order ({len(now.shards)} shards, {len(before.shards)} before),"
            " and so they come in another order from here on"
        )
    print(
        f"warning: {records_dir}: not the shards that {run_dir} began with: the same images and"
        f" {captions}, but {difference}",
        file=sys.stderr,
    )


def _warn_of_validation(
    records_dir: str, info: DatasetInfo, run_dir: str, trained_on: DatasetInfo
) -> None:
    before, now = trained_on.splits.get("val"), info.splits.get("val")
    if (before and (before.content_hashes, before.captions)) != (
        now and (now.content_hashes, now.captions)
    ):
        print(
            f"warning: {records_dir}: its validation images or captions are not those that"
            f" {run_dir} began with: scores from here on cannot be compared with the earlier ones",
            file=sys.stderr,
        )


def _order(split: Split) -> list[str]:
    """Return which images each shard of a split holds, in order."""
    return [shard.contents for shard in split.shards]


def _bytes(split: Split) -> list[str]:
    """Return the checksum of each shard of a split."""
    return [shard.xxh128 for shard in split.shards]
