"""An interrupt is never lost, not even where Python ignores exceptions."""

import signal
import subprocess
import sys

import pytest

SWALLOWED = """
import os, signal, sys
from ferlab import interrupts
interrupts.install()
class Finalised:
    def __del__(self):
        os.kill(os.getpid(), {number})
        for _ in range(1000): pass
Finalised()
print("went on", flush=True)
try:
    interrupts.check()
except KeyboardInterrupt as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(("sent", "raised"), [(signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, "Terminated")])
def test_a_signal_that_python_swallowed_comes_back_at_the_next_check(sent, raised):
    code = SWALLOWED.replace("{number}", str(int(sent)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split("\n")[:2] == ["went on", raised], done.stderr


def test_without_a_signal_nothing_is_raised():
    code = "from ferlab import interrupts; interrupts.install(); interrupts.check()"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


HELD = """
import os, signal
from ferlab import interrupts
interrupts.install()
try:
    with interrupts.held():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        print("closed", flush=True)
    print("went on")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_what_costs_money_is_ended_before_a_signal_counts():
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["closed", "interrupted"], done.stderr
