"""The method runs where neither Ray nor MLflow is, and `--help` does not wait for PyTorch."""

import subprocess
import sys
import textwrap


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )


def test_fusion_fuses_without_ray_mlflow_and_everything_else_that_is_not_its_own() -> None:
    done = run(
        """
        import sys
        for name in ("ray", "mlflow", "pydantic", "typer", "rich", "sklearn", "matplotlib", "yaml"):
            sys.modules[name] = None
        import torch
        from fusion import algorithm, assembly, pretraining
        from tests.tiny import CPU, settings, teacher
        parties = [assembly.build_party(0, 1, teacher(), settings(), CPU)]
        student = assembly.build_student([teacher()], settings(), CPU)
        algorithm.warm_up(parties, settings().schedule)
        algorithm.fuse(parties, student, settings().schedule)
        print(sorted(student.meter.take()))
        """
    )
    assert done.returncode == 0, done.stderr
    assert "student/distill" in done.stdout


def test_the_benchmark_for_gpus_needs_torch_numpy_and_safetensors_alone() -> None:
    done = run(
        """
        import sys
        kept = {"torch", "numpy", "safetensors"}
        for name in ("ray", "mlflow", "pydantic", "typer", "rich", "sklearn", "matplotlib", "yaml", "scipy",
                     "PIL", "pyarrow", "torchvision", "psutil"):
            sys.modules[name] = None
        import benchmarks.gpu
        print(sorted(kept & sys.modules.keys()))
        """
    )
    assert done.stdout.strip() == "['numpy', 'safetensors', 'torch']", done.stderr


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    done = run(
        """
        import sys
        import orchestrator.cli
        print([name for name in ("torch", "ray", "mlflow", "matplotlib", "pydantic") if name in sys.modules])
        """
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
