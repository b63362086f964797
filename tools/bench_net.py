# SPDX-License-Identifier: BSD-3-Clause
"""Rows of `make bench`: the network card's virtual functions under dpdk-testpmd, beside net_memif.

One testpmd with two ports and one core that forwards: the frames of a burst go round between the
two, forever. Its ports are two VFs of a card, or the two ends of a shared memory interface, which
is what DPDK itself has for this. Both use their drivers' own sizes of rings.
"""

import os
import re
import shutil
import statistics
import subprocess
import time

from ui import Failure

PF = "0000:67:00.0"
VFS = ("0000:67:00.1", "0000:67:00.2")
MAC = "52:54:00:12:34:5"
SIZES = ((64, 0.5), (1518, 0.8))  # with FCS; the goal
ROUNDS = 3
SECONDS = 1.5
FIRST = 16  # bursts of 32 frames that each port begins with

# The driver of the PF makes VFs, and they are given to vfio-pci.
BIND = f"""
bind() {{
	echo $2 > $1/driver_override
	[ -e $1/driver ] && echo $1 > $1/driver/unbind
	echo $1 > /sys/bus/pci/drivers_probe
}}
cd /sys/bus/pci/devices && bind {PF} igb && echo 2 > {PF}/sriov_numvfs &&
bind {VFS[0]} vfio-pci && bind {VFS[1]} vfio-pci && cd "$OLDPWD" && exec "$@"
"""


class Testpmd:
    def __init__(self, place, kind, size):
        # In lines at once, so that what was asked for is read when it is answered.
        argv = ["stdbuf", "-oL", "dpdk-testpmd", "--no-huge", "-m", "512", "--iova-mode=va",
                "--no-shconf", "--no-telemetry", "-l", "0,1"]
        if kind == "memif":
            socket = place.path("memif.sock")
            argv += ["--no-pci"]
            argv += [f"--vdev=net_memif{n},role={role},id=0,socket={socket},socket-abstract=no"
                     for n, role in enumerate(("server", "client"))]
            peers = []
        else:
            # DPDK 22.11 maps a BAR only as a whole.
            argv = [place.uvfio, "run", "--device", f"igb,bdf={PF},mac={MAC}0,vfs=2,mmio=shared",
                    "--", "sh", "-c", BIND, "sh", *argv, "-a", VFS[0], "-a", VFS[1]]
            peers = [f"--eth-peer=0,{MAC}2", f"--eth-peer=1,{MAC}1"]
        argv += ["--", "-i", f"--txpkts={size - 4}", "--nb-cores=1", "--total-num-mbufs=16384",
                 *peers]
        self.log = []
        self.child = subprocess.Popen([*place.prefix, *argv], env=dict(os.environ, **place.env),
                                      cwd=place.dir, text=True, bufsize=1, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def say(self, *lines):
        for line in lines:
            self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def wait_for(self, pattern):
        for line in self.child.stdout:
            self.log.append(line)
            found = re.search(pattern, line)
            if found:
                return found
        raise Failure("dpdk-testpmd ended too early", "".join(self.log[-30:]))

    def received(self):
        self.say("show port stats all")
        frames = 0
        for _ in range(2):
            # What "stop" tells looks the same, but for its head.
            self.wait_for("NIC statistics")
            frames += int(self.wait_for(r"RX-packets: (\d+)").group(1))
        return frames, time.monotonic()

    def rate(self):
        """Frames that both ports receive, a second."""
        self.say("show config fwd")
        self.wait_for("packet forwarding")
        # The ends of a shared memory interface find each other once they are polled.
        self.say("start")
        time.sleep(0.5)
        self.say("stop", f"start tx_first {FIRST}")
        time.sleep(0.5)
        frames, at = self.received()
        time.sleep(SECONDS)
        more, then = self.received()
        return (more - frames) / (then - at)

    def close(self):
        try:
            self.child.communicate("stop\nquit\n", timeout=30)
        except (subprocess.TimeoutExpired, BrokenPipeError, ValueError):
            self.child.kill()
            self.child.communicate()


def measure(place, kind, size):
    pmd = Testpmd(place, kind, size)
    try:
        return pmd.rate()
    finally:
        pmd.close()


def bench_idle_card(table, place, idle_cpu):
    """A card whose registers are mapped by a driver that has stopped."""
    pmd = Testpmd(place, "vfs", 64)
    try:
        pmd.rate()
        pmd.say("stop")
        time.sleep(1)
        cpu = idle_cpu(pmd.child.pid)
    finally:
        pmd.close()
    table.add("CPU of a network card that does nothing, mapped", f"{cpu:.2f} %", "", "", "under 1 %",
              cpu < 1)


def bench_net(ui, table, place, idle_cpu):
    if not shutil.which("dpdk-testpmd"):
        ui.note("no dpdk-testpmd (Debian's package dpdk-dev): left out")
        return
    rates = {(kind, size): [] for size, _ in SIZES for kind in ("memif", "vfs")}
    for number in range(ROUNDS):
        for kind, size in rates:
            rates[kind, size].append(measure(place, kind, size) / 1e6)
        ui.bar("measure", 100 * (number + 1) / ROUNDS)
    for size, goal in SIZES:
        ours, theirs = (statistics.median(rates[kind, size]) for kind in ("vfs", "memif"))
        ratio = ours / max(theirs, 0.001)
        table.add(f"VF to VF, testpmd, frames of {size} bytes", f"{ours:.2f} M/s",
                  f"{theirs:.2f} M/s, net_memif", f"{ratio:.2f}", f"at least {goal}",
                  ratio >= goal)
    bench_idle_card(table, place, idle_cpu)
