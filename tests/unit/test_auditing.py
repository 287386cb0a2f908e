"""`dfmf audit` of a file: one whose network is none of ours, and one that no generator is for."""

import dataclasses
from pathlib import Path

import pytest

from fusion.teachers import Teacher, save_teacher
from orchestrator.auditing import audit
from orchestrator.errors import UserError
from tests.outside import GIVEN, torchvisions
from tests.tiny import SPEC, teacher

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


def test_a_layout_that_is_not_for_the_images_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    save_teacher(teacher(spec=dataclasses.replace(SPEC, size=30), name="odd"), path)
    expected = r"^generator\.layout: 'nayer' makes no images 30 pixels wide, .* 4 \(those of odd\)$"
    with pytest.raises(UserError, match=expected):
        audit(str(path), *QUICK, "generator.layout=nayer")
