"""A sweep none of whose trials can ever fit says so, unless the cluster may grow."""

import re

import pytest

from orchestrator.errors import UserError
from orchestrator.loading import parse_config
from orchestrator.sweep.study import share_out
from tests.tiny import tiny_run


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        (
            {"mode": "local", "threads": 4},
            "engine.threads: no trial fits (each needs 4 CPUs, engine.threads); there are 2 CPUs and 0 GPUs, "
            "and a private cluster cannot grow, so this is not waited for",
        ),
        (
            {"mode": "ray", "student_gpus": 1},
            "engine.student_gpus: no trial fits (each needs at least 0.5 CPUs and the 1 GPUs that engine.*",
        ),
        (
            {"mode": "ray", "gpus_per_party": 0.5},
            "engine.gpus_per_party: no trial fits (each needs at least 0.5 CPUs and the 1 GPUs that engine.*",
        ),
    ],
)
def test_what_never_fits_is_not_waited_for_where_nothing_grows(
    engine: dict[str, object], expected: str
) -> None:
    config = parse_config(tiny_run(engine=engine), "run")
    with pytest.raises(UserError, match=f"^{re.escape(expected)}"):
        share_out(config, None, 2, 0, trials=12)
    count, _, _ = share_out(config, None, 2, 0, trials=12, grows=True)
    assert count == 1


def test_a_cluster_with_an_address_may_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    def shared(**engine: object) -> bool:
        return parse_config(tiny_run(engine=engine), "run").engine.cluster_address is not None

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert (shared(), shared(address="auto")) == (False, True)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert shared()
