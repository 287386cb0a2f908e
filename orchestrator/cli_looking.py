"""The commands that look at what there is: they train nothing."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.cli_parts import JsonFile, Overrides, one_line_errors, show, write_numbers
from orchestrator.terminal import terminal


def sync(
    folder: Annotated[Path, typer.Argument(help="A run's folder.", show_default=False)],
) -> None:
    """Send MLflow what it lacks of a run, after its server did not answer."""
    with one_line_errors():
        from orchestrator.shipping import sync as send

        print(send(folder))


def evaluate(
    target: Annotated[
        str, typer.Argument(help="A run's folder, or a classifier's .safetensors file.", show_default=False)
    ],
    overrides: Overrides = None,
    config: Annotated[str | None, typer.Option(help="Whose data to use; by default the run's own.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Measure a fused student, or any classifier, on labelled images."""
    with one_line_errors():
        from orchestrator.evaluating import evaluate as run_evaluation
        from orchestrator.tables import class_table

        scores = run_evaluation(target, config, *(overrides or []))
        console = terminal()
        if "teachers" in scores:
            show(console, scores, None)
        else:
            console.print(f"accuracy {scores['student']['accuracy']:.2f} %")
        console.print(class_table(scores))
        for line in scores["notes"]:
            console.print(line, soft_wrap=True)
        if json_file is not None:
            write_numbers(json_file, scores)


def audit(
    target: Annotated[
        str, typer.Argument(help="A run's folder, or a classifier's .safetensors file.", show_default=False)
    ],
    overrides: Overrides = None,
    data: Annotated[
        bool, typer.Option("--data", help="Also measure which training images can be told; reads the data.")
    ] = False,
    json_file: JsonFile = None,
) -> None:
    """Search classifiers for planted triggers, without data.

    Exit code 1 if one is suspicious, 0 if none is (which is no proof), 2 for wrong input. Keys: audit.*.
    """
    with one_line_errors():
        from orchestrator import audit_report
        from orchestrator.auditing import audit as run_audit

        console = terminal()
        report = run_audit(target, *(overrides or []), data=data, say=lambda line: console.print(line))
        console.print(audit_report.trigger_table(report))
        lines = audit_report.trigger_lines(report)
        if "membership" in report:
            console.print(audit_report.membership_table(report["membership"]))
            lines += audit_report.membership_lines(report["membership"])
        for line in lines:
            console.print(line, soft_wrap=True)
        if json_file is not None:
            write_numbers(json_file, report)
        if report["flagged"]:
            raise typer.Exit(1)


def doctor(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN] [OVERRIDES]...",
            help="A YAML file or preset (default: demo), and changes such as engine.threads=4.",
            show_default=False,
        ),
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Check the machine and everything else that a run stands on, and say what to do about it.

    Exit code 0 without problems, 1 with any.
    """
    with one_line_errors():
        from orchestrator.doctor import as_json, examine, lines, split_arguments, verdict

        console, findings = terminal(), []
        for finding in examine(*split_arguments(arguments or [])):
            findings.append(finding)
            console.print(lines(finding), soft_wrap=True)
        console.print(verdict(findings))
        if json_file is not None:
            write_numbers(json_file, as_json(findings))
        if any(finding.level == "problem" for finding in findings):
            raise SystemExit(1)


def export(
    target: Annotated[
        str, typer.Argument(help="A run's folder, or a .safetensors file.", show_default=False)
    ],
    form: Annotated[
        Literal["safetensors", "torch-export", "onnx"], typer.Option("--format", help="What to write.")
    ] = "torch-export",
    to: Annotated[Path | None, typer.Option("--to", help="The file to write.")] = None,
) -> None:
    """Write a student for other programs, checked against it on random images.

    torch-export and onnx: images [N, channels, size, size] in [0, 1] to logits. `torch.export.load` trusts
    the file that it reads.
    """
    with one_line_errors():
        from orchestrator.exporting import export as write

        print(write(target, form, to))


def dataset(
    run: Annotated[Path, typer.Argument(help="A finished run's folder.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="The file to write (.parquet).")] = Path(
        "synthetic.parquet"
    ),
    images: Annotated[int, typer.Option("--images", min=1, help="How many, of all generators.")] = 10_000,
) -> None:
    """Write a run's synthetic images as a data set, with the soft labels of every teacher.

    For pandas, Ray Data, Hugging Face `datasets`, or as a transfer set of another run.
    """
    with one_line_errors():
        from orchestrator.synthetic_data import write_data_set

        print(write_data_set(run, out, images))
