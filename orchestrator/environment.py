"""Where a run was made: versions, machine, and the commit of the code."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from fusion.untrusted import one_line

ENVIRONMENT = "environment.json"
PACKAGES = ("dfmf", "torch", "torchvision", "numpy", "ray", "mlflow", "pydantic", "pyarrow", "safetensors")


def environment() -> dict[str, Any]:
    """As it goes into `ENVIRONMENT`."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "processor": processor(),
        "gpus": _gpus(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git_commit": git_commit(),
    }


def moved(folder: Path) -> list[str]:
    """What rounds otherwise now than when the run in `folder` was begun, of which its `ENVIRONMENT` tells;
    nothing if that file is damaged or lost."""
    try:
        then = rounding(json.loads((folder / ENVIRONMENT).read_bytes()))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []
    now = rounding(environment())
    return [
        f"{name}: {one_line(then[name]) or 'none'} at the start, {now[name] or 'none'} now"
        for name in now
        if now[name] != then[name]
    ]


def rounding(about: Mapping[str, Any]) -> dict[str, str]:
    """The parts of an `environment` on which the last bits of a result depend, by name.

    Raises:
        LookupError, TypeError: it is none.
    """
    return {
        "processor": str(about["processor"]),
        "GPUs": ", ".join(map(str, about["gpus"])),
        "torch": str(about["packages"]["torch"]),
    }


def git_commit() -> str | None:
    """The commit of the checkout that this code runs from, with ``-dirty`` if it was changed; None outside
    of one."""
    folder = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() or None


def processor() -> str:
    """The processor's name as it calls itself, with family, model and stepping where it has them: a virtual
    machine's name alone can be that of several."""
    info = Path("/proc/cpuinfo")
    block = info.read_text(encoding="utf-8").partition("\n\n")[0] if info.exists() else ""
    about = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())
    }
    kind = [f"{key.split()[-1]} {about[key]}" for key in ("cpu family", "model", "stepping") if key in about]
    return (about.get("model name") or platform.processor()) + (f" ({', '.join(kind)})" if kind else "")


def _gpus() -> list[str]:
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
