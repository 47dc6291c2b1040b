"""The transforms of a Beam pipeline as tasks of a Dask cluster.

Elements stay on the workers; the submitter sees keys only.
"""

import functools
import math
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import distributed
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.pvalue import PCollection
from apache_beam.runners.common import DoFnRunner, Receiver  # Private API: apache-beam 2.77.
from apache_beam.transforms.core import Windowing
from apache_beam.transforms.sideinputs import SideInputMap  # Private API: apache-beam 2.77.
from apache_beam.transforms.window import GlobalWindows, WindowedValue
from distributed import Client, Future

# The elements of a PCollection are spread over bundles; a task makes one bundle.
Bundle = list[Any]
Groups = dict[Any, list[Any]]


class Submission(PipelineVisitor):
    """Submits each transform when Beam's visit of the pipeline comes to it.

    Args:
        client: The cluster.
        partitions: Bundles that the keys of a GroupByKey are spread over; None for one a key.
        partition_size: Keys in such a bundle; None for what `partitions` says.
    """

    def __init__(self, client: Client, partitions: int | None, partition_size: int | None):
        self._client = client
        self._partitions = partitions
        self._partition_size = partition_size
        self._bundles: dict[PCollection, list[Future]] = {}

    def enter_composite_transform(self, node: AppliedPTransform) -> None:
        """Submit a Create as a whole: its parts depend on Beam's version."""
        if isinstance(node.transform, beam.Create):
            values = node.transform.values
            self._bundles[node.outputs[None]] = [self._submit("Create", list, [v]) for v in values]

    def visit_transform(self, node: AppliedPTransform) -> None:
        """Submit a ParDo or a GroupByKey."""
        if _is_inside_create(node):
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
        """Wait until everything is done; raise what the first failing task raised."""
        self._wait([future for bundles in self._bundles.values() for future in bundles])

    def _submit(self, label: str, function: Callable[..., Any], *args: Any) -> Future:
        key = f"{label}-{uuid.uuid4().hex}"
        return self._client.submit(function, *args, key=key)

    def _wait(self, futures: Iterable[Future]) -> None:
        for future in distributed.as_completed(futures):
            future.result()

    def _par_do(self, node: AppliedPTransform) -> list[Future]:
        transform = node.transform
        run = functools.partial(
            _run_bundle,
            transform.fn,
            transform.args,
            transform.kwargs,
            # Private API: apache-beam 2.77.
            [(type(side), side._view_options()) for side in node.side_inputs],
        )
        side_bundles = [self._bundles[side.pvalue] for side in node.side_inputs]
        (source,) = node.main_inputs.values()
        label = node.full_label
        return [self._submit(label, run, bundle, side_bundles) for bundle in self._bundles[source]]

    def _group_by_key(self, node: AppliedPTransform) -> list[Future]:
        (source,) = node.main_inputs.values()
        label = node.full_label
        grouped = [self._submit(label, _group, bundle) for bundle in self._bundles[source]]
        keys_of = [self._submit(label, list, groups) for groups in grouped]
        self._wait(keys_of)
        # The places in `grouped` of the groups that have a key.
        places: dict[Any, list[int]] = defaultdict(list)
        for place, keys in enumerate(self._client.gather(keys_of)):
            for key in keys:
                places[key].append(place)
        all_keys = list(places)
        size = self._keys_per_bundle(len(all_keys))
        bundles = []
        for first in range(0, len(all_keys), size):
            keys = all_keys[first : first + size]
            holders = sorted({place for key in keys for place in places[key]})
            picked = [self._submit(label, _pick, grouped[place], keys) for place in holders]
            bundles.append(self._submit(label, _merge, picked))
        return bundles

    def _keys_per_bundle(self, n_keys: int) -> int:
        partitions = self._partitions or n_keys or 1
        return self._partition_size or math.ceil(n_keys / partitions) or 1


def _is_inside_create(node: AppliedPTransform) -> bool:
    while node.parent is not None:
        node = node.parent
        if isinstance(node.transform, beam.Create):
            return True
    return False


class _Results(Receiver):
    """Keeps the values that a DoFn outputs."""

    def __init__(self) -> None:
        self.values: Bundle = []

    def receive(self, windowed_value: WindowedValue) -> None:
        self.values.append(windowed_value.value)


def _run_bundle(
    fn: beam.DoFn,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    views: Sequence[tuple[type, Any]],
    bundle: Bundle,
    side_bundles: Sequence[Sequence[Bundle]],
) -> Bundle:
    """Return the results of a DoFn for the elements of a bundle.

    Args:
        fn: The DoFn.
        args: More arguments of its `process`.
        kwargs: More arguments of its `process`.
        views: Type and options of each side input.
        bundle: The elements.
        side_bundles: For each side input, the bundles of its PCollection.
    """
    results = _Results()
    in_window = GlobalWindows.windowed_value
    maps = [
        SideInputMap(view, options, [in_window(value) for part in parts for value in part])
        for (view, options), parts in zip(views, side_bundles, strict=True)
    ]
    # Without a `step_name` Beam hands on a stage's exception unchanged.
    runner = DoFnRunner(
        fn, args, kwargs, maps, Windowing(GlobalWindows()), tagged_receivers={None: results}
    )
    runner.setup()
    try:
        runner.start()
        for element in bundle:
            runner.process(in_window(element))
        runner.finish()
    finally:
        runner.teardown()
    return results.values


def _group(pairs: Iterable[tuple[Any, Any]]) -> Groups:
    groups: Groups = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return dict(groups)


def _pick(groups: Groups, keys: Iterable[Any]) -> Groups:
    return {key: groups[key] for key in keys if key in groups}


def _merge(parts: Iterable[Groups]) -> list[tuple[Any, list[Any]]]:
    merged: Groups = defaultdict(list)
    for groups in parts:
        for key, values in groups.items():
            merged[key] += values
    return list(merged.items())
