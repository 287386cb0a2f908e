"""Runs that MLflow keeps: what they left as artifacts is read as it is read from their folders."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fusion.untrusted import one_line
from orchestrator import journal
from orchestrator.comparison.collect import CONFIG, EXPERIMENT, SUMMARY, run_in
from orchestrator.comparison.records import Run
from orchestrator.environment import ENVIRONMENT
from orchestrator.errors import UserError, user_error
from orchestrator.secrets import given_again, redact
from orchestrator.sections import Tracking
from orchestrator.tracking import QUICK, errors, first_line, other_schema, tracking_uri

NEEDED = (CONFIG, SUMMARY)
ARTIFACTS = (*NEEDED, ENVIRONMENT, journal.TABLE)
PARENT = "mlflow.parentRunId"


def experiment_runs(experiment: str, uri: str | None) -> list[Run]:
    """The runs of an experiment in the store at `uri`, by default the one in `runs`.

    A run that only holds others together is left out.

    Raises:
        UserError: there is no such store or experiment, or a run is damaged.
    """
    store = given_again(uri) if uri else tracking_uri(Tracking(), Path("runs"))
    database = Path(store.removeprefix("sqlite:///").partition("?")[0])
    if store.startswith("sqlite:///") and not database.is_file():  # MLflow would make it.
        raise user_error(f"{redact(store)}: no such tracking store; name it with --tracking-uri")
    for variable, value in {**QUICK, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}.items():
        os.environ.setdefault(variable, value)
    with _told_in_one_line(store), tempfile.TemporaryDirectory() as scratch:
        import mlflow

        client = mlflow.MlflowClient(tracking_uri=store)
        known = client.get_experiment_by_name(experiment)
        if known is None:
            names = ", ".join(repr(one.name) for one in client.search_experiments())
            raise user_error(
                f"{EXPERIMENT}{experiment}: no such experiment in {redact(store)} (known: {names})"
            )
        entries = _all(client, known.experiment_id)
        parents = {entry.data.tags.get(PARENT) for entry in entries}
        return [
            _read(client, entry, f"{EXPERIMENT}{experiment}", Path(scratch))
            for entry in entries
            if entry.info.run_id not in parents
        ]


def _all(client: Any, experiment_id: str) -> list[Any]:
    """In the order in which they were started."""
    found, token = [], None
    while True:
        page = client.search_runs([experiment_id], order_by=["attributes.start_time ASC"], page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _read(client: Any, entry: Any, experiment: str, scratch: Path) -> Run:
    name, identifier = str(entry.info.run_name), entry.info.run_id
    origin = f"{experiment}/{name} ({identifier})"
    if entry.info.status != "FINISHED":
        return _left_out(entry, origin, entry.info.status.lower(), "is not finished in MLflow")
    there = {one.path for one in client.list_artifacts(identifier)}
    missing = [one for one in NEEDED if one not in there]
    if missing:
        return _left_out(entry, origin, "incomplete", f"has no artifact {' and no '.join(missing)}")
    folder = scratch / identifier
    folder.mkdir()
    for path in ARTIFACTS:
        if path in there:
            client.download_artifacts(identifier, path, str(folder))
    try:
        return run_in(folder, name=name, origin=origin)
    except UserError as error:
        raise UserError(str(error).replace(str(folder), origin)) from error


def _left_out(entry: Any, origin: str, status: str, reason: str) -> Run:
    seed = str(entry.data.params.get("seed", ""))
    return Run(
        name=one_line(str(entry.info.run_name)),
        origin=one_line(origin),
        identity=entry.info.run_id,
        seed=int(seed) if seed.isdecimal() else 0,
        config={},
        status=status,
        reason=reason,
    )


@contextlib.contextmanager
def _told_in_one_line(store: str) -> Iterator[None]:
    try:
        yield
    except errors() as error:
        otherwise = f"{redact(store)}: cannot read the tracking store ({first_line(error)})"
        raise user_error(other_schema(store, error) or otherwise) from error
