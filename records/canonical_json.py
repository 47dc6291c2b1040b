"""JSON that is the same bytes for the same value."""

import hashlib
import json
from typing import Any

# Bytes of a file name that are not UTF-8 become JSON's own escapes, as \udce9.
_ENCODING, _ESCAPE = "utf-8", "backslashreplace"


def to_json(value: Any) -> bytes:
    """Return a JSON value as a file's content: keys sorted, indented, in UTF-8.

    Args:
        value: What `json.dumps` takes.
    """
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode(
        _ENCODING, _ESCAPE
    )


def fingerprint(value: Any) -> str:
    """Return the sha256 of a JSON value: equal for equal values, in every process.

    Args:
        value: What `json.dumps` takes.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(_ENCODING, _ESCAPE)).hexdigest()
