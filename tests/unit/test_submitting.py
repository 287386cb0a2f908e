import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from ray.exceptions import AuthenticationError, RpcError
from ray.job_submission import JobStatus
from typer.testing import CliRunner

from orchestrator import cluster, submitting
from orchestrator.cli import app
from orchestrator.errors import RunFailed, UserError
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


def submit(folder: Path, *overrides: str, follow: bool = False) -> None:
    submitting.submit(
        "run.yaml",
        list(overrides),
        resume=None,
        address="127.0.0.1:1",
        working_dir=folder / "data",
        excludes=[],
        follow=follow,
        say=print,
    )


@pytest.mark.parametrize(
    ("arguments", "relative"),
    [
        (["run.yaml"], True),
        (["demo", "output=mine"], True),
        (["run.yaml", "output=/shared/runs"], False),
        (["absolute.yaml"], False),
        (["absolute.yaml", "output=mine"], True),
        (["only-on-the-cluster.yaml"], False),
        (["wrong.yaml"], False),  # What is wrong with it the job will say.
        (["--resume", "/shared/runs/one"], False),
    ],
)
def test_results_that_would_lie_in_rays_copy_are_warned_of(
    arguments: list[str], relative: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "run.yaml").write_text("preset: demo\n")
    (folder / "absolute.yaml").write_text("preset: demo\noutput: /shared/runs\n")
    (folder / "wrong.yaml").write_text("preset: demo\nalpha: 1\n")
    sent = Mock()
    monkeypatch.setattr(submitting, "submit", sent)
    told = CliRunner().invoke(app, ["submit", *arguments, "--working-dir", str(folder)])
    assert (told.exit_code, sent.call_count) == (0, 1)
    assert ("is relative, so the results will lie in Ray's temporary copy" in told.stderr) == relative


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


async def broken(_job: str) -> AsyncIterator[str]:
    yield "epoch 1\n"
    raise RuntimeError("WebSocket connection closed unexpectedly with close code 1006")


async def closed(_job: str) -> AsyncIterator[str]:
    yield "epoch 1\n"


@pytest.mark.parametrize(
    ("tail", "said"), [(broken, r"\(.* 1006\); raysubmit_x may run on"), (closed, "; raysubmit_x runs on")]
)
def test_a_connection_that_is_lost_while_looking_on_does_not_end_the_job(
    tail: Callable[[str], AsyncIterator[str]],
    said: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    info = SimpleNamespace(status=JobStatus.RUNNING, driver_exit_code=None)
    client = SimpleNamespace(
        submit_job=lambda **_: "raysubmit_x", tail_job_logs=tail, get_job_info=lambda _: info
    )
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", lambda _: client)
    follow = "ray job logs --address 127.0.0.1:1 --follow raysubmit_x"
    with pytest.raises(RunFailed, match=f"^--address: 127.0.0.1:1: lost while looking on ?{said}: {follow}$"):
        submit(folder, follow=True)
    assert "epoch 1" in capsys.readouterr().out


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
