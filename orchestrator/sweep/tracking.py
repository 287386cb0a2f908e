"""A sweep in MLflow: a run of its own, the parent of its trials' runs."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.secrets import redact
from orchestrator.shipping import be_quick
from orchestrator.sweep.board import SWEEP, Board
from orchestrator.sweep.reporting import REPORT
from orchestrator.sweep.study import Study
from orchestrator.tracking import MlflowRun, errors, first_line, flat, made_in_turn, unreachable


def start(study: Study, config: RunConfig) -> str | None:
    """Make the sweep's run, and with it the database, before trials race for that; its id, if there is one.

    Raises:
        UserError: the store cannot be reached.
    """
    if not config.tracking.enabled:
        return None
    uri = study.base["tracking"]["uri"]
    be_quick()
    params = {
        "space": study.space_name,
        "search": study.search,
        "scheduler": study.scheduler,
        "samples": study.samples,
        "seeds": " ".join(map(str, study.seeds)),
        **{
            f"base.{key}": value
            for key, value in flat(json.loads(config.model_dump_json())).items()
            if value is not None
        },
    }
    tags = {"dfmf.kind": "sweep", "dfmf.folder": str(study.folder)}
    artifacts = study.folder.parent / "mlartifacts"
    try:
        with made_in_turn(uri):
            return MlflowRun(uri).create(
                config.tracking.experiment, artifacts, study.folder.name, params, tags
            )
    except errors() as error:
        raise UserError(f"tracking.uri: {unreachable(uri, error)}") from error


def resume(study: Study) -> None:
    """The sweep's run goes on, if the store can be told."""
    be_quick()
    with contextlib.suppress(*errors()):
        MlflowRun(study.base["tracking"]["uri"], study.parent).set_status("RUNNING")


@contextlib.contextmanager
def finished(study: Study, board: Board, say: Callable[[str], None]) -> Iterator[None]:
    """When the block ends, so does the sweep's run, with what came of the trials; FAILED if none is
    finished."""
    status = "FAILED"
    try:
        yield
        status = "FINISHED" if board.has_results else "FAILED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if study.parent is not None:
            uri = study.base["tracking"]["uri"]
            try:
                run = MlflowRun(uri, study.parent)
                run.log_metrics(0, _numbers(board), int(time.time() * 1000))
                run.log_file(study.folder / SWEEP)
                run.log_file(study.folder / REPORT)
                run.set_status(status)
            except errors() as error:
                say(
                    f"{redact(uri)} does not take the sweep's results ({first_line(error)}); they are in "
                    f"{study.folder}"
                )


def _numbers(board: Board) -> Mapping[str, Any]:
    states = [row["status"] for row in board.all_rows]
    scores = [
        row["objective"]
        for row in board.all_rows
        if row["status"] == "finished" and row["objective"] is not None
    ]
    counts = {f"trials/{state.replace(' ', '_')}": float(states.count(state)) for state in set(states)}
    return counts | ({"best/objective": max(scores)} if scores else {})
