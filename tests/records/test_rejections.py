"""The lines of rejected.jsonl."""

import json

from records.rejections import RejectionReason, to_lines


def test_the_keys_of_a_line_have_one_order():
    lines = to_lines(
        [
            {
                "reason": RejectionReason.LONG_CAPTION,
                "caption_id": "a#0",
                "file_name": "\u00fc.jpg",
                "image_id": 7,
                "split": "train",
            },
            # As a sidecar keeps it: with a plain string, its keys sorted.
            {"file_name": "b.jpg", "image_id": 8, "reason": "corrupt", "split": "val"},
        ]
    )
    assert lines.decode() == (
        '{"split": "train", "image_id": 7, "file_name": "\u00fc.jpg", "caption_id": "a#0",'
        ' "reason": "long_caption"}\n'
        '{"split": "val", "image_id": 8, "file_name": "b.jpg", "reason": "corrupt"}\n'
    )
    assert to_lines([]) == b""


def test_a_reason_is_its_name_on_disk():
    """Readers of rejected.jsonl and of earlier sidecars compare with these."""
    assert json.loads(json.dumps(list(RejectionReason))) == [
        *("missing_file", "empty_file", "unknown_format", "heif_not_installed"),
        *("truncated", "corrupt", "too_large"),
        *("no_captions", "duplicate_image_id", "empty_caption", "long_caption"),
        "unknown_image_id",
    ]
    assert f"{RejectionReason.CORRUPT}" == "corrupt" == RejectionReason.CORRUPT
