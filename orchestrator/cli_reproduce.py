"""The command that runs a paper's table."""

import shlex
from typing import Annotated, cast

import typer

from orchestrator.cli_parts import Overrides, one_line_errors
from orchestrator.errors import RunFailed, UserError
from orchestrator.terminal import terminal


def reproduce(
    table: Annotated[str | None, typer.Argument(help="Which table (--list).", show_default=False)] = None,
    overrides: Overrides = None,
    scale: Annotated[
        str, typer.Option(help="digits, fashion-mnist, cifar (shortened), or paper (its own settings).")
    ] = "digits",
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Seeds of each fusion.")] = 3,
    rows: Annotated[
        str | None, typer.Option(help="Only these rows, such as dfmf,dfq.", show_default=False)
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Only these columns, such as r3.", show_default=False)
    ] = None,
    parts: Annotated[
        str | None, typer.Option(help="Only these parts, such as 4-parties.", show_default=False)
    ] = None,
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="Runs at once; by default as many as fit.", show_default=False)
    ] = None,
    list_tables: Annotated[bool, typer.Option("--list", help="List the tables and stop.")] = False,
) -> None:
    """Run a paper's table and write it beside the published one.

    All its fusions are ordinary runs in OUTPUT/TABLE-SCALE; what they have in common is computed once. The
    same command again goes on where it stopped, and runs nothing again that is finished.
    """
    with one_line_errors():
        from orchestrator.reproducing import TABLES, Order, Scale
        from orchestrator.reproducing import reproduce as run_table

        if list_tables:
            for name, one in TABLES.items():
                print(f"{name:<10} {one.title}")
            return
        if table is None:
            raise UserError(f"TABLE: name one of {', '.join(TABLES)}")
        order = Order(
            table=table,
            scale=cast(Scale, scale),
            seeds=seeds,
            rows=_keys(rows),
            columns=_keys(columns),
            parts=_keys(parts),
            overrides=tuple(overrides or ()),
            concurrent=concurrent,
        )
        made = run_table(order, terminal())
        page = made.folder / "table.md"
        print(page.read_text(encoding="utf-8"), end="")
        print(f"\nwrote {page} and {made.folder / 'table.csv'}")
        if made.failed:
            count = "1 run" if made.failed == 1 else f"{made.failed} runs"
            raise RunFailed(f"{count} failed: {page}; to try again: {shlex.join(order.command)}")


def _keys(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(text.split(","))
