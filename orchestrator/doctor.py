"""`dfmf doctor`: looks at everything that a run stands on, and says what to do about what is wrong."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.text import Text

from orchestrator.checks import software
from orchestrator.checks.finding import Finding, attempted, one_line

DEFAULT_RUN = "demo"
STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}
CHECK_WIDTH = len("temporary folder")


def examine(run: str, overrides: Sequence[str]) -> Iterator[Finding]:
    """Every finding as soon as it is there, Ray's last; none of them leaves anything behind.

    Raises:
        UserError: there is no such configuration, or it is wrong.
    """
    yield from attempted("python", software.python)
    yield from attempted("packages", software.packages)
    yield from attempted("imports", software.imports)
    yield from attempted("variables", software.variables)
    try:
        from orchestrator.checks import clusters, machine, storage
        from orchestrator.loading import load_config
    except Exception as error:  # noqa: BLE001 - a damaged library breaks its import in any way
        says = one_line(f"a library cannot be imported: {type(error).__name__}: {error}")
        yield Finding("libraries", "problem", says, software.REINSTALL)
        return
    config = load_config(run, overrides)
    yield from attempted("pictures", software.pictures)

    def memory() -> Finding:
        from orchestrator.dry_run import subject

        found = subject(config)
        return machine.memory(config, found.spec, found.networks)

    yield from attempted("gpus", machine.gpus)
    yield from attempted("cpus", lambda: machine.cpus(config))
    yield from attempted("memory", memory)
    yield from attempted("open files", machine.open_files)
    yield from attempted("home", lambda: machine.home(config))
    yield from attempted("disk", lambda: storage.disk(config))
    yield from attempted("storage", lambda: storage.storage(config))
    yield from attempted("tracking", lambda: storage.tracking(config))
    if config.engine.mode == "local":
        yield Finding("ray", "ok", "not needed (engine.mode is local)")
        return
    yield from attempted("token", clusters.token)
    if not config.engine.cluster_address:
        yield from attempted("temporary folder", clusters.temporary_folder)
        yield from attempted("shared memory", clusters.shared_memory)
    yield from attempted("ray", lambda: clusters.ray_works(config))


def split_arguments(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The run and the overrides; without a run it is the one that a new user starts with."""
    if arguments and "=" not in arguments[0]:
        return arguments[0], list(arguments[1:])
    return DEFAULT_RUN, list(arguments)


def lines(finding: Finding) -> Text:
    """The finding for a terminal, with the advice under it."""
    text = Text.assemble(
        (f"{finding.level:<8}", STYLES[finding.level]), f"{finding.check:<{CHECK_WIDTH}}  {finding.says}"
    )
    if finding.do:
        text.append(f"\n{'':<{8 + CHECK_WIDTH}}  -> {finding.do}")
    return text


def verdict(findings: Sequence[Finding]) -> str:
    """The last line."""
    problems = sum(one.level == "problem" for one in findings)
    warnings = sum(one.level == "warning" for one in findings)
    if not problems and not warnings:
        return f"{len(findings)} checks, everything is well"
    return f"{len(findings)} checks: {_count(problems, 'problem')}, {_count(warnings, 'warning')}"


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """For programs."""
    import dataclasses

    return {
        "findings": [dataclasses.asdict(one) for one in findings],
        "problems": sum(one.level == "problem" for one in findings),
        "warnings": sum(one.level == "warning" for one in findings),
    }


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
