"""The process in which ``optix plugins doctor`` imports one plugin; its answer goes to a file, since plugins may print.

Run as ``python -m optix_core.plugins.doctor_child JOB`` with the job as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optix_core.plugins.protocol import Check
from optix_core.plugins.records import Record
from optix_core.plugins.registry import Registry, use_registry
from optix_core.plugins.switches import Layer, Switches

Found = dict[str, Any]


def main() -> int:
    """Do the job in ``sys.argv[1]``."""
    job: dict[str, Any] = json.loads(sys.argv[1])
    local = job["origin"] == "argument"
    switches = Switches(
        layers=(Layer(allow=frozenset() if local else frozenset({job["plugin"]})),),
        modules=(job["target"],) if local else (),
    )
    with use_registry(Registry(switches=switches)) as registry:
        record = registry.record(job["plugin"])
        if record is None:
            found = [_found(job["plugin"], "import", "error", "it has gone since it was discovered")]
        elif job["what"] == "conformance":
            found = list(_conformance(record))
        else:
            found = [*_loading(record), *_own_checks(registry, record, deep=job["deep"])]
    Path(job["answer"]).write_text(json.dumps(found), encoding="utf-8")
    return 0


def _found(plugin: str, check: str, status: str, message: str, **data: Any) -> Found:
    return {"plugin": plugin, "check": check, "status": status, "message": message, "data": data}


def _loading(record: Record) -> Iterable[Found]:
    if not record.loaded:
        message = record.error or record.state
        yield _found(record.name, record.phase or "import", "error", message, traceback=record.traceback)
        return
    offers = record.provides_text or "nothing"
    yield _found(
        record.name,
        "import",
        "ok",
        f"{record.import_cpu_ms or 0.0:.0f} ms of CPU time; it offers {offers}",
        import_cpu_ms=record.import_cpu_ms,
        heavy=list(record.heavy),
    )
    for text in record.warnings:
        yield _found(record.name, "import", "warning", text)


def _own_checks(registry: Registry, record: Record, *, deep: bool) -> Iterable[Found]:
    """What the plugin's ``optix_doctor`` hook says."""
    plugin = registry.manager.get_plugin(record.name)
    for impl in registry.manager.hook.optix_doctor.get_hookimpls():
        if impl.plugin is not plugin:
            continue
        try:
            answer: Any = impl.function(*([deep] if "deep" in impl.argnames else []))
            for check in answer or ():
                if not isinstance(check, Check):
                    raise TypeError(f"optix_doctor() gave {check!r}; it must give optix_core.plugin.Check")
                yield _found(record.name, check.name, check.status, check.message, **check.data)
        except Exception as error:  # noqa: BLE001 (a diagnosis that fails is a finding)
            yield _found(record.name, "optix_doctor", "error", f"{type(error).__name__}: {error}")


def _conformance(record: Record) -> Iterable[Found]:
    from optix_core.testing.components import check_component

    for spec in record.specs:
        name = f"{record.name}:{spec.name}"
        try:
            report = check_component(spec.kind, name)
        except Exception as error:  # noqa: BLE001 (whatever a component raises is the finding)
            yield _found(
                record.name, f"conformance of {spec.name}", "error", f"{type(error).__name__}: {error}"
            )
            continue
        if report is None:
            message = f"there are no checks for a {spec.kind.replace('_', ' ')}"
            yield _found(record.name, f"conformance of {spec.name}", "ok", message)
            continue
        status = "ok" if report.ok else "error"
        yield _found(record.name, f"conformance of {spec.name}", status, str(report), report=report.to_dict())


if __name__ == "__main__":
    raise SystemExit(main())
