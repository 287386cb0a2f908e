"""The command line: `dfmf`, or `python -m orchestrator` without installation."""

import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from orchestrator.errors import Interrupted, RunFailed, Terminated, UserError
from orchestrator.secrets import redact

app = typer.Typer(
    help="Fuse pretrained image classifiers into one student, without their data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RUN = typer.Argument(help="A YAML file, or the name of a preset (`dfmf init --list`).", show_default=False)
Run = Annotated[str, RUN]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Changes, such as method.alpha=0.2 or schedule.epochs=10.", show_default=False),
]


@app.command()
def init(
    preset: Annotated[str, typer.Argument(help="The preset to start from.")] = "digits",
    to: Annotated[Path, typer.Option("--to", help="The file to write.")] = Path("run.yaml"),
    list_presets: Annotated[bool, typer.Option("--list", help="List the presets and stop.")] = False,
) -> None:
    """Write a commented configuration to start from.

    Every key is explained in docs/configuration.md; what a file leaves out has its default.
    """
    from orchestrator.loading import preset_text, presets

    with _one_line_errors():
        if list_presets:
            for name in presets():
                comment = [line[2:] for line in preset_text(name).splitlines() if line.startswith("# ")]
                print(f"{name:<14} {comment[0]}")
            return
        if preset not in presets():
            raise UserError(f"{preset}: unknown preset (known: {', '.join(presets())})")
        try:
            with to.open("x", encoding="utf-8") as file:
                file.write(preset_text(preset))
        except FileExistsError as error:
            raise UserError(f"{to}: is there already; give another file with --to") from error
        except OSError as error:
            raise UserError(f"{to}: {error.strerror}") from error
        print(f"wrote {to}; run it with: dfmf fuse {to}")


@app.command()
def fuse(
    run: Annotated[str | None, RUN] = None,
    overrides: Overrides = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", help="The folder of a run to go on with.", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show configuration, placement, FLOPs, memory and time; run nothing."),
    ] = False,
) -> None:
    """Fuse the teachers of a configuration into one student.

    Teachers that the configuration does not name are pretrained first. Everything goes into one new folder,
    and a
    summary is printed at the end. Ctrl-C stops a run and keeps what it has; `--resume FOLDER` goes on with
    it,
    to the
    same bits as if it had not been stopped (RUN is then the folder's own configuration).
    """
    with _one_line_errors():
        changes = list(overrides or [])
        if resume is not None and run is not None and "=" in run:
            changes.insert(0, run)
            run = None
        if dry_run:
            from orchestrator.dry_run import describe

            if run is None:
                raise UserError("--dry-run: name a configuration or a preset")
            print(describe(run, changes))
            return
        from orchestrator.running import fuse as run_fusion

        console = Console()
        result = run_fusion(run, *changes, resume=resume, console=console)
        _show(console, result.summary, result.folder)


@app.command()
def sync(
    folder: Annotated[Path, typer.Argument(help="A run's folder.", show_default=False)],
) -> None:
    """Send MLflow what it lacks of a run, after its server did not answer."""
    with _one_line_errors():
        from orchestrator.shipping import sync as send

        print(send(folder))


@app.command()
def submit(
    run: Run,
    overrides: Overrides = None,
    address: Annotated[
        str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The cluster's dashboard.")
    ] = "http://127.0.0.1:8265",
    working_dir: Annotated[
        Path, typer.Option(help="What is sent; RUN and relative paths are looked up in it.")
    ] = Path(),
    exclude: Annotated[list[str] | None, typer.Option(help="A pattern of files not to send.")] = None,
    wait: Annotated[bool, typer.Option(help="Show the job's output and wait for its end.")] = True,
) -> None:
    """Run a fusion as a job on a Ray cluster.

    The same as `ray job submit --working-dir . -- python -m orchestrator fuse RUN`, with this code sent
    along,
    the size of what is sent checked first, and time to save when the job is stopped.
    """
    with _one_line_errors():
        from orchestrator.submitting import submit as submit_run

        submit_run(
            run,
            overrides or [],
            address=address,
            working_dir=working_dir.absolute(),
            excludes=exclude or [],
            follow=wait,
            say=lambda line: print(line, flush=True),
        )


@app.command()
def pretrain(run: Run, overrides: Overrides = None) -> None:
    """Train only the teachers that a configuration describes, and the gold standard.

    A later fusion takes them by `teachers: [PATH, ...]`.
    """
    with _one_line_errors():
        from orchestrator.running import pretrain as run_pretraining

        console = Console()
        result = run_pretraining(run, *(overrides or []), console=console)
        _show(console, result.summary, result.folder)
        names = [one["name"] for one in result.summary["teachers"]]
        paths = ", ".join(str(result.folder / "teachers" / f"{name}.safetensors") for name in names)
        console.print(
            f"fuse them with: dfmf fuse {run} 'teachers=[{paths}]'", highlight=False, soft_wrap=True
        )


@app.command()
def evaluate(
    target: Annotated[
        str, typer.Argument(help="A run's folder, or a classifier's .safetensors file.", show_default=False)
    ],
    overrides: Overrides = None,
    config: Annotated[str | None, typer.Option(help="Whose data to use; by default the run's own.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write all scores to this file.")
    ] = None,
) -> None:
    """Measure a fused student, or any classifier, on labelled images."""
    with _one_line_errors():
        from orchestrator.evaluating import evaluate as run_evaluation
        from orchestrator.tables import class_table

        scores = run_evaluation(target, config, *(overrides or []))
        console = Console()
        if "teachers" in scores:
            _show(console, scores, None)
        else:
            console.print(f"accuracy {scores['student']['accuracy']:.2f} %", highlight=False)
        console.print(class_table(scores))
        if json_file is not None:
            _write_json(json_file, scores)


@app.command()
def audit(
    target: Annotated[
        str, typer.Argument(help="A run's folder, or a classifier's .safetensors file.", show_default=False)
    ],
    overrides: Overrides = None,
    data: Annotated[
        bool, typer.Option("--data", help="Also measure which training images can be told; reads the data.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write all numbers to this file.")
    ] = None,
) -> None:
    """Search classifiers for planted triggers, without data.

    Exit code 1 if one is suspicious, 0 if none is (which is no proof), 2 for wrong input. Keys: audit.*.
    """
    with _one_line_errors():
        from orchestrator import audit_report
        from orchestrator.auditing import audit as run_audit

        console = Console()
        report = run_audit(
            target, *(overrides or []), data=data, say=lambda line: console.print(line, highlight=False)
        )
        console.print(audit_report.trigger_table(report))
        lines = audit_report.trigger_lines(report)
        if "membership" in report:
            console.print(audit_report.membership_table(report["membership"]))
            lines += audit_report.membership_lines(report["membership"])
        for line in lines:
            console.print(line, highlight=False, soft_wrap=True)
        if json_file is not None:
            _write_json(json_file, report)
        if report["flagged"]:
            raise typer.Exit(1)


@app.command()
def doctor(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN] [OVERRIDES]...",
            help="A YAML file or preset (default: demo), and changes such as engine.threads=4.",
            show_default=False,
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write all findings to this file.")
    ] = None,
) -> None:
    """Check the machine and everything else that a run stands on, and say what to do about it.

    Exit code 0 without problems, 1 with any.
    """
    with _one_line_errors():
        from orchestrator.doctor import as_json, examine, lines, split_arguments, verdict

        console, findings = Console(highlight=False), []
        for finding in examine(*split_arguments(arguments or [])):
            findings.append(finding)
            console.print(lines(finding), soft_wrap=True)
        console.print(verdict(findings))
        if json_file is not None:
            from orchestrator.run_folder import write_json

            try:
                write_json(json_file, as_json(findings))
            except OSError as error:
                raise UserError(f"{json_file}: {error.strerror}") from error
        if any(finding.level == "problem" for finding in findings):
            raise SystemExit(1)


def main() -> None:
    """The entry point."""
    app()


def _show(console: Console, summary: dict[str, Any], folder: Path | None) -> None:
    from orchestrator.tables import result_lines, result_table

    console.print(result_table(summary))
    for line in result_lines(summary, folder):
        console.print(line, highlight=False, soft_wrap=True)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    from orchestrator.run_folder import write_json

    try:
        write_json(path, value)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error


class _one_line_errors:  # noqa: N801 - reads as a statement
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


if __name__ == "__main__":
    main()
