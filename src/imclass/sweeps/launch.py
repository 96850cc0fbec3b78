"""Start a command so that it ends when its parent does.

python -m imclass.sweeps.launch PARENT CORES COMMAND ...

PARENT: process id. CORES: 0,1,2 or `any`. The command takes the place of this process, with its id, its
open files and its working directory. (Code between fork and exec in the parent, which is what `preexec_fn`
runs, is not safe beside numpy's threads.)
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(argv: list[str]) -> None:
    parent, cores, command = int(argv[0]), argv[1], argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if cores != "any":
            os.sched_setaffinity(0, map(int, cores.split(",")))
    if os.getppid() != parent:  # it died before prctl
        sys.exit(128 + signal.SIGTERM)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
