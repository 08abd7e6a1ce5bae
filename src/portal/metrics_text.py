"""Metrics as Prometheus reads them. Imported by the first scrape alone, with the library."""

# prometheus_client takes 0.5 MiB and 14 ms, of which who has no Prometheus pays nothing: it is loaded in the portal's
# cell, by a thread. The two C extensions that it brings cannot be mapped there, and are loaded before (safeip.cell_portal).

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from portal.metrics_families import FAMILIES, Samples, Spread

CONTENT_TYPE = CONTENT_TYPE_LATEST


def render(samples: Samples) -> bytes:
    """The text of these samples, in their order."""
    registry = CollectorRegistry()
    registry.register(_Known(samples))
    return generate_latest(registry)


class _Known(Collector):
    """A collector of what is known already."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        for name, found in self._samples.items():
            family = FAMILIES[name]
            metric: Any  # the library's families take other arguments each
            if family.kind == "counter":
                metric = CounterMetricFamily(name.removesuffix("_total"), family.means, labels=family.labels)
            elif family.kind == "gauge":
                metric = GaugeMetricFamily(name, family.means, labels=family.labels)
            else:
                metric = HistogramMetricFamily(name, family.means, labels=family.labels)
            for labels, value in found:
                if not isinstance(value, Spread):
                    metric.add_metric(labels, value)
                else:
                    metric.add_metric(labels, _cumulative(value), value.total)
            yield metric


def _cumulative(spread: Spread) -> list[tuple[str, float]]:
    ends = [*(str(bound) for bound in spread.bounds), "+Inf"]
    return list(zip(ends, accumulate(spread.buckets), strict=True))
