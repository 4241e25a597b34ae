"""
A command that dies with the process which started it: `python tether.py OWNER_PID COMMAND...`.

Runs as a program, never imported by one: it asks the kernel for SIGKILL at the owner's death and then becomes the
command, so that no engine or Lambda runtime outlives a killed test run. Linux only; elsewhere the command starts
untethered, and a Lambda runtime still ends by itself when its Runtime API no longer answers.

The kernel takes the *thread* that started the command for its owner: start tethered commands from a thread that
lives as long as they do.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(owner: int, command: list[str]) -> None:
    """Tether this process to `owner` and replace it by `command`; exit status 127 where that cannot be run."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # The owner may have died before the request was made; then nobody would ever send the signal.
        if os.getppid() != owner:
            sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the owner's own command, no shell in between
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
