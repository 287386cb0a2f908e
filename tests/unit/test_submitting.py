from pathlib import Path

import pytest

from orchestrator import submitting
from orchestrator.errors import UserError
from orchestrator.submitting import check_upload
from orchestrator.versions import differences, versions


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(submitting, "UPLOAD_LIMIT", 3 * 2**20)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.parquet").write_bytes(bytes(2 * 2**20))
    (tmp_path / "old.safetensors").write_bytes(bytes(2 * 2**20))
    (tmp_path / "run.yaml").write_text("student: resnet8\n")
    return tmp_path


def test_a_working_directory_over_the_limit_names_its_largest_files(folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        check_upload(folder, [])
    message = str(caught.value)
    assert message.startswith(f"--working-dir: {folder} has 4 MiB, Ray takes 3; the largest files are ")
    assert "old.safetensors (2 MiB)" in message
    assert f"{Path('data') / 'train.parquet'} (2 MiB)" in message
    assert "--exclude" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "pattern", ["*.safetensors", "old.safetensors", "data", "/data/", "data/*", "*.parquet"]
)
def test_what_is_excluded_does_not_count(folder: Path, pattern: str) -> None:
    check_upload(folder, [pattern])


def test_what_git_ignores_does_not_count(folder: Path) -> None:
    import subprocess

    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / ".gitignore").write_text("data/\n")
    check_upload(folder, [])


def test_no_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no directory"):
        check_upload(tmp_path / "missing", [])


def test_a_node_with_other_versions_is_named_with_both() -> None:
    here = versions()
    assert {"python", "torch", "ray", "dfmf"} <= set(here)
    assert differences(here, {"10.0.0.1": dict(here)}) == []
    other = here | {"torch": "1.0"}
    missing = {name: value for name, value in here.items() if name != "dfmf"}
    assert differences(here, {"10.0.0.1": other, "10.0.0.2": missing}) == [
        f"node 10.0.0.1 has torch 1.0, the driver {here['torch']}",
        f"node 10.0.0.2 has dfmf missing, the driver {here['dfmf']}",
    ]


@pytest.mark.parametrize(
    "override", ["tracking.uri=http://me:hunter2@tracker:5000", "tracking.uri=https://tracker/?token=hunter2"]
)
def test_a_password_does_not_go_into_a_jobs_command(folder: Path, override: str) -> None:
    with pytest.raises(UserError) as caught:
        submitting.submit(
            "run.yaml",
            [override],
            resume=None,
            address="http://127.0.0.1:1",
            working_dir=folder / "data",
            excludes=[],
            follow=False,
            say=print,
        )
    assert "holds a secret" in str(caught.value)
    assert "hunter2" not in str(caught.value)
