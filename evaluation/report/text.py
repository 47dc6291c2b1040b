"""Text of other people on the page: in any direction, and without folders of this machine."""

import re
from html import escape

# From the root, a home, a drive or a share on; a folder's name may have spaces. Then the last part.
_PATH = re.compile(
    r"(?<![\w.])(?:file:/*|[A-Za-z]:|~\w*)?[/\\]+(?:[^/\\\n'\"<>|]*[/\\]+)*([^\s/\\'\"<>|:;,)]+)"
)
_BEGINS = re.compile(r"[/\\~]|[A-Za-z]:[/\\]|file:")


def directed(tag: str, text: str, css: str = "") -> str:
    """Return an element of text that runs in its own direction, as HTML.

    Args:
        tag: The element's tag.
        text: What it shows.
        css: Its class; "" for none.
    """
    of_class = f' class="{css}"' if css else ""
    return f'<{tag}{of_class} dir="auto">{escape(text)}</{tag}>'


def without_folders(message: str) -> str:
    """Return a message in which absolute paths are cut: the page is for others.

    Args:
        message: What a program said.

    Returns:
        The message. Of the path of a file it has the name, of another one "..." only: the last part
        of a path may be a person's name.
    """
    return _PATH.sub(lambda path: path[1] if "." in path[1] else "...", message)


def file_label(name: str) -> str:
    """Return how the page names a file: as the records do, but without the folders of a machine."""
    parts = re.split(r"[/\\]+", name)
    return parts[-1] if _BEGINS.match(name) or ".." in parts else name
