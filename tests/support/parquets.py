"""Parquet files as the Hugging Face hub keeps them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet as pq

from tests.support.records import WORDS, jpeg

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def image(number: int, path: str | None = "") -> dict[str, Any]:
    """Return `jpeg(number)` as a value of an image column; its path is `NUMBER.jpg` by default."""
    return {"bytes": jpeg(number), "path": f"{number}.jpg" if path == "" else path}


def write_parquet(path: Path, columns: dict[str, Any], rows: int = 10, **options) -> Path:
    """Write a Parquet file.

    Args:
        path: The file; its folder is made.
        columns: Name -> array, or values whose type pyarrow infers; values of `image` are IMAGE.
        rows: Rows of a row group.
        **options: Of `pyarrow.parquet.write_table`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        name: pa.array(values, IMAGE) if name == "image" and isinstance(values, list) else values
        for name, values in columns.items()
    }
    pq.write_table(pa.table(arrays), path, row_group_size=rows, **options)
    return path


def hub(folder: Path, split: str, files: int, numbers: Sequence[int], rows: int = 4) -> None:
    """Write a split as the hub keeps it: `data/train-00000-of-00002.parquet` and so on.

    Image `number` is `jpeg(number)`; its caption comes from WORDS.
    """
    for index in range(files):
        mine: Iterable[int] = numbers[index::files]
        columns = {
            "image": [image(number) for number in mine],
            "caption": [WORDS[number % len(WORDS)] for number in mine],
        }
        write_parquet(folder / f"data/{split}-{index:05}-of-{files:05}.parquet", columns, rows)
