"""How every command starts, fails, shows progress, and writes a file whole or not at all.

Every command and worker imports this room before the others, so it looks at the interpreter here.
"""

import importlib.util
import os
import sys
import warnings
from types import TracebackType

_ROOMS = (
    *("records", "pixels", "scenes", "pipeline", "model", "artifacts", "metrics", "captioning"),
    *("trainer", "evaluation", "serving"),
)

# Command, or the room of commands -> the extra of setup.py that it needs.
_EXTRAS = {
    "pipeline": "build",
    "trainer": "train",
    "evaluation": "train",
    "serving": "serve",
    "serving.server": "serve-lite",
}


def _refuse_hidden_rooms() -> None:
    """End the process when a module of the user has the name of one of our rooms and hides it."""
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for room in _ROOMS:
        spec = importlib.util.find_spec(room)
        if not spec or not spec.origin:  # A folder of data, or a room that was not shipped.
            continue
        if os.path.dirname(os.path.abspath(spec.origin)) != os.path.join(home, room):
            print(
                f"error: {spec.origin} hides this program's own package {room!r} in {home}; rename"
                " it, or take its folder out of PYTHONPATH",
                file=sys.stderr,
            )
            sys.exit(1)


def _let_no_warning_fail() -> None:
    """Undo PYTHONWARNINGS=error: it would end the program at a warning inside a library."""
    if any(option.startswith("error") for option in sys.warnoptions):
        warnings.simplefilter("ignore")


def _occupy_standard_descriptors() -> None:
    """Open what a shell has closed (`2>&-`): a log must not be written into a file of ours."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # The lowest that is free.
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _end_in_one_line(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """End with one line while modules are imported, before `cli.command.run` takes care of it.

    That is at a Ctrl-C, and where a package of others is not installed.
    """
    extra = _extra_of_the_command()
    if isinstance(error, KeyboardInterrupt):
        code, line = 130, "interrupted; run the same command again"
    elif isinstance(error, ModuleNotFoundError) and extra and not _is_ours(error.name):
        code = 1
        line = (
            f"this command needs the package {error.name}, which is not installed: run"
            f" `pip install '.[{extra}]'` in the folder of this program"
        )
    else:
        sys.__excepthook__(kind, error, traceback)
        return
    print(f"error: {line}", file=sys.stderr, flush=True)
    os._exit(code)  # Python itself would end by the signal.


def _extra_of_the_command() -> str | None:
    """Return the extra of setup.py that the running command needs; None in another program."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    name: str = spec.name if spec else ""
    return _EXTRAS.get(name) or _EXTRAS.get(name.partition(".")[0])


def _is_ours(module: str | None) -> bool:
    return module is None or module.partition(".")[0] in ("cli", *_ROOMS)


_occupy_standard_descriptors()
sys.excepthook = _end_in_one_line
_refuse_hidden_rooms()
_let_no_warning_fail()
