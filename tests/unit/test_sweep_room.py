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


@pytest.mark.parametrize(
    ("mode", "cpus", "members", "at_once"), [("ray", 2, 2, 2), ("ray", 2, 6, 4), ("local", 2, 6, 2)]
)
def test_as_many_members_of_a_population_as_fit_run_at_once(
    mode: str, cpus: float, members: int, at_once: int
) -> None:
    config = parse_config(tiny_run(engine={"mode": mode}), "run")
    assert share_out(config, None, cpus, 0, trials=members, together=True)[0] == at_once
    expected = f"--concurrent 1: the {members} members of a population are compared all the time"
    with pytest.raises(UserError, match=f"^{expected}"):
        share_out(config, 1, cpus, 0, trials=members, together=True)


def test_a_cluster_with_an_address_may_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    def shared(**engine: object) -> bool:
        return parse_config(tiny_run(engine=engine), "run").engine.cluster_address is not None

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert (shared(), shared(address="auto")) == (False, True)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert shared()
