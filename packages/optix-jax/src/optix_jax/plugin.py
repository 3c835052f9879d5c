"""The plugin module of optix-jax: not built yet, so it registers nothing.

optix-core imports this module through the entry point ``optix-jax``, checks the API version below and finds
no hook implementation. That is a valid plugin: it is listed as installed, with no components.
"""

from __future__ import annotations

OPTIX_API = "1.0"
