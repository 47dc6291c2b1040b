"""JSON that is the same bytes for the same value, whatever names it holds."""

import json
import os

from records import canonical_json

NAME = os.fsdecode(b"caf\xe9.jpg")


def test_a_name_that_is_not_utf8_is_valid_json():
    text = canonical_json.to_json({"name": NAME, "é": "狗"}).decode("utf-8")
    assert json.loads(text) == {"name": NAME, "é": "狗"}
    assert os.fsencode(json.loads(text)["name"]) == b"caf\xe9.jpg"
    assert '"é": "狗"' in text


def test_fingerprints_tell_such_names_apart():
    values = [NAME, NAME.replace("\udce9", "\\udce9"), "caf\\\\udce9.jpg", "café.jpg"]
    assert len(set(map(canonical_json.fingerprint, values))) == len(values)
