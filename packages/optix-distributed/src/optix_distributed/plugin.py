"""The plugin module of optix-distributed: one runner. It imports no framework."""

from __future__ import annotations

from optix_core.plugin import Option, RunnerSpec, hookimpl

OPTIX_API = "1.0"

_OPTIONS = (
    Option("actors", None, help="processes that collect; none: one for each processor of this machine"),
    Option("envs_per_actor", None, help="environments that each steps together; none: n_envs, or 8"),
    Option(
        "slots_per_actor",
        1,
        help="trajectories under way per actor; more hide uneven speeds, data gets older",
    ),
    Option("sync", "async", help="async, or lockstep: two runs with one seed give equal weights"),
    Option("lag", 0, help="in lockstep, by how many versions the weights that act are behind: 0 or 1"),
    Option("max_policy_lag", None, help="discard older trajectories, and count them"),
    Option("max_restarts", 3, help="replacements of one actor within restart_window_s"),
    Option("restart_window_s", 300.0, help="seconds"),
    Option("min_actors", None, help="with how many to go on; none: all"),
    Option("actor_timeout_s", 300.0, help="an actor that makes no step for so long is replaced; none: never"),
    Option(
        "backend",
        "local",
        help="local: processes of this machine; ray: a Ray cluster; inline: this process, for debugging",
    ),
    Option(
        "address", None, help="of the Ray cluster, auto or HOST:PORT; none: RAY_ADDRESS, or one started here"
    ),
    Option("placement", "spread", help="on the cluster: spread, or reserve room for all actors beforehand"),
    Option("actor_resources", None, help="of the cluster, that each actor takes; none: one CPU"),
    Option("verify_weights", False, help="compare a checksum of weights on every processor"),
)


@hookimpl
def optix_runners() -> list[RunnerSpec]:
    """Actors that collect while the agent learns."""
    return [
        RunnerSpec(
            name="async",
            factory="optix_distributed.runner:build",
            summary="actors in processes of their own collect while the agent learns; data is corrected by V-trace",
            capabilities=frozenset({"async", "checkpoint", "recurrent", "masks", "vtrace"}),
            options=_OPTIONS,
        )
    ]
