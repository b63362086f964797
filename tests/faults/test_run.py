#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""`uvfio run` where its n-th allocation or system call fails, for every n or each STRIDE-th.

Usage: test_run.py UVFIO CLIENT STRIDE. UVFIO is linked with inject.c, which tells of the fault on
standard error. Every run must end, with a status that its man page names and, where uvfio itself
failed, a line that says why; no process and no control socket is left behind. The processes that a
run makes count their calls on their own, so a fault may come to pass in several of them."""

import ctypes
import os
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

from tap import Tap, place_of  # noqa: E402

PATIENCE = 30
BDF = "0000:65:00.0"
QUIET = 6  # runs in a row without a fault: threads make the number of calls differ
MOST = 3000
PR_SET_CHILD_SUBREAPER = 36
FAILED = 125


class Args:
    uvfio = sys.argv[1]
    as_root = False


class Walk:
    def __init__(self, place, tap):
        self.place = place
        self.tap = tap
        self.sockets = os.path.join(place.env["XDG_RUNTIME_DIR"], "uvfio")

    def left_behind(self):
        """Orphans come to us: they must end by themselves. Then what lies in the folder of sockets."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if not os.waitpid(-1, os.WNOHANG)[0]:
                    time.sleep(0.002)
            except ChildProcessError:
                break
        else:
            return "a process is left"
        names = os.listdir(self.sockets) if os.path.isdir(self.sockets) else []
        for name in names:
            os.unlink(os.path.join(self.sockets, name))
        return f"left: {names}" if names else ""

    def one(self, kind, n, command):
        """("what was wrong" or "", status, whether the fault came to pass)"""
        argv = [*self.place.prefix, self.place.uvfio, "run", "-d", f"testdev,bdf={BDF}", "--",
                *command]
        env = dict(os.environ, LC_ALL="C", UVFIO_FAULT=f"{kind}:{n}", **self.place.env)
        p = subprocess.Popen(argv, env=env, cwd=self.place.dir, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                             errors="replace", start_new_session=True)
        try:
            err = p.communicate(timeout=PATIENCE)[1]
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            return "it hangs: " + p.communicate()[1], None, True
        fault = [line for line in err.splitlines() if line.startswith("fault: ")]
        said = [line for line in err.splitlines() if not line.startswith("fault: ")]
        wrong = self.left_behind()
        if p.returncode not in (0, FAILED) and not (p.returncode == 1 and len(command) > 1):
            wrong += f" status {p.returncode}"
        if p.returncode and not any(line.startswith("uvfio") for line in said) \
                and p.returncode != 1:
            wrong += " nothing said"
        # A process that has closed its standard error cannot tell of the fault.
        fired = bool(fault) or p.returncode != 0
        return wrong and f"{wrong}: {fault} {said}", p.returncode, fired

    def walk(self, name, kind, stride, *command):
        quiet, runs, failed, bad, n = 0, 0, 0, [], 1
        while quiet < QUIET and n < MOST and len(bad) < 4:
            wrong, status, fired = self.one(kind, n, command)
            runs += 1
            failed += status != 0
            quiet = 0 if fired else quiet + 1
            if wrong:
                bad.append(f"{kind}:{n}: {wrong}")
            n += stride
        self.tap.ok(not bad and failed, f"{name}: each {kind} call fails once",
                    "\n".join([*bad, f"{runs} runs, {failed} failed, {n} calls"]))


def main():
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    place = place_of(Args())
    tap = Tap()
    try:
        client = place.visible(os.path.realpath(sys.argv[2]))
        stride = int(sys.argv[3])
        walk = Walk(place, tap)
        for kind in ("memory", "system"):
            for name, command in (("true", ["true"]), ("dma", [client, "dma", BDF, "1"]),
                                  ("irq", [client, "irq", BDF, "1"])):
                # Most allocations come before the command, which the first walk has seen.
                sparse = 3 if kind == "memory" and name != "true" else 1
                walk.walk(name, kind, stride * sparse, *command)
    finally:
        place.close()
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
