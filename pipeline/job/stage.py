"""What every DoFn of the job shares: file systems set up, and errors that arrive as one line."""

import re
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from cli.errors import UsageError, UserError

# Runners hand an exception on as another one whose text holds the first one's: only text arrives.
_MARKED = re.compile(r"\[user error (\d): (.*?) :end of user error\]", re.DOTALL)


class Step(beam.DoFn):
    """A DoFn whose subclass writes `step(element, *side_inputs) -> results`."""

    def __init__(self, beam_args: tuple[str, ...]):
        self._beam_args = beam_args

    def setup(self) -> None:
        # Some engines' workers never see the submitter's file system options.
        FileSystems.set_options(PipelineOptions(list(self._beam_args)))

    def process(self, element: Any, *side_inputs: Any) -> list:
        try:
            return list(self.step(element, *side_inputs))
        except UserError as error:
            raise RuntimeError(marked(error)) from None

    def step(self, element: Any, *side_inputs: Any) -> Iterable:
        """The work. Raises UserError for what one line explains."""
        raise NotImplementedError


def marked(error: UserError) -> str:
    """The text in which `user_error` finds the error again."""
    return f"[user error {error.exit_code}: {error} :end of user error]"


def user_error(text: str) -> UserError | None:
    """The UserError that a step raised, found in the text of what the runner made of it."""
    found = _MARKED.search(text)
    if not found:
        return None
    kind = UsageError if found[1] == str(UsageError.exit_code) else UserError
    return kind(" ".join(found[2].split()))
