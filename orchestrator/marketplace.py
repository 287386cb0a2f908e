"""What dfmf has registered in an MLflow model registry."""

from collections.abc import Callable
from typing import Any

from fusion.untrusted import Refused, one_line
from orchestrator.errors import user_error
from orchestrator.registering import KIND
from orchestrator.registry import opened_registry, registry_uri

COLUMNS = (
    *((key, key) for key in ("name", "version", "aliases", "kind", "network", "classes")),
    ("images", "image"),
    ("size", "bytes"),
    ("licence", "licence"),
    ("sha256", "sha256"),
)
SIZE = 7
SHORT_HASH = 12


def marketplace(registry: str | None = None) -> list[dict[str, str]]:
    """All versions that were registered by dfmf, by name and number: each with `name`, `version`, `aliases`
    and what its tags say, on one line each.

    Raises:
        UserError: there is no registry, or it does not answer.
    """
    try:
        with opened_registry(registry_uri(registry)) as client:
            aliases: dict[tuple[str, str], list[str]] = {}
            for model in _all(client.search_registered_models):
                for alias, number in client.get_registered_model(model.name).aliases.items():
                    aliases.setdefault((model.name, str(number)), []).append(alias)
            versions = [one for one in _all(client.search_model_versions) if KIND in one.tags]
    except Refused as error:
        raise user_error(str(error)) from error
    return [
        {
            "name": one_line(one.name),
            "version": str(one.version),
            "aliases": one_line(", ".join(sorted(aliases.get((one.name, str(one.version)), [])))),
            **{
                key.removeprefix("dfmf."): one_line(value)
                for key, value in one.tags.items()
                if key.startswith("dfmf.")
            },
        }
        for one in sorted(versions, key=lambda one: (one.name, int(one.version)))
    ]


def _all(search: Callable[..., Any]) -> list[Any]:
    found, token = [], None
    while True:
        page = search(max_results=1000, page_token=token)
        found += list(page)
        token = page.token
        if not token:
            return found


def lines(rows: list[dict[str, str]]) -> list[str]:
    """For people: a head and a line for each version, in columns."""
    cells = [[title for title, _ in COLUMNS], *([one.get(key, "") for _, key in COLUMNS] for one in rows)]
    for one in cells[1:]:
        one[-1] = one[-1][:SHORT_HASH]
        one[SIZE] = f"{int(one[SIZE]) / 1e6:.1f} MB" if one[SIZE].isdecimal() else one[SIZE]
    widths = [max(len(one[column]) for one in cells) for column in range(len(COLUMNS))]
    return ["  ".join(map(str.ljust, one, widths)).rstrip() for one in cells]
