"""Which errors optix raises on purpose, and how they are related.

```
OptixError
├── ConfigError                       a config file, override or constructor argument is wrong
├── SpaceError                        an observation or action space does not fit
├── HyperparamError                   unknown, out-of-range or mistyped hyperparameter
├── AgentResolutionError              make_agent found none, or more than one, that fits
│   └── MissingDependencyError        the chosen agent needs a package that is not importable
├── PluginError
│   ├── PluginNotFound · PluginBroken · PluginConflict · PluginBlocked
├── CheckpointError
│   ├── CorruptCheckpoint             bytes differ from what the manifest promises
│   ├── IncompatibleCheckpoint        valid, but for another agent, architecture or optix version
│   ├── CheckpointLocked              another process writes to this run
│   ├── CheckpointNotSaved            repeated I/O failures
│   └── NonFiniteState                NaN or infinity in weights or optimizer state
├── ResumeError                       a run cannot be continued as asked
├── EnvironmentFault                  the environment broke its contract (NaN, wrong shape, ...)
├── StreamError                       a live source failed for good
│   ├── StreamStalled                 it fell silent for longer than it may
│   └── MalformedItem                 it delivers too many items that cannot be used
├── SearchError                       a search over trials cannot go on, or found nothing
└── NumericalDivergence               training produced non-finite numbers repeatedly
```

Every error carries a stable ``code`` (see docs/errors.md) and says what failed, where, what was
expected, and one thing that fixes it.
"""

from __future__ import annotations

from typing import ClassVar


class OptixError(Exception):
    """Base of every error that optix raises on purpose.

    Args:
        message: What failed, where, expected versus found, and what to do.
        code: Stable identifier, for example ``"E-SPACE"``; defaults to the class's own code.
    """

    default_code: ClassVar[str] = "E-OPTIX"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}"


class ConfigError(OptixError, ValueError):
    """A configuration file, override or constructor argument is wrong."""

    default_code = "E-CONFIG"


class SpaceError(OptixError, ValueError):
    """An observation or action space is not one the component can handle."""

    default_code = "E-SPACE"


class HyperparamError(OptixError, ValueError):
    """A hyperparameter is unknown, out of its range or of the wrong type."""

    default_code = "E-HYPERPARAM"


class AgentResolutionError(OptixError, LookupError):
    """No agent, or no single agent, fits the request.

    Attributes:
        candidates: Qualified names (``"optix-torch:PPO"``) that were still possible.
        suggestions: Names the caller may have meant.
        steps: One line per resolution step that was taken, in order.
    """

    default_code = "E-UNKNOWN-AGENT"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        candidates: tuple[str, ...] = (),
        suggestions: tuple[str, ...] = (),
        steps: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, code=code)
        self.candidates = candidates
        self.suggestions = suggestions
        self.steps = steps


class MissingDependencyError(AgentResolutionError, ImportError):
    """The chosen component needs a package that this Python cannot import."""

    default_code = "E-MISSING-DEP"


class PluginError(OptixError):
    """A plugin could not be used."""

    default_code = "E-PLUGIN"


class PluginNotFound(PluginError, LookupError):
    """No installed plugin has the requested name."""

    default_code = "E-PLUGIN-NOT-FOUND"


class PluginBroken(PluginError):
    """A plugin is installed, but failed while it was discovered or loaded."""

    default_code = "E-PLUGIN-BROKEN"


class PluginConflict(PluginError):
    """Two plugins claim the same thing and nothing says which one to prefer."""

    default_code = "E-PLUGIN-CONFLICT"


class PluginBlocked(PluginError):
    """A plugin is installed, but a switch keeps it from being loaded."""

    default_code = "E-PLUGIN-BLOCKED"


class CheckpointError(OptixError):
    """A checkpoint could not be written, read or applied."""

    default_code = "E-CHECKPOINT"


class CorruptCheckpoint(CheckpointError):
    """The bytes on disk are not those that the manifest promises."""

    default_code = "E-CKPT-CORRUPT"


class IncompatibleCheckpoint(CheckpointError):
    """A valid checkpoint that belongs to another agent, architecture or version."""

    default_code = "E-CKPT-INCOMPATIBLE"


class CheckpointLocked(CheckpointError):
    """Another process holds the writer's lock of this run directory."""

    default_code = "E-CKPT-LOCKED"


class CheckpointNotSaved(CheckpointError):
    """Saving failed repeatedly; the last good checkpoint is intact."""

    default_code = "E-CKPT-NOT-SAVED"


class NonFiniteState(CheckpointError, ArithmeticError):
    """Weights or optimizer state contain NaN or infinity and were not saved."""

    default_code = "E-CKPT-NONFINITE"


class ResumeError(OptixError):
    """A run cannot be continued as asked."""

    default_code = "E-RESUME"


class EnvironmentFault(OptixError):
    """The environment broke its contract: NaN, wrong shape, wrong type, no episode end."""

    default_code = "E-ENV"


class StreamError(OptixError):
    """A live source of data failed and could not be reached again."""

    default_code = "E-STREAM"


class StreamStalled(StreamError):
    """A live source gave nothing for longer than it may."""

    default_code = "E-STREAM-STALLED"


class MalformedItem(StreamError, ValueError):
    """A live source delivers too many items that cannot be used."""

    default_code = "E-STREAM-MALFORMED"


class SearchError(OptixError):
    """A search over trials cannot go on, or found nothing."""

    default_code = "E-SEARCH"


class NumericalDivergence(OptixError, ArithmeticError):
    """Training produced non-finite numbers and restoring earlier weights did not help."""

    default_code = "E-DIVERGED"
