"""The command line: `dfmf`, or `python -m orchestrator` without installation."""

import itertools
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import cli_choosing, cli_comparing, cli_looking, cli_reproduce, cli_sweep, cli_teachers
from orchestrator.cli_parts import RUN, Overrides, Resume, one_line_errors, show
from orchestrator.errors import UserError
from orchestrator.terminal import terminal

app = typer.Typer(
    help="Fuse pretrained image classifiers into one student, without their data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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

    with one_line_errors():
        if list_presets:
            for name in presets():
                comment = itertools.takewhile(
                    lambda line: line.startswith("# "), preset_text(name).splitlines()
                )
                print(f"{name:<14} {' '.join(line[2:] for line in comment)}")
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
    resume: Resume = None,
    register: Annotated[
        str | None,
        typer.Option("--register", help="Register the student in MLflow as the next version of this model."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show configuration, placement, FLOPs, memory and time; run nothing."),
    ] = False,
) -> None:
    """Fuse the teachers of a configuration into one student.

    Teachers that the configuration does not name are pretrained first. Everything goes into one new folder,
    and a summary is printed at the end. Ctrl-C stops a run and keeps what it has; `--resume FOLDER` goes on
    with it, on the CPU to the same bits as if it had not been stopped (RUN is then the folder's own
    configuration).
    """
    with one_line_errors():
        chosen, changes = _with_resume(run, overrides, resume)
        if register is not None:
            changes.append(f"tracking.register_as={json.dumps(register)}")
        if dry_run:
            from orchestrator.dry_run import describe

            if chosen is None:
                raise UserError("--dry-run: name a configuration or a preset")
            print(describe(chosen, changes))
            return
        from orchestrator.running import fuse as run_fusion

        console = terminal()
        result = run_fusion(chosen, *changes, resume=resume, console=console)
        show(console, result.summary, result.folder)


@app.command()
def submit(
    run: Annotated[str | None, RUN] = None,
    overrides: Overrides = None,
    resume: Resume = None,
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
    along, the size of what is sent checked first, and time to save when the job is stopped.
    """
    with one_line_errors():
        from orchestrator.submitting import submit as submit_run

        chosen, changes = _with_resume(run, overrides, resume)
        if chosen is not None and resume is None and (output := _lost_output(chosen, changes, working_dir)):
            print(
                f"output: {output} is relative, so the results will lie in Ray's temporary copy of the "
                "working directory; give a path that all nodes see: output=/shared/runs",
                file=sys.stderr,
            )
        submit_run(
            chosen,
            changes,
            resume=resume,
            address=address,
            working_dir=working_dir.absolute(),
            excludes=exclude or [],
            follow=wait,
            say=lambda line: print(line, flush=True),
        )


@app.command()
def pretrain(
    run: Annotated[str | None, RUN] = None, overrides: Overrides = None, resume: Resume = None
) -> None:
    """Train only the teachers that a configuration describes, and the gold standard.

    A later fusion takes them by `teachers: [PATH, ...]`. `--resume FOLDER` goes on; what is trained is not
    trained again.
    """
    with one_line_errors():
        from orchestrator.running import pretrain as run_pretraining

        console = terminal()
        chosen, changes = _with_resume(run, overrides, resume)
        result = run_pretraining(chosen, *changes, resume=resume, console=console)
        show(console, result.summary, result.folder)
        names = [one["name"] for one in result.summary["teachers"]]
        paths = ", ".join(str(result.folder / "teachers" / f"{name}.safetensors") for name in names)
        config = chosen or result.folder / "config.yaml"
        line = f"fuse them with: dfmf fuse {config} 'teachers=[{paths}]'"
        console.print(line, soft_wrap=True)


for command in (
    cli_sweep.sweep,
    cli_sweep.spaces,
    cli_reproduce.reproduce,
    cli_comparing.compare,
    cli_comparing.report,
    cli_looking.evaluate,
    cli_choosing.choose,
    cli_looking.audit,
    cli_looking.export,
    cli_looking.dataset,
    cli_looking.sync,
    cli_looking.doctor,
):
    app.command()(command)
app.add_typer(cli_teachers.app, name="teachers")


def main() -> None:
    """The entry point."""
    app()


def _with_resume(
    run: str | None, overrides: list[str] | None, resume: str | None
) -> tuple[str | None, list[str]]:
    """RUN may be left out when a run is gone on with; the first override then stands in its place."""
    changes = list(overrides or [])
    if resume is not None and run is not None and "=" in run:
        return None, [run, *changes]
    return run, changes


def _lost_output(run: str, overrides: list[str], working_dir: Path) -> str | None:
    """Where a job writes, if that is relative; None also where only the job can read its configuration."""
    from orchestrator.loading import load_config

    here = working_dir / run
    try:
        output = load_config(str(here) if here.is_file() else run, overrides).output
    except UserError:
        return None
    return None if Path(output).is_absolute() else output


if __name__ == "__main__":
    main()
