"""Actors that are alive for Ray and yet no good."""

import time

import pytest
import ray

from orchestrator.sections import EngineSettings
from orchestrator.waiting import PULSE_SECONDS, Watch

pytestmark = pytest.mark.ray


@ray.remote(num_cpus=0, max_restarts=-1, concurrency_groups={"control": 1})
class Clock:
    """Has work, and gets further as long as it is told to."""

    def __init__(self, moving: bool, slow_start: float = 0.0) -> None:
        time.sleep(slow_start)
        self._moving = moving
        self._began = time.monotonic()

    @ray.method(concurrency_group="control")
    def pulse(self) -> tuple[int, bool]:
        return int(1000 * (time.monotonic() - self._began)) if self._moving else 0, True

    @ray.method(concurrency_group="control")
    def age(self) -> float:
        return time.monotonic() - self._began


def test_one_that_gets_nowhere_is_killed_and_one_that_moves_or_starts_slowly_is_not(
    ray_cluster: None,
) -> None:
    actors = {"stuck": Clock.remote(False), "moving": Clock.remote(True), "late": Clock.remote(True, 6.0)}
    ray.get([actors["stuck"].age.remote(), actors["moving"].age.remote()])
    said: list[str] = []
    settings = EngineSettings(wait_seconds=60.0, silent_seconds=3.0, stuck_seconds=5.0)
    watch = Watch(actors, settings, said.append)
    deadline = time.monotonic() + 60
    while not said:
        assert time.monotonic() < deadline
        watch.look()
        time.sleep(0.1)
    assert said[0].startswith("stuck was stuck for ")
    time.sleep(PULSE_SECONDS + 4)  # A driver that was busy for long must not take its own silence for theirs.
    watch.look()
    watch.look()
    assert len(said) == 1
    for actor in actors.values():
        ray.kill(actor)
