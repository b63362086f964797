# SPDX-License-Identifier: BSD-3-Clause
"""The command of `uvfio run` in the storm: starts clients of all kinds and kills them at random.

usage: conductor.py HOSTILE SEED [--guest CONSOLE BDF QEMU...]; the guest has all before BDF and it

Hears lines on standard input: "storm SECONDS" answers "quiet" when the time is over and every child
is gone, with what became of them; "end" ends it. It says "stuck PID" of a child that cannot be killed.
"""

import os
import random
import signal
import subprocess
import sys
import time

PATIENCE = 30
HOSTILE, SEED = sys.argv[1], int(sys.argv[2])
CONSOLE, GUESTS, QEMU = (*sys.argv[4:6], sys.argv[6:]) if "--guest" in sys.argv else (None, "", [])


def is_bridge(bdf):
    with open(f"/sys/bus/pci/devices/{bdf}/class") as f:
        return f.read().startswith("0x0604")


BDFS = sorted(bdf for bdf in os.listdir("/sys/bus/pci/devices") if bdf > GUESTS and not is_bridge(bdf))
# Hostile clients at a time. Beside a guest, which has no processor of its own, one is enough.
OWNERS = 1 if QEMU else 2
rng = random.Random(SEED)
counts = {"clients": 0, "ended": 0, "killed": 0, "guests": 0, "guests-ended": 0, "bad": 0}


class Child:
    def __init__(self, argv, seconds, **more):
        self.argv = argv
        self.until = time.monotonic() + seconds
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True,
                                        **more)

    def over(self):
        """Whether it is gone; kills it when its time has come."""
        if self.process.poll() is None and time.monotonic() < self.until:
            return False
        return self.end()

    def end(self):
        alive = self.process.poll() is None
        if alive:
            self.process.send_signal(rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # children of its own that it left behind
        except ProcessLookupError:
            pass
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            print(f"stuck {self.process.pid}", flush=True)
            self.process.wait()
        counts["killed" if alive else "ended"] += 1
        return True


def new_client():
    chosen = rng.sample(BDFS, rng.randint(1, len(BDFS)))
    operations = rng.choice((0, 0, 500, 5000))
    counts["clients"] += 1
    return Child([HOSTILE, str(rng.getrandbits(32)), str(operations), *chosen],
                 rng.choice((0.05, 0.3, 1, 4)) * rng.random() * 2)


def new_guest(console):
    counts["guests"] += 1
    return Child(QEMU, rng.choice((3, 20, 40, 80)) * (0.5 + rng.random()), stdout=console,
                 stderr=subprocess.STDOUT)


def storm(seconds):
    """Clients come and go, some killed, some ending by themselves; one guest after the other."""
    end = time.monotonic() + seconds
    console = open(CONSOLE, "ab") if CONSOLE else None
    clients, guest = [], None
    while time.monotonic() < end:
        clients = [c for c in clients if not c.over()]
        while len(clients) < OWNERS:
            clients.append(new_client())
        if QEMU and guest and guest.over():
            guest = None
        if QEMU and not guest:
            guest = new_guest(console)
        time.sleep(0.02)
    for child in clients + ([guest] if guest else []):
        child.end()
    if console:
        console.close()


print("ready", *BDFS, flush=True)
for line in sys.stdin:
    word, *rest = line.split()
    if word == "end":
        break
    storm(float(rest[0]))
    print("quiet", *(f"{k}={v}" for k, v in counts.items() if v), flush=True)
