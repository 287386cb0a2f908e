"""All nodes of somebody's cluster are asked for their versions; the cluster is a stand-in here."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayError

from orchestrator import versions as versions_of
from orchestrator.errors import UserError
from orchestrator.versions import check_versions, differences, versions

Said = dict[str, str] | Exception | None


class FakeRay:
    """Nodes that say what they are given to say: versions, an error, or nothing."""

    def __init__(self, nodes: dict[str, tuple[str, Said]]) -> None:
        self._said = {node: said for node, (_, said) in nodes.items()}
        self._nodes = [
            {"NodeID": node, "NodeManagerAddress": address, "Alive": True}
            for node, (address, _) in nodes.items()
        ]
        self.asked: list[str] = []

    def nodes(self) -> list[dict[str, Any]]:
        return [*self._nodes, {"NodeID": "f" * 56, "NodeManagerAddress": "10.0.0.9", "Alive": False}]

    def remote(self, **_: object) -> Any:
        def options(scheduling_strategy: Any) -> Any:
            def call() -> str:
                self.asked.append(scheduling_strategy.node_id)
                return str(scheduling_strategy.node_id)

            return SimpleNamespace(remote=call)

        return lambda _: SimpleNamespace(options=options)

    def wait(self, calls: list[str], num_returns: int, timeout: float) -> tuple[list[str], list[str]]:
        assert num_returns == len(calls)
        answered = [call for call in calls if self._said[call] is not None]
        return answered, [call for call in calls if call not in answered]

    def get(self, call: str) -> Said:
        said = self._said[call]
        if isinstance(said, Exception):
            raise said
        return said


@pytest.fixture
def here() -> dict[str, str]:
    return versions()


def fake(monkeypatch: pytest.MonkeyPatch, **said: Said) -> FakeRay:
    """`one` and `two` are nodes of one machine, `three` is another machine."""
    machine = {"one": "10.0.0.1", "two": "10.0.0.1", "three": "10.0.0.3"}
    ids = {name: (str(number) * 56, machine[name]) for number, name in enumerate(machine, 1)}
    ray = FakeRay({ids[name][0]: (ids[name][1], answer) for name, answer in said.items()})
    monkeypatch.setattr(versions_of, "ray", ray)
    return ray


def test_each_of_two_nodes_with_one_address_is_asked(
    here: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = fake(monkeypatch, one=here, two=here, three=here)
    assert check_versions() == {"1" * 56, "2" * 56, "3" * 56} == set(ray.asked)
    for name in ("one", "two"):
        fake(monkeypatch, **({"one": here, "two": here} | {name: here | {"torch": "1.0"}}))
        with pytest.raises(UserError) as caught:
            check_versions()
        assert str(caught.value) == (
            f"engine.address: node 10.0.0.1 has torch 1.0, the driver {here['torch']}"
        )


def test_a_node_that_is_known_is_not_asked_again(
    here: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = fake(monkeypatch, one={"python": "2.7"}, three=here)
    assert check_versions(known={"1" * 56}) == {"3" * 56} == set(ray.asked)
    assert check_versions(known={"1" * 56, "3" * 56}) == set()


def test_a_node_that_cannot_import_this_code_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, one=RayError("Traceback\nModuleNotFoundError: No module named 'torch'\n"))
    with pytest.raises(
        UserError, match=r"node 10\.0\.0\.1 cannot run this code \(ModuleNotFoundError: .*torch"
    ):
        check_versions()


def test_a_node_that_does_not_answer_is_named(here: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, one=here, three=None)
    with pytest.raises(UserError, match=r"^engine\.address: no answer from 10\.0\.0\.3 within 60 s$"):
        check_versions()


def test_a_node_with_other_versions_is_named_with_both(here: dict[str, str]) -> None:
    assert {"python", "torch", "ray", "dfmf"} <= set(here)
    assert differences(here, {"10.0.0.1": dict(here)}) == []
    other = here | {"torch": "1.0"}
    missing = {name: value for name, value in here.items() if name != "dfmf"}
    assert differences(here, {"10.0.0.1": other, "10.0.0.2": missing}) == [
        f"node 10.0.0.1 has torch 1.0, the driver {here['torch']}",
        f"node 10.0.0.2 has dfmf missing, the driver {here['dfmf']}",
    ]
