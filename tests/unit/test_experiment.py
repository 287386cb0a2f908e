"""The experiment of a run, which several processes may be making at once."""

from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from orchestrator.tracking import experiment_id


class Client:
    """A store in which the experiment comes to be when somebody else has made it."""

    def __init__(self, *, made_by_others: bool) -> None:
        self.made_by_others = made_by_others
        self.known: Any = None

    def get_experiment_by_name(self, _name: str) -> Any:
        return self.known

    def create_experiment(self, name: str, _artifacts: str | None) -> str:
        if self.made_by_others:
            self.known = SimpleNamespace(experiment_id="7")
        raise MlflowException(f"Experiment(name={name}) already exists")


def test_an_experiment_that_somebody_else_makes_meanwhile_is_taken() -> None:
    assert experiment_id(Client(made_by_others=True), "dfmf", None) == "7"
    with pytest.raises(MlflowException, match="already exists"):
        experiment_id(Client(made_by_others=False), "dfmf", None)
