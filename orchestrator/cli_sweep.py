"""The command that runs many fusions."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli_parts import RUN, Overrides, one_line_errors
from orchestrator.errors import UserError
from orchestrator.terminal import terminal


def sweep(
    run: Annotated[str | None, RUN] = None,
    overrides: Overrides = None,
    space: Annotated[
        str | None,
        typer.Option(help="What to vary: a space's name (`dfmf spaces`) or a YAML file.", show_default=False),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(help="grid (what it is by default), random, or optuna.", show_default=False),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="Points that a random search or Optuna draws.", show_default=False),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="none (what it is by default), asha (stops poor trials early), or pbt (changes values in "
            "mid-run).",
            show_default=False,
        ),
    ] = None,
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials at once; by default as many as fit.", show_default=False)
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="Seeds of each point; by default the space's.", show_default=False
        ),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", help="The folder of a sweep to go on with.", show_default=False)
    ] = None,
) -> None:
    """Run a study: many fusions that differ in a few keys.

    Everything goes into one new folder, each trial into a run's folder of its own. What trials have in common
    is computed once. Ctrl-C stops; `--resume FOLDER` goes on, and runs nothing again that is finished.
    """
    with one_line_errors():
        from orchestrator.sweep import driving
        from orchestrator.sweep.wishes import wishes

        console = terminal()
        if resume is not None:
            if any(one is not None for one in (run, space, search, samples, scheduler, seeds)):
                raise UserError(
                    "--resume: takes the sweep's own configuration, space, seeds, search and scheduler; only "
                    "--concurrent may change"
                )
            result = driving.resume(resume, concurrent, console)
        elif run is None or space is None:
            raise UserError(
                "RUN and --space: name a configuration and a space, or a sweep to go on with (--resume)"
            )
        else:
            asked = wishes(space, search or "grid", scheduler or "none", samples, concurrent, seeds)
            result = driving.sweep(run, overrides or [], asked, console)
        failed = [row for row in result.trials if row["status"] == "failed"]
        console.print(f"results: {result.folder}", soft_wrap=True)
        if failed:
            raise typer.Exit(1)


def spaces() -> None:
    """List the search spaces that come with the program."""
    from orchestrator.sweep.space import load_space, space_comment
    from orchestrator.sweep.space import spaces as names

    for name in names():
        labels = ", ".join(load_space(name).labels().values())
        print(f"{name:<8} {labels:<24} {space_comment(name)}")
