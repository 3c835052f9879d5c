"""Settings of all tests of the core."""

from __future__ import annotations

from hypothesis import settings

# A busy machine must not fail a test: how long one example takes is no property of the code.
settings.register_profile("optix", deadline=None)
settings.load_profile("optix")
