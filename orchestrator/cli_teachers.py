"""The commands `dfmf teachers ...`: looking at classifiers of other people, taking them over, and the
registry."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli_parts import JsonFile, one_line_errors, write_numbers
from orchestrator.terminal import terminal

app = typer.Typer(
    help="Look at classifiers from other people's files, take them over, register them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
Source = Annotated[
    str,
    typer.Argument(
        help="A file or a folder, as a path or a URI, or models:/NAME/VERSION (docs/teachers.md).",
        show_default=False,
    ),
]
Given = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="What its files do not say, such as network=torchvision:resnet18 image_size=32.",
        show_default=False,
    ),
]
RegistryUri = Annotated[
    str | None,
    typer.Option(
        "--registry-uri",
        help="The MLflow server or database that has models:/.",
        show_default="MLFLOW_REGISTRY_URI or MLFLOW_TRACKING_URI",
    ),
]


@app.command()
def inspect(
    source: Source,
    given: Given = None,
    data: Annotated[
        str | None, typer.Option("--data", help="A configuration or preset: measure on its test images.")
    ] = None,
    registry_uri: RegistryUri = None,
    json_file: JsonFile = None,
) -> None:
    """Show what is known of a classifier, and what a fusion will use of it."""
    with one_line_errors():
        from orchestrator.inspecting import inspect as look
        from orchestrator.inspecting import lines

        report = look(source, given or [], data, registry_uri)
        console = terminal()
        for line in lines(report):
            console.print(line, soft_wrap=True)
        if json_file is not None:
            write_numbers(json_file, report)


@app.command()
def convert(
    source: Source,
    to: Annotated[
        Path, typer.Option("--to", help="The .safetensors file to write; its card goes beside it.")
    ],
    given: Given = None,
    registry_uri: RegistryUri = None,
) -> None:
    """Write a classifier as one of ours: safetensors and a card, which say all that is known."""
    with one_line_errors():
        from orchestrator.inspecting import convert as take_over

        for line in take_over(source, given or [], to, registry_uri):
            print(line)


@app.command()
def register(
    source: Source,
    name: Annotated[str, typer.Option("--name", help="The model in the registry; it gets one more version.")],
    given: Given = None,
    alias: Annotated[
        str | None, typer.Option("--alias", help="A name that from now on means this version.")
    ] = None,
    registry_uri: RegistryUri = None,
) -> None:
    """Check a classifier and register it in MLflow: safetensors, card and signature, all or nothing."""
    with one_line_errors():
        from orchestrator.registering import register as publish

        for line in publish(source, given or [], name, alias, registry_uri):
            print(line)


@app.command("list")
def list_registered(registry_uri: RegistryUri = None, json_file: JsonFile = None) -> None:
    """Show the classifiers in an MLflow registry that dfmf has registered."""
    with one_line_errors():
        from orchestrator.marketplace import lines, marketplace

        rows = marketplace(registry_uri)
        print("\n".join(lines(rows)))
        if json_file is not None:
            write_numbers(json_file, {"versions": rows})


@app.command()
def check(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE [KEY=VALUE]...",
            help="One or more, each followed by what its files do not say.",
            show_default=False,
        ),
    ],
    registry_uri: RegistryUri = None,
    json_file: JsonFile = None,
) -> None:
    """Screen teachers before a fusion: exit 0 if nothing looks wrong, 1 if something does."""
    with one_line_errors():
        from orchestrator.screening import check as screen
        from orchestrator.screening import lines, read_all

        teachers = read_all(sources, registry_uri)
        found = screen(teachers)
        print("\n".join(lines(teachers, found)))
        if json_file is not None:
            write_numbers(json_file, {"found": [dataclasses.asdict(one) for one in found]})
        if found:
            raise SystemExit(1)
