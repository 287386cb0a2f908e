"""Pretraining on Ray: classifiers are trained side by side; one whose process is lost is begun again."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError

from actors.process import to_tensors
from actors.repairs import LOST, describe
from orchestrator.engines import Course, Lesson, Weights
from orchestrator.sections import EngineSettings
from orchestrator.waiting import POLL_SECONDS, ActorLost, Restarts, Watch, get, never_came, not_again

Begin = Callable[[Lesson], "Teaching"]


def pretrain_all(course: Course, places: Sequence[Begin]) -> None:
    """Give all lessons, as many at once as there are `places`. Which ones a place has does not depend on how
    fast it is: its device decides how they round.

    Raises:
        ActorLost: one failed, or was lost too often; what else was over by then has been handed over.
    """
    lessons, epochs = course.lessons, course.recipe.epochs
    left = [list(reversed(lessons[place :: len(places)])) for place in range(len(places))]
    at_work: dict[int, Teaching] = {}
    try:
        while True:
            for place, waiting in enumerate(left):
                if waiting and place not in at_work:
                    at_work[place] = places[place](waiting.pop())
            if not at_work:
                return
            calls = [one.call for one in at_work.values()]
            ray.wait(calls, num_returns=len(calls), timeout=POLL_SECONDS)
            _hand_over(at_work, course)
            waiting_for = sum(map(len, left)) + len(at_work)
            done = (len(lessons) - waiting_for) * epochs + sum(one.epochs for one in at_work.values())
            course.advanced("pretraining", done, course.epochs)
    except Exception:
        for one in at_work.values():
            one.end()
        raise  # After an interruption Ray may be gone already; the actors end with the driver.


class Teaching:
    """One lesson in an actor of its own. What it comes to depends on its seed alone, so beginning it again
    changes no bit."""

    def __init__(self, actor: Any, lesson: Lesson, course: Course, settings: EngineSettings) -> None:
        """`actor` is a `PretrainingActor` that Ray starts again when it is lost."""
        self.lesson = lesson
        self._actor, self._course, self._settings = actor, course, settings
        self._name = f"the pretraining of {lesson.name}"
        self._restarts = Restarts(settings, course.said)
        self._lost_at: float | None = None
        self._watch = Watch({self._name: actor}, settings, course.said)
        self.call = self._begun()
        """The lesson; of an actor that was lost, whether it is there again."""

    @property
    def epochs(self) -> int:
        """That are over, as far as is known."""
        return int(self._watch.heard(self._name) or 0)

    def result(self) -> Weights | None:
        """What it came to, if it is over.

        Raises:
            ActorLost: it failed, or was lost too often.
        """
        self._watch.look()
        if not ray.wait([self.call], timeout=0)[0]:
            return None
        try:
            found = ray.get(self.call)
        except LOST as error:
            self._wait_for_it(error)
            return None
        except RayError:
            found = get(self.call)
        if self._lost_at is None:
            return to_tensors(found)
        self._lost_at, self.call = None, self._begun()
        return None

    def end(self) -> None:
        """Have the actor make room."""
        ray.kill(self._actor)

    def _begun(self) -> Any:
        one, course = self.lesson, self._course
        return self._actor.train.remote(
            one.name, one.network, one.spec, one.train, course.recipe, course.seed
        )

    def _wait_for_it(self, error: RayError) -> None:
        """Given the lesson before it is there again, it would lose that too: two restarts for one loss."""
        now = time.monotonic()
        if self._lost_at is None:
            self._restarts.note(self._name, describe(error))
            self._lost_at = now
        elif isinstance(error, ActorDiedError):  # Ray starts an actor again as often as it must.
            raise not_again(self._name, error) from error
        elif now - self._lost_at > self._settings.wait_seconds:
            raise never_came(self._name, self._settings) from error
        self._watch.forget(self._name)
        self.call = self._actor.pulse.remote()


def _hand_over(at_work: dict[int, Teaching], course: Course) -> None:
    """Give away what is trained, also when one among it is lost.

    Raises:
        ActorLost: one is.
    """
    lost: ActorLost | None = None
    for place, one in list(at_work.items()):
        try:
            weights = one.result()
        except ActorLost as error:
            lost = error
            continue
        if weights is not None:
            at_work.pop(place).end()
            course.taught(one.lesson, weights)
    if lost is not None:
        raise lost
