"""Each problem that the doctor knows is found, with what to do about it; what is well is called well."""

import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from orchestrator.checks import machine, software
from orchestrator.checks.finding import Finding, attempted
from orchestrator.doctor import as_json, examine, lines, split_arguments, verdict
from orchestrator.dry_run import subject
from orchestrator.errors import UserError
from tests.checking import config, level

Patch = pytest.MonkeyPatch
GIB = 2**30


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: Patch) -> None:
    """Those of the tests' own environment must not decide."""
    for name in list(os.environ):
        if name.startswith(("RAY_", "CUDA_VISIBLE", "TORCH_FORCE", "MLFLOW_TRACKING")):
            monkeypatch.delenv(name)


def test_python_must_be_what_the_distribution_requires(monkeypatch: Patch) -> None:
    monkeypatch.setattr(software, "metadata", lambda name: {"Requires-Python": ">=3.10"})
    monkeypatch.setattr(software, "sys", SimpleNamespace(version_info=(3, 12, 1)))
    assert level(software.python(), "3.12.1") == "ok"
    monkeypatch.setattr(software, "sys", SimpleNamespace(version_info=(3, 9, 2)))
    assert level(software.python(), "3.9.2, but dfmf needs >=3.10", "use Python") == "problem"
    monkeypatch.setattr(software, "sys", SimpleNamespace(version_info=(3, 14, 0)))
    assert level(software.python(), "newer than what dfmf is tested with") == "warning"


def test_every_library_is_held_against_our_own_requirements(monkeypatch: Patch) -> None:
    required = ["torch>=2.10", "ray[default]>=2.52", "rich>=13", "pytest>=8; extra == 'dev'"]
    there = {"torch": "2.10.0+cpu", "ray": "2.60.0", "rich": "13.1"}

    def version(name: str) -> str:
        if name not in there:
            raise importlib.metadata.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(software, "requires", lambda name: required)
    monkeypatch.setattr(software, "version", version)
    assert level(software.packages(), "all 3 as required (torch 2.10.0+cpu, ray 2.60.0)") == "ok"
    there |= {"torch": "2.9.1"}
    del there["rich"]
    wrong = software.packages()
    assert level(wrong, "torch is 2.9.1, not >=2.10; rich is missing", "pip install") == "problem"


def test_the_environment_of_the_tests_is_as_required() -> None:
    assert level(software.packages(), "torch", "ray", "mlflow") == "ok"


def test_not_installed_at_all_is_a_warning(monkeypatch: Patch) -> None:
    def nobody(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(software, "requires", nobody)
    assert level(software.packages(), "dfmf itself is not installed") == "warning"


def test_another_dfmf_in_the_current_folder_is_a_problem(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.chdir(tmp_path)
    assert level(software.imports(), str(software.ROOT)) == "ok"
    (tmp_path / "fusion").mkdir()
    assert software.imports().level == "ok"
    (tmp_path / "fusion" / "__init__.py").touch()
    assert level(software.imports(), f"would import fusion from {tmp_path}", "another folder") == "problem"
    monkeypatch.chdir(software.ROOT)
    assert software.imports().level == "ok"


def test_a_variable_that_makes_torch_unpickle_is_a_problem(monkeypatch: Patch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0")
    assert software.variables().level == "ok"
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    assert level(software.variables(), "unset TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD") == "problem"


def test_pictures_are_drawn_or_it_is_said_why_not(monkeypatch: Patch) -> None:
    assert software.pictures().level == "ok"

    def broken(*arguments: object) -> None:
        raise ValueError("no\nbackend")

    monkeypatch.setattr("orchestrator.plots.plot_accuracy", broken)
    assert level(software.pictures(), "matplotlib cannot draw: no backend", "MPLBACKEND") == "problem"


def test_gpus_are_named_or_it_is_said_why_there_are_none(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine, "NVIDIA_DRIVER", tmp_path / "gone")
    assert level(machine.gpus(), "slow") == "ok"
    monkeypatch.setattr(machine, "NVIDIA_DRIVER", tmp_path)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert level(machine.gpus(), "built without CUDA", "install a torch") == "warning"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert level(machine.gpus(), "cannot use it", "update the driver") == "warning"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert level(machine.gpus(), "hides", "unset CUDA_VISIBLE_DEVICES") == "warning"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "NVIDIA Test")
    assert level(machine.gpus(), "2 (NVIDIA Test)") == "ok"


def test_threads_are_counted_against_processors(monkeypatch: Patch) -> None:
    monkeypatch.setattr(machine, "available_cpus", lambda: 4.0)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert level(machine.cpus(config()), "4 for 3 threads") == "ok"
    many = config(engine={"mode": "ray", "threads": 2})
    assert level(machine.cpus(many), "4 for 6 threads", "engine.threads=1") == "warning"
    assert level(machine.cpus(config(engine={"mode": "local", "threads": 4})), "4 for 4 threads") == "ok"
    assert level(machine.cpus(config(engine={"address": "h:1"})), "cluster at h:1") == "ok"


def test_a_control_group_limits_processors_and_memory(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    free = machine.available_cpus(), machine.available_memory()
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text(f"{GIB}\n")
    assert machine.available_cpus() == free[0]
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text(f"{GIB + 3000}\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 500\n")
    assert (machine.available_cpus(), machine.available_memory()) == (0.5, 3500.0)


def test_the_older_control_groups_limit_too(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    for name, text in {
        "cpu/cpu.cfs_quota_us": "25000",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": "9000",
        "memory/memory.usage_in_bytes": "8000",
        "memory/memory.stat": "total_inactive_file 100",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert (machine.available_cpus(), machine.available_memory()) == (0.25, 1100.0)


@pytest.mark.parametrize(("free", "expected"), [(100, "ok"), (3.0, "warning"), (2.5, "problem")])
def test_memory_is_held_against_the_estimate(free: float, expected: str, monkeypatch: Patch) -> None:
    # Four processes of 0.59 GiB and half a GiB of object store need 2.84 GiB before any network.
    monkeypatch.setattr(machine, "available_memory", lambda: free * GIB)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    found = subject(config())
    assert level(machine.memory(config(), found.spec, found.networks), f"of {free:.1f} GiB free") == expected


def test_in_one_process_the_tensors_lie_on_the_first_gpu_if_there_is_one(monkeypatch: Patch) -> None:
    chosen = config(engine={"mode": "local"}, schedule={"batch_size": 4096})
    found = subject(chosen)
    monkeypatch.setattr(machine, "available_memory", lambda: 1.0 * GIB)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert level(machine.memory(chosen, found.spec, found.networks), "of 1.0 GiB free") == "problem"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    sizes = {0: 8 * GIB, 1: 80 * GIB}
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: SimpleNamespace(total_memory=sizes[index])
    )
    assert level(machine.memory(chosen, found.spec, found.networks), "about 0.6 GiB of 1.0 GiB free") == "ok"
    sizes[0] = GIB // 1024
    assert level(machine.memory(chosen, found.spec, found.networks), "on GPUs that have 0.0 GiB") == "problem"


def test_few_open_files_are_a_warning(monkeypatch: Patch) -> None:
    monkeypatch.setattr(machine.resource, "getrlimit", lambda which: (512, 4096))
    assert level(machine.open_files(), "512", "ulimit -n 1024") == "warning"
    monkeypatch.setattr(machine.resource, "getrlimit", lambda which: (512, 512))
    assert level(machine.open_files(), "administrator") == "warning"
    monkeypatch.setattr(machine.resource, "getrlimit", lambda which: (1024, 4096))
    assert machine.open_files().level == "ok"


def test_home_must_be_writable_only_for_a_token_of_rays(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert machine.home(config()).level == "ok"
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    assert level(machine.home(config(engine={"mode": "local"})), "does not need it") == "ok"
    monkeypatch.setattr(machine, "version", lambda name: "2.58.0")
    assert machine.home(config()).level == "ok"
    monkeypatch.setattr(machine, "version", lambda name: "2.60.0")
    assert level(machine.home(config()), "token", "RAY_AUTH_TOKEN") == "problem"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 32)
    assert machine.home(config()).level == "ok"


def test_a_check_that_breaks_is_a_problem_in_one_line() -> None:
    def breaks() -> Finding:
        raise RuntimeError("one\ntwo http://u:CANARY@h " + "x" * 1000)

    def refuses() -> Finding:
        raise UserError("data: no such file")

    (broken,) = attempted("gpus", breaks)
    assert level(broken, "the check itself broke: RuntimeError: one two http://***@h") == "problem"
    assert len(broken.says) <= 300
    assert attempted("memory", refuses)[0].says == "data: no such file"
    assert attempted("x", lambda: [broken, broken]) == [broken, broken]


def test_everything_is_looked_at_and_a_wrong_configuration_is_refused(tmp_path: Path) -> None:
    overrides = ["engine.mode=local", f"output={tmp_path}"]
    found = [one.check for one in examine("demo", overrides)]
    assert found == [
        *("python", "packages", "imports", "variables", "pictures", "gpus", "cpus", "memory"),
        *("open files", "home", "disk", "storage", "tracking", "ray"),
    ]
    with pytest.raises(UserError, match=r"engine\.threads"):
        list(examine("demo", ["engine.threads=0"]))


@pytest.mark.parametrize("library", ["torch", "ray", "pydantic"])
def test_a_library_that_cannot_be_imported_is_the_last_finding(library: str) -> None:
    code = f"""
        import sys
        sys.modules[{library!r}] = None
        from orchestrator.doctor import examine
        for one in examine("demo", []):
            print(one.check, one.level, one.says)
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    last = done.stdout.splitlines()[-1]
    assert last.startswith("libraries problem a library cannot be imported: "), done.stderr
    assert library in last


def test_data_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    overrides = ["engine.mode=local", "data.source=cifar10", f"data.root={tmp_path}", f"output={tmp_path}"]
    memory = next(one for one in examine("demo", overrides) if one.check == "memory")
    assert memory.level == "problem"
    assert memory.says.startswith("data: ")


def test_the_first_argument_is_the_run_unless_it_changes_a_key() -> None:
    assert split_arguments([]) == ("demo", [])
    assert split_arguments(["engine.threads=2"]) == ("demo", ["engine.threads=2"])
    assert split_arguments(["run.yaml", "a=1", "b=2"]) == ("run.yaml", ["a=1", "b=2"])


def test_findings_are_aligned_with_the_advice_beneath_and_counted() -> None:
    found = [Finding("cpus", "ok", "2"), Finding("token", "warning", "read by all", "chmod 600 f")]
    assert [lines(one).plain for one in found] == [
        "ok      cpus              2",
        "warning token             read by all\n                          -> chmod 600 f",
    ]
    assert verdict(found) == "2 checks: 0 problems, 1 warning"
    assert verdict(found[:1]) == "1 checks, everything is well"
    written = json.loads(json.dumps(as_json(found)))
    assert (written["problems"], written["warnings"]) == (0, 1)
    assert written["findings"][1] == {
        "check": "token", "level": "warning", "says": "read by all", "do": "chmod 600 f"
    }  # fmt: skip
