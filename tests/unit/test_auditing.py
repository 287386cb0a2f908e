"""`dfmf audit` of a file whose network is none of ours."""

import dataclasses
from pathlib import Path

from fusion.teachers import Teacher, save_teacher
from orchestrator.auditing import audit
from tests.outside import GIVEN, torchvisions
from tests.tiny import SPEC

QUICK = ("audit.steps=1", "generator.width=16", "generator.latent_dim=16", "schedule.iterations_per_epoch=1")


def test_a_network_of_torchvision_is_searched(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, size=32, channels=3, mean=(0.5,) * 3, std=(0.2,) * 3)
    weights = torchvisions().state_dict()
    save_teacher(
        Teacher(name="zoo", network=GIVEN["network"], spec=spec, weights=weights),
        tmp_path / "zoo.safetensors",
    )
    (found,) = audit(str(tmp_path / "zoo.safetensors"), *QUICK, "schedule.batch_size=4")["classifiers"]
    assert (found["name"], found["network"]) == ("zoo", GIVEN["network"])
    assert list(found["norms"]) == list(spec.classes)
