"""The LiteRT model of a bundle."""

from serving.exporting.graph import ExportedCaptioner

QUANTIZE = ("none", "float16", "int8")


def write(exported: ExportedCaptioner, path: str, quantize: str) -> None:
    """Write a LiteRT model that captions one image at a time.

    Args:
        exported: The captioner.
        path: The file to write.
        quantize: One of `QUANTIZE`: how weights are stored.
    """
    raise NotImplementedError
