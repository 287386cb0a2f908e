"""dfmf: data-free model fusion on Ray. The same as the command line, from Python::

from orchestrator import fuse

result = fuse("digits", "method.alpha=0.2")
print(result.folder, result.summary["student"]["accuracy"])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.auditing import audit
    from orchestrator.errors import Interrupted, RunFailed, UserError
    from orchestrator.evaluating import evaluate
    from orchestrator.run_parts import FusionResult
    from orchestrator.running import fuse, pretrain

__all__ = ["FusionResult", "Interrupted", "RunFailed", "UserError", "audit", "evaluate", "fuse", "pretrain"]

_HOMES = {
    "fuse": "running",
    "FusionResult": "run_parts",
    "pretrain": "running",
    "audit": "auditing",
    "evaluate": "evaluating",
    "UserError": "errors",
    "Interrupted": "errors",
    "RunFailed": "errors",
}


def __getattr__(name: str) -> Any:
    """Import on first use: ``dfmf --help`` must not wait for PyTorch and Ray."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"orchestrator.{_HOMES[name]}"), name)
