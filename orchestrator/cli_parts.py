"""What all commands share: their arguments, errors in one line, and how results are shown."""

import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from orchestrator.errors import Interrupted, RunFailed, Terminated, UserError
from orchestrator.secrets import redact

RUN = typer.Argument(help="A YAML file, or the name of a preset (`dfmf init --list`).", show_default=False)
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        help="The folder of a run to go on with; where that is lost, path or URI of its checkpoints.",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Changes, such as method.alpha=0.2 or schedule.epochs=10.", show_default=False),
]


class one_line_errors:  # noqa: N801 - reads as a statement
    """A mistake becomes one line on standard error and an exit code: 2 for wrong input, 130 for Ctrl-C, 1
    else."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        codes: list[tuple[type[BaseException], int]] = [
            (UserError, 2),
            (Terminated, 143),
            (Interrupted, 130),
            (RunFailed, 1),
        ]
        for expected, code in codes:
            if isinstance(error, expected):
                _leave(str(error), code)
        if isinstance(error, KeyboardInterrupt):
            _leave("stopped", 130)


def _leave(message: str, code: int) -> NoReturn:
    if code > 128:  # On the way out another signal would change the exit code.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    print(redact(message), file=sys.stderr)
    raise SystemExit(code)


def _checked(path: Path | None) -> Path | None:
    from orchestrator.run_folder import check_target

    if path is not None:
        with one_line_errors():
            check_target(path, "--json: ")
    return path


JsonFile = Annotated[
    Path | None,
    typer.Option("--json", help="Also write all numbers to this file.", callback=_checked),
]


def show(console: Console, summary: dict[str, Any], folder: Path | None) -> None:
    """The table of what was compared, and the lines under it."""
    from orchestrator.tables import result_lines, result_table

    console.print(result_table(summary))
    for line in result_lines(summary, folder):
        console.print(line, soft_wrap=True)


def write_numbers(path: Path, value: dict[str, Any]) -> None:
    """What was measured, as a JSON file."""
    from orchestrator.run_folder import write_json

    try:
        write_json(path, value)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
