"""Registers the broken metrics; the other components are handed to the kit as specs."""

from gasdet import ComponentSpec, hookimpl

requires_gasdet = ">=0.1,<1"


@hookimpl
def register_metrics(register):
    register(ComponentSpec("mean-error", "gasdet_testbroken.metrics:good", "for tests"))
    register(ComponentSpec("one-sided", "gasdet_testbroken.metrics:one_class", "for tests"))
