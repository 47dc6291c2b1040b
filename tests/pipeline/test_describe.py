"""Descriptions travel through an engine as what they are."""

from pipeline.job.describe import Description, pack, unpack


def test_packed_descriptions_come_back_as_they_were():
    rejected = ({"split": "train", "image_id": 7, "file_name": "a.jpg", "reason": "empty_caption"},)
    descriptions = [
        Description("train", 7, "a.jpg", "/d/a.jpg", ("Ein\u2028Bär.", "x"), ("x", "y z"), (), 0),
        # No path, no captions; a file name that is no UTF-8.
        Description("train", -(2**63), "\udce9.jpg", None, (), (), rejected, 1),
    ]
    unpacked = unpack([pack(descriptions[:1]), pack(descriptions[1:])])
    assert unpacked == descriptions
    assert {type(x) for d in unpacked for x in (d.captions, d.words, d.rejected)} == {tuple}
