"""The exception class for mistakes that the person at the keyboard can mend, and the one that ends a pruned trial."""


class UserError(Exception):
    """A problem the user can solve: its message says what, where and what to do, in one line.

    The command line prints it without a traceback and exits with code 2.
    """


class AlreadyRunningError(UserError):
    """Another live process is doing the same work on the same files."""


class Pruned(Exception):  # noqa: N818  # it ends a run and is no error
    """A trial of a sweep that is not worth going on with, judged by the trials before it."""


def one_line(error: BaseException, limit: int = 1000) -> str:
    """All that an error says in one line, cut to ``limit`` characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines).replace(":; ", ": ")[:limit]


def first_line(error: BaseException, limit: int = 150) -> str:
    """What an error says, cut to its first line and ``limit`` characters; its kind when it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:limit]
