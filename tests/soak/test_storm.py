#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A machine in a storm: hostile clients in parallel, guests that reset their devices at random, all
of them killed at random moments; and nothing of it stays behind. `make soak` runs it for long."""

import argparse
import json
import os
import random
import re
import select
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import kernel  # noqa: E402
from guest import Guest  # noqa: E402
from tap import Tap, make_image, place_of  # noqa: E402
from ui import Failure  # noqa: E402

PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
NVME, RAM_DISK, TESTDEVS = "0000:65:00.0", "0000:6a:00.0", ("0000:66:00.0", "0000:68:00.0")
PATIENCE = 90
SETTLE = 20  # seconds until the last closed file has been dealt with, on a busy machine
# What a machine may grow by after its first phase: pages that malloc keeps for each new thread, and
# the journal's ring while it fills; threads that start when they are first needed and stay (three of
# each NVMe controller's pool, the one that waits on clients' eventfds).
GROWTH_KIB = 16 << 10
LATE_THREADS = 3 * 2 + 1

# The guest's own part: resets of every kind under I/O, each followed by I/O that is checked.
SCRIPT = r"""
d=$(nvme_wait) || say storm FAIL no disk
bdf=$(nvme_bdf); dev=/sys/bus/pci/devices/$bdf; drv=/sys/bus/pci/drivers/nvme; t=$(testdev_bdf)
i=0
while [ $i -lt 30 ]; do
	case $((RANDOM % 6)) in
	0) echo $bdf > $drv/unbind; echo $bdf > $drv/bind ;;
	1) guestio verify $d 2 100 16384 $i | sed 's/@@verify/@@storm/' & echo 1 > $dev/reset; wait ;;
	2) guestio verify $d 2 100 16384 $i | sed 's/@@verify/@@storm/' &
	   echo 1 > /sys/class/nvme/$(basename ${d%n1})/reset_controller; wait ;;
	3) echo 1 > $dev/remove; echo 1 > /sys/bus/pci/rescan ;;
	4) echo 1 > /sys/bus/pci/devices/$t/reset; dmatool $t own 4096 | sed 's/@@own/@@storm/' ;;
	5) dmatool $t rogue 0x5000000$((RANDOM % 10))000 4096 > /dev/null ;;
	esac
	d=$(nvme_wait) || { say storm FAIL the disk is gone after $i; break; }
	guestio verify $d 2 40 32768 $i | sed 's/@@verify/@@storm/'
	i=$((i + 1))
done
"""


def vitals(pid):
    """Descriptors, threads, and KiB of memory of its own of a process."""
    with open(f"/proc/{pid}/status") as f:
        status = dict(line.split(":", 1) for line in f)
    kib = sum(int(status[key].split()[0]) for key in ("RssAnon", "RssShmem"))
    return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")), kib


def where(pid):
    """What each thread of a process waits for, as far as we may know."""
    lines = []
    for tid in sorted(os.listdir(f"/proc/{pid}/task"), key=int):
        said = [tid]
        for name in ("comm", "wchan", "syscall"):
            try:
                with open(f"/proc/{pid}/task/{tid}/{name}") as f:
                    said.append(f.read().strip())
            except OSError as e:
                said.append(e.strerror)
        lines.append(" ".join(said))
    return "\n".join(lines)


class Storm:
    def __init__(self, args, place, tap):
        self.args, self.place, self.tap = args, place, tap
        self.console = place.path("console.log")
        self.errors = open(place.path("errors.log"), "w+b")
        self.first = None

    def devices(self):
        specs = [f"testdev,bdf={TESTDEVS[0]}", f"testdev,bdf={TESTDEVS[1]},mmio=trap",
                 f"nvme,mem=16M,bdf={RAM_DISK}"]
        if self.args.guest:
            image, _ = make_image(self.place)
            specs.insert(0, f"nvme,disk={image},bdf={NVME}")
        return specs

    def argv(self):
        hostile = self.place.visible(os.path.realpath(self.args.hostile))
        script = self.place.visible(os.path.join(HERE, "conductor.py"))
        conductor = [PYTHON, script, hostile, str(self.args.seed)]
        if self.args.guest:
            helpers = [os.path.join(self.args.helpers, name) for name in ("guestio", "dmatool")]
            return Guest(SCRIPT, self.place, devices=self.devices(), helpers=helpers,
                         passthrough=(NVME, TESTDEVS[0]),
                         wrap=[*conductor, "--guest", self.console, TESTDEVS[0]]).argv
        run = [*self.place.prefix, self.place.uvfio, "run"]
        for spec in self.devices():
            run += ["--device", spec]
        return [*run, "--", *conductor]

    def hear(self, patience):
        """The next line of the conductor, or None."""
        ready, _, _ = select.select([self.process.stdout], [], [], patience)
        return self.process.stdout.readline().split() if ready else None

    def start(self):
        # What was freed shall not stay for the address sanitizer's sake: memory is counted here.
        env = dict(os.environ, **self.place.env)
        self.process = subprocess.Popen(
            self.argv(), env=env, cwd=self.place.dir, text=True,
            bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        return self.tap.ok((self.hear(PATIENCE) or [""])[0] == "ready", "the machine is up")

    def phase(self, seconds):
        """One storm and the calm after it; False if there is no going on."""
        self.process.stdin.write(f"storm {seconds}\n")
        said = self.hear(seconds + PATIENCE)
        while said and said[0] == "stuck":
            self.tap.ok(False, "a killed client ends", where(said[1]))
            print("# and uvfio:\n# " + where(self.process.pid).replace("\n", "\n# "), flush=True)
            said = self.hear(PATIENCE)
        if not self.tap.ok(said and said[0] == "quiet", "the clients come and go",
                           " ".join(said[1:]) if said else f"status {self.process.poll()}"):
            return False
        self.calm()
        return True

    def calm(self):
        """Nobody is there: as many descriptors and threads as ever, and nothing held."""
        end = time.monotonic() + SETTLE
        while True:
            now = vitals(self.process.pid)
            if not self.first or time.monotonic() > end or \
                    (now[0] <= self.first[0] and now[1] <= self.first[1] + LATE_THREADS):
                break
            time.sleep(0.1)
        if not self.first:
            time.sleep(3)  # what is kept for a while goes
            self.first = now = vitals(self.process.pid)
        self.tap.ok(now[0] <= self.first[0], "no descriptor is left open",
                    f"{now[0]}, after the first phase {self.first[0]}")
        self.tap.ok(now[1] <= self.first[1] + LATE_THREADS, "no thread is left",
                    f"{now[1]}, after the first phase {self.first[1]}")
        self.tap.ok(now[2] <= self.first[2] + GROWTH_KIB, "no memory is left",
                    f"{now[2]} KiB, after the first phase {self.first[2]}")
        self.look()

    def ask(self, *argv):
        out = self.place.run([self.place.uvfio, *argv], timeout=PATIENCE)
        self.tap.equal(out.returncode, 0, "uvfio " + " ".join(argv))
        return out.stdout

    def look(self):
        devices = json.loads(self.ask("list", "--json"))
        held = [d["bdf"] for d in devices if d["open"] or d["attached"] or d["mappings"]]
        self.tap.equal(held, [], "nobody has a device")
        lines = [json.loads(line) for line in self.ask("events", "--json").splitlines()]
        lost = lines.pop(0)["lost"] if "lost" in lines[0] else 0
        numbers = [e["seq"] for e in lines]
        self.tap.equal(numbers, list(range(lost + 1, lost + 1 + len(lines))),
                       "each event is told or counted")

    def finish(self):
        self.process.stdin.close()
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            status = "hangs"
        self.tap.equal(status, 0, "uvfio run ends with the command's status")
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace")
        self.tap.ok(not re.search("Sanitizer|runtime error|ssertion", text), "nothing is said of bugs",
                    text[-4000:])
        if self.args.guest:
            self.judge_guests()

    def judge_guests(self):
        with open(self.console, "rb") as f:
            console = f.read().decode(errors="replace")
        bad = [line for line in console.splitlines() if re.search("FAIL|Oops|BUG:|Call Trace", line)]
        self.tap.equal(bad, [], "no guest found anything wrong")
        self.tap.ok("@@storm ok" in console, "guests did I/O", f"{console.count('@@storm ok')} times")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--uvfio", required=True)
    parser.add_argument("--hostile", required=True)
    parser.add_argument("--helpers", help="folder of the guest's static programs")
    parser.add_argument("--guest", action="store_true", help="guests take part")
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--phases", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1, help="0: another one each time")
    parser.add_argument("--as-root", action="store_true")
    args = parser.parse_args()
    args.seed = args.seed or random.randrange(1, 1 << 31)
    print(f"# seed {args.seed}")
    if args.guest:
        kernel.ensure_kernel()
    place, tap = place_of(args), Tap()
    storm = Storm(args, place, tap)
    try:
        if storm.start():
            for _ in range(args.phases):
                if not storm.phase(args.seconds / args.phases):
                    break
        storm.finish()
    except Failure as failure:
        tap.ok(False, failure.reason, failure.remedy)
    finally:
        if storm.process.poll() is None:
            storm.process.kill()
        place.close()
    sys.exit(tap.finish())


main()
