"""Beam pipelines on a Dask cluster.

Beam 2.77's own DaskRunner adds up the results of bundles that meet in a process (every word counted
twice), computes a side input anew for each bundle, and gives all shards to one worker. This one
takes the same options and runs what the job is made of (Create, ParDo with side inputs, GroupByKey,
all in the global window), a stage after the other: elements stay on the workers, the submitter sees
keys. Anything else is refused.
"""

import contextlib
import functools
import math
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
import distributed
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pipeline import AppliedPTransform, Pipeline, PipelineVisitor
from apache_beam.pvalue import PCollection
from apache_beam.runners.common import DoFnRunner, Receiver
from apache_beam.runners.dask.dask_runner import DaskOptions
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState
from apache_beam.transforms.core import Windowing
from apache_beam.transforms.sideinputs import SideInputMap
from apache_beam.transforms.window import GlobalWindows
from distributed import Client, Future

from cli.errors import UserError
from pipeline.job.reports import Message, Report

# Dask's own 30 s are long to wait for a mistyped address.
_CONNECT_SECONDS = 10


class DaskRunner(PipelineRunner):
    """Runs a pipeline to its end.

    Args:
        on_report: Called, from another thread, with each message that a worker gives to `report`.
    """

    def __init__(self, on_report: Callable[[Message], None]):
        super().__init__()
        self._topic = f"build-records-{uuid.uuid4().hex}"
        self._on_report = on_report

    @property
    def report(self) -> Report:
        """What a stage calls on its worker to have a message handed to `on_report`."""
        return functools.partial(_report, self._topic)

    def is_fnapi_compatible(self) -> bool:
        return False

    def run_pipeline(self, pipeline: Pipeline, options: PipelineOptions) -> PipelineResult:
        """Returns when all is done.

        Raises:
            UserError: the cluster cannot be reached, was lost, or lacks this program; else what
                a step raised on its worker.
        """
        given = options.view_as(DaskOptions).get_all_options(drop_default=True, current_only=True)
        partitions, size = given.pop("npartitions", None), given.pop("partition_size", None)
        with _connected(given) as client, _explained():
            _check_imports(client)
            client.subscribe_topic(self._topic, lambda event: self._on_report(event[1]))
            stages = _Stages(client, partitions, size)
            pipeline.visit(stages)
            stages.wait()
        return PipelineResult(PipelineState.DONE)


def _report(topic: str, message: Message) -> None:
    distributed.get_worker().log_event(topic, message)


@contextlib.contextmanager
def _connected(options: dict[str, Any]) -> Iterator[Client]:
    address, file = options.get("address"), options.get("scheduler_file")
    try:
        if file:
            open(file).close()  # Dask would wait for it
        client = Client(**{"timeout": _CONNECT_SECONDS} | options)
    except Exception as error:  # whatever it is that answers there
        reason = " ".join(str(error).split())
        raise UserError(f"no Dask scheduler answers at {address or file}: {reason}") from None
    with client:
        yield client


def _check_imports(client: Client) -> None:
    """Who cannot unpickle a task dies of it, with a word in its own log only."""
    statement = f"import {__name__}", {}
    client.run_on_scheduler(exec, *statement)
    if not client.nthreads():
        address = client.scheduler.address
        print(f"no worker at {address} yet: waiting for `dask worker {address}`", flush=True)
        client.submit(exec, *statement).result()  # a task has clusters grow that can
    client.run(exec, *statement)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Say in a line what went wrong with the cluster; what a step raised goes through."""
    again = "; what is finished is kept, the same command goes on from there"
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"the Dask cluster cannot import {error.name!r}: install this program and what it needs"
            " where its scheduler and workers run (`pip install .[dask]` in its folder), or start"
            " them with its folder in PYTHONPATH"
        ) from None
    except distributed.KilledWorker as error:
        raise UserError(
            f"{error.allowed_failures + 1} Dask workers died in the same step, perhaps for lack of"
            f" memory: their logs say more{again}"
        ) from None
    except distributed.client.FutureCancelledError:
        raise UserError(f"the connection to the Dask scheduler was lost{again}") from None


class _Stages(PipelineVisitor):
    """Submits each transform when Beam's visit comes to it.

    A PCollection is a list of futures, each of one bundle, a list of elements.
    """

    def __init__(self, client: Client, partitions: int | None, size: int | None):
        self._client = client
        self._partitions = partitions
        self._size = size
        self._bundles: dict[PCollection, list[Future]] = {}

    def enter_composite_transform(self, node: AppliedPTransform) -> None:
        # What Create is made of depends on the version of Beam: it is taken as a whole.
        if isinstance(node.transform, beam.Create):
            values = node.transform.values
            self._bundles[node.outputs[None]] = [self._submit("Create", list, [v]) for v in values]

    def visit_transform(self, node: AppliedPTransform) -> None:
        if _inside_create(node):
            return
        if set(node.outputs) != {None}:
            raise NotImplementedError(f"{node.full_label}: tagged outputs on Dask")
        if isinstance(node.transform, beam.ParDo):
            bundles = self._par_do(node)
        elif isinstance(node.transform, beam.GroupByKey):
            bundles = self._group_by_key(node)
        else:
            raise NotImplementedError(f"{node.full_label}: {node.transform} on Dask")
        self._bundles[node.outputs[None]] = bundles

    def wait(self) -> None:
        """Wait for everything; raises what the first failing step raised."""
        self._wait([future for bundles in self._bundles.values() for future in bundles])

    def _submit(self, label: str, function: Callable, *args: Any) -> Future:
        key = f"{label}-{uuid.uuid4().hex}"
        return self._client.submit(function, *args, key=key)

    def _wait(self, futures: list[Future]) -> None:
        for future in distributed.as_completed(futures):
            future.result()

    def _par_do(self, node: AppliedPTransform) -> list[Future]:
        transform = node.transform
        bundle = functools.partial(
            _run_bundle,
            transform.fn,
            transform.args,
            transform.kwargs,
            [(type(side), side._view_options()) for side in node.side_inputs],
        )
        sides = [self._bundles[side.pvalue] for side in node.side_inputs]
        (source,) = node.main_inputs.values()
        label = node.full_label
        return [self._submit(label, bundle, part, sides) for part in self._bundles[source]]

    def _group_by_key(self, node: AppliedPTransform) -> list[Future]:
        (source,) = node.main_inputs.values()
        label = node.full_label
        grouped = [self._submit(label, _grouped, part) for part in self._bundles[source]]
        listed = [self._submit(label, list, part) for part in grouped]
        self._wait(listed)
        parts: dict[Any, list[int]] = defaultdict(list)
        for index, keys in enumerate(self._client.gather(listed)):
            for key in keys:
                parts[key].append(index)
        keys = list(parts)
        size = self._size or math.ceil(len(keys) / (self._partitions or len(keys) or 1)) or 1
        bundles = []
        for first in range(0, len(keys), size):
            mine = keys[first : first + size]
            holders = sorted({index for key in mine for index in parts[key]})
            picked = [self._submit(label, _picked, grouped[index], mine) for index in holders]
            bundles.append(self._submit(label, _merged, picked))
        return bundles


def _inside_create(node: AppliedPTransform) -> bool:
    while node.parent is not None:
        node = node.parent
        if isinstance(node.transform, beam.Create):
            return True
    return False


class _Results(Receiver):
    """Takes what a DoFn gives."""

    def __init__(self):
        self.values = []

    def receive(self, windowed_value):
        self.values.append(windowed_value.value)


def _run_bundle(fn, args, kwargs, views, elements, sides) -> list:
    """The results of a DoFn. `sides`: for each view, the bundles of its PCollection."""
    results = _Results()
    in_window = GlobalWindows.windowed_value
    maps = [
        SideInputMap(view, options, [in_window(value) for part in parts for value in part])
        for (view, options), parts in zip(views, sides, strict=True)
    ]
    runner = DoFnRunner(
        fn,
        args,
        kwargs,
        maps,
        Windowing(GlobalWindows()),
        tagged_receivers={None: results},
        # Without a step_name, Beam lets exceptions through unchanged.
    )
    runner.setup()
    try:
        runner.start()
        for element in elements:
            runner.process(in_window(element))
        runner.finish()
    finally:
        runner.teardown()
    return results.values


def _grouped(elements: list[tuple]) -> dict[Any, list]:
    groups = defaultdict(list)
    for key, value in elements:
        groups[key].append(value)
    return dict(groups)


def _picked(groups: dict[Any, list], keys: list) -> dict[Any, list]:
    return {key: groups[key] for key in keys if key in groups}


def _merged(parts: list[dict[Any, list]]) -> list[tuple]:
    merged = defaultdict(list)
    for groups in parts:
        for key, values in groups.items():
            merged[key] += values
    return list(merged.items())
