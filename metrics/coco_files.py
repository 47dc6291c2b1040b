"""COCO's file formats: results (one caption an image), annotations (references) and image_info.

Every function that reads one raises a UserError that names the file, what was expected there, what
was found, and what to do.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from cli import atomic_file, paths
from cli.errors import UserError


def read_results(path: str | os.PathLike[str]) -> dict[int, str]:
    """Read a results file: a list of {"image_id", "caption"}.

    Args:
        path: The file.

    Returns:
        Image id -> its caption, in the order of the file.

    Raises:
        UserError: It is no such file, or captions an image twice.
    """
    shape = 'COCO results, a list of {"image_id": 139, "caption": "..."}'
    results = _read_json(path, shape)
    if not isinstance(results, list):
        hint = ": is this the annotations file?" if _is_annotations(results) else ""
        raise _unexpected(path, shape, _kind(results) + hint)
    if not results:
        raise _unexpected(path, shape, "an empty list: no caption to score")
    captions: dict[int, str] = {}
    for number, result in enumerate(results):
        image_id, caption = _id_and_caption(path, shape, result, f"element {number}")
        if image_id in captions:
            raise UserError(
                f"{path}: image id {image_id} is captioned twice (again in element {number}); "
                "keep one caption for each image"
            )
        captions[image_id] = caption
    return captions


def read_references(path: str | os.PathLike[str]) -> dict[int, list[str]]:
    """Read a captions annotation file.

    Args:
        path: The file.

    Returns:
        Image id -> its captions, for each image that has any, in the order of the file's images.

    Raises:
        UserError: It is no such file, or holds no caption.
    """
    shape = 'COCO captions, {"images": [...], "annotations": [{"image_id": 139, "caption": "..."}]}'
    file = _read_json(path, shape)
    if not _is_annotations(file):
        hint = ": is this the results file?" if isinstance(file, list) else ""
        raise _unexpected(path, shape, _kind(file) + hint)
    images = file.get("images", [])
    if not isinstance(images, list):
        raise _unexpected(path, shape, f'"images" that is {_kind(images)}')
    references: dict[int, list[str]] = {}
    for number, image in enumerate(images):
        references[_id_of_image(path, shape, image, number)] = []
    for number, annotation in enumerate(file["annotations"]):
        image_id, caption = _id_and_caption(path, shape, annotation, f"annotation {number}")
        references.setdefault(image_id, []).append(caption)
    references = {image_id: captions for image_id, captions in references.items() if captions}
    if not references:
        raise _unexpected(path, shape, "no captions")
    return references


def read_images(path: str | os.PathLike[str]) -> dict[int, str]:
    """Read the images that an image_info file, or any other COCO file, lists.

    Args:
        path: The file.

    Returns:
        Image id -> file name, in the order of the file.

    Raises:
        UserError: It is no such file, an id comes twice, or a file name leads out of its folder.
    """
    shape = 'COCO image_info, {"images": [{"id": 139, "file_name": "000000000139.jpg"}]}'
    file = _read_json(path, shape)
    images = file.get("images") if isinstance(file, dict) else None
    if not isinstance(images, list) or not images:
        raise _unexpected(path, shape, _kind(file if images is None else images))
    names: dict[int, str] = {}
    for number, image in enumerate(images):
        image_id = _id_of_image(path, shape, image, number)
        name = image.get("file_name")
        if not isinstance(name, str) or not name or "\0" in name:
            raise _unexpected(path, shape, f"image {number} (id {image_id}) without a file name")
        if os.path.isabs(name) or ".." in name.split("/"):
            raise _unexpected(
                path, shape, f"image {number} (id {image_id}) that lies outside: {name!r}"
            )
        if image_id in names:
            raise _unexpected(path, shape, f"image id {image_id} twice (again as image {number})")
        names[image_id] = name
    return names


def write_results(path: str | os.PathLike[str], captions: Mapping[int, str]) -> None:
    """Write a results file, which `read_results`, pycocotools' `loadRes` and COCO's server read.

    Args:
        path: The file; its folder is made where needed.
        captions: Image id -> its caption.

    Raises:
        UserError: The file cannot be written.
    """
    write_json(
        path,
        [{"image_id": int(image_id), "caption": text} for image_id, text in captions.items()],
    )


def write_references(
    path: str | os.PathLike[str], references: Mapping[int, Sequence[str]], stamp: str = ""
) -> None:
    """Write a captions annotation file, which `read_references` and `pycocotools.coco.COCO` read.

    Annotation ids count from 1, image by image.

    Args:
        path: The file; its folder is made where needed.
        references: Image id -> its captions.
        stamp: Is added to the file's description.

    Raises:
        UserError: The file cannot be written.
    """
    pairs = [(int(image_id), text) for image_id, texts in references.items() for text in texts]
    write_json(
        path,
        {
            "info": {"description": " ".join(["reference captions", stamp]).rstrip()},
            "images": [{"id": int(image_id)} for image_id in references],
            "annotations": [
                {"id": number, "image_id": image_id, "caption": text}
                for number, (image_id, text) in enumerate(pairs, start=1)
            ],
            "licenses": [],
            "type": "captions",
        },
    )


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a JSON file, so that it appears complete or not at all.

    The text is UTF-8, which people can read and search; what is not Unicode stays escaped.

    Args:
        path: The file; its folder is made where needed.
        value: What `json.dumps` takes.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(value, ensure_ascii=False) + "\n"
        atomic_file.write(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written: {error.strerror or error}; "
            "free space there or name another path"
        ) from None


def _read_json(path: str | os.PathLike[str], shape: str) -> Any:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: expected {shape}, but it cannot be read: {error.strerror or error}; "
            f"check the path{'' if os.path.exists(path) else paths.suggest(os.fspath(path))}"
        ) from None
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        actual = f"{len(content):,} bytes that are not JSON ({error})" if content else "no bytes"
        raise UserError(
            f"{path}: expected {shape}, found {actual}; "
            "if it was cut short or is another file, write or fetch it again"
        ) from None


def _id_of_image(path: str | os.PathLike[str], shape: str, image: Any, number: int) -> int:
    """Return the id of an element of "images"; an element without one is an error."""
    image_id = image.get("id") if isinstance(image, dict) else None
    if not _is_id(image_id):
        raise _unexpected(path, shape, f"image {number} without a whole-number id")
    return image_id


def _id_and_caption(
    path: str | os.PathLike[str], shape: str, element: Any, where: str
) -> tuple[int, str]:
    """Return an element's "image_id" and "caption"; an element without them is an error."""
    if not isinstance(element, dict):
        raise _unexpected(path, shape, f"{where} that is {_kind(element)}")
    for key in ("image_id", "caption"):
        if key not in element:
            raise _unexpected(path, shape, f'{where} without "{key}"')
    image_id, caption = element["image_id"], element["caption"]
    if not _is_id(image_id):
        raise _unexpected(path, shape, f"{where} whose image_id {image_id!r} is no whole number")
    if not isinstance(caption, str):
        raise _unexpected(path, shape, f"{where} (image id {image_id}) with caption {caption!r}")
    return image_id, caption


def _unexpected(path: str | os.PathLike[str], shape: str, actual: str) -> UserError:
    return UserError(f"{path}: expected {shape}, found {actual}; give a file of that form")


def _is_annotations(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("annotations"), list)


def _is_id(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    """Describe a JSON value in a few words."""
    if isinstance(value, dict):
        keys = ", ".join(json.dumps(key) for key in list(value)[:5])
        return f"an object with the keys {keys}" if keys else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value):,} elements"
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:40] + "..."
