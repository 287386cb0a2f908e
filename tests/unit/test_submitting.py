import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from ray.exceptions import AuthenticationError, RpcError

from orchestrator import cluster, submitting
from orchestrator.errors import UserError
from orchestrator.sections import EngineSettings
from orchestrator.submitting import check_upload


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(submitting, "UPLOAD_LIMIT", 3 * 2**20)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.parquet").write_bytes(bytes(2 * 2**20))
    (tmp_path / "old.safetensors").write_bytes(bytes(2 * 2**20))
    (tmp_path / "run.yaml").write_text("student: resnet8\n")
    return tmp_path


def submit(folder: Path, *overrides: str) -> None:
    submitting.submit(
        "run.yaml",
        list(overrides),
        resume=None,
        address="127.0.0.1:1",
        working_dir=folder / "data",
        excludes=[],
        follow=False,
        say=print,
    )


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


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".gitignore", "data/\n"),
        (".rayignore", "*.safetensors\n"),
        ("data/.gitignore", "*\n"),
        (".rayignore", "*\n!run.yaml\n"),
    ],
)
def test_what_ray_ignores_does_not_count_with_or_without_git(
    file: str, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    (folder / file).write_text(text)
    check_upload(folder, [])


def test_what_ray_sends_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "data" / "train.parquet").rename(folder / "größe.bin")
    (folder / ".gitignore").write_text("*.bin\n")
    monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    with pytest.raises(UserError, match=r"größe\.bin \(2 MiB\)"):
        check_upload(folder, [])


def test_a_ray_whose_own_parts_are_elsewhere_is_left_to_check(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray._private.thirdparty.pathspec", None)
    check_upload(folder, [])


def test_what_counts_is_what_ray_packs(folder: Path) -> None:
    """By Ray's own walk over the folder."""
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    for path in (".git/config", ".venv/x", "a/b/c.txt", "a/b/keep.txt", "a/run.log", "a/.gitignore"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("")
    (folder / "a" / ".gitignore").write_text("*.txt\n!keep.txt\n")
    (folder / ".rayignore").write_text("*.log\n/data\n")
    packed: list[Path] = []
    excludes = [_get_excludes(folder, [".git", ".venv", "venv", "__pycache__", "old*"])]
    _dir_travel(folder, excludes, packed.append, include_gitignore=True)
    found = set(submitting._packed(folder, ["old*"]))
    assert found == {path for path in packed if path.is_file()}
    assert {path.name for path in found} == {"run.yaml", ".rayignore", ".gitignore", "keep.txt"}


@pytest.mark.parametrize(
    "problem", [AuthenticationError("no token"), RpcError("bad address"), ConnectionError()]
)
def test_a_cluster_that_refuses_is_one_line(
    problem: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Mock(return_value=Mock(submit_job=Mock(side_effect=problem)))
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", client)
    with pytest.raises(UserError, match=r"^--address: 127\.0\.0\.1:1: .+$"):
        submit(folder)
    monkeypatch.setattr(cluster, "_check_reachable", lambda _: None)
    monkeypatch.setattr(cluster.ray, "init", Mock(side_effect=problem))
    with (
        pytest.raises(UserError, match=r"^engine\.address: no Ray cluster at 127\.0\.0\.1:1 \(.+\)$"),
        cluster.cluster(EngineSettings(address="127.0.0.1:1")),
    ):
        pass


def test_no_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no directory"):
        check_upload(tmp_path / "missing", [])


@pytest.mark.parametrize(
    "override", ["tracking.uri=http://me:hunter2@tracker:5000", "tracking.uri=https://tracker/?token=hunter2"]
)
def test_a_password_does_not_go_into_a_jobs_command(folder: Path, override: str) -> None:
    with pytest.raises(UserError) as caught:
        submit(folder, override)
    assert "holds a secret" in str(caught.value)
    assert "hunter2" not in str(caught.value)
