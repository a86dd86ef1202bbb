"""The one exception class for mistakes that the person at the keyboard can mend."""


class UserError(Exception):
    """A problem the user can solve: its message says what, where and what to do, in one line.

    The command line prints it without a traceback and exits with code 2.
    """


class AlreadyRunningError(UserError):
    """Another live process is doing the same work on the same files."""
