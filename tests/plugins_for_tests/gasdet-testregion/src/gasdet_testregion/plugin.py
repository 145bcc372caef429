"""Registers what finds red pixels under the name ``faces``, and other preprocessors."""

from gasdet import ComponentSpec, hookimpl


@hookimpl
def register_preprocessors(register):
    register(ComponentSpec("faces", "gasdet_testregion.find:find_red", "the red pixels; for tests"))
    register(
        ComponentSpec("inner", "gasdet_testregion.find:find_with", "less an edge; for tests", options={"inset": 4})
    )
    register(ComponentSpec("other", "gasdet_testregion.find:is_none", "finds nothing; for tests"))
    register(ComponentSpec("one", "gasdet_testregion.find:always_one", "finds too much; for tests"))
    register(ComponentSpec("gone", "gasdet_testregion.absent:find", "cannot be imported; for tests"))
