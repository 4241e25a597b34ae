"""What tests measure waits with: it counts waits, and not the time for which the process stood still."""

import os
import subprocess
import sys
import time

from stopwatch import Stopwatch

STOPPED_SECONDS = 1.0
STOP = f"""
import os, signal, sys, time
os.kill(int(sys.argv[1]), signal.SIGSTOP)
time.sleep({STOPPED_SECONDS})
os.kill(int(sys.argv[1]), signal.SIGCONT)
"""


def test_a_wait_is_counted():
    """Control: waiting alone brings it forward."""
    began = time.monotonic()
    with Stopwatch() as watch:
        while (waited := watch.seconds) < 0.3 and time.monotonic() < began + 60:
            time.sleep(0.05)

    assert 0.3 <= waited <= time.monotonic() - began


def test_a_process_that_stood_still_did_not_wait():
    """The block asks to be stopped for a second: wall time shows it, the watch does not."""
    began = time.monotonic()
    with Stopwatch() as watch:
        subprocess.run([sys.executable, "-I", "-S", "-c", STOP, str(os.getpid())], check=True)
    wall = time.monotonic() - began

    assert wall >= STOPPED_SECONDS
    assert watch.seconds < wall - STOPPED_SECONDS / 2
