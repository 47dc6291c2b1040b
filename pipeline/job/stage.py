"""What all stages (Beam's DoFns) of the job share."""

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from cli.errors import UserError
from pipeline.config import Config
from pipeline.job import reports


class Stage(beam.DoFn):
    """A stage of the job; a subclass defines `work`.

    Args:
        config: The job's configuration.
        report: Takes messages to the submitter; None on engines that cannot do so.
    """

    def __init__(self, config: Config, report: reports.Report | None):
        self._config = config
        self._report = report

    def setup(self) -> None:
        """Set up Beam's file systems: some engines' workers never see the submitter's options."""
        FileSystems.set_options(PipelineOptions(list(self._config.beam_args)))

    def process(self, element: Any, *side_inputs: Any) -> list[Any]:
        """Return the results of `work`; report its `UserError` to the submitter.

        From other processes, most runners hand on only the text of an exception, among other text.
        """
        try:
            return list(self.work(element, *side_inputs))
        except UserError as error:
            if self._report:
                self._report(reports.failure(error))
            raise

    def work(self, element: Any, *side_inputs: Any) -> Iterable[Any]:
        """Return or yield the results for one element.

        Raises:
            UserError: The job cannot go on, for a reason that one line explains.
        """
        raise NotImplementedError
