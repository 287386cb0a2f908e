"""Errors that a person can mend: one line, exit code 2."""

from fusion.untrusted import one_line


class UserError(Exception):
    """What is wrong, where (file and key), and what is allowed."""


def user_error(*lines: str) -> UserError:
    """One line for each problem, whatever the keys, values and names in it hold."""
    return UserError("\n".join(one_line(line) for line in lines))


class Interrupted(Exception):
    """The run was stopped from outside; what was computed has been kept."""


class Terminated(Interrupted):
    """The same, by SIGTERM: `ray job stop`, or a machine that is taken away."""


class RunFailed(Exception):
    """The run broke off; what was computed has been kept."""
