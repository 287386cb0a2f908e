"""Whether the networks that a configuration names take the run's images."""

from collections.abc import Sequence

from fusion.assembly import student_spec
from fusion.networks import build_without_weights
from fusion.teachers import TeacherCard
from orchestrator.config import RunConfig
from orchestrator.errors import user_error


def check_networks(config: RunConfig, teachers: Sequence[TeacherCard]) -> None:
    """Nothing, if the student, and the `teachers` that are to be pretrained, can be built.

    Raises:
        UserError: one has a network that is not for such images.
    """
    named = [("student", config.student, student_spec(teachers, config.classes))]
    if config.teachers is None:
        named += [("pretrain.networks", one.network, one.spec) for one in teachers]
    for key, network, spec in named:
        try:
            build_without_weights(network, spec)
        except ValueError as error:
            raise user_error(f"{key}: {error}") from error
