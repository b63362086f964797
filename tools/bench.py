#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""`make bench`: each figure that matters beside its floor, the ratio, the goal and a verdict.

Never part of `make check`: a figure depends on the machine. Floor and figure of a row are taken in
one run, in turns, and medians are shown, so that the ratio means something on a busy machine too. A
goal that is missed is said, and does not make the run fail.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "tests", "lib"))
import kernel  # noqa: E402
from build import build  # noqa: E402
from guest import Guest  # noqa: E402
from ui import Failure, Ui  # noqa: E402
from user import Place  # noqa: E402
from bench_iperf import bench_iperf  # noqa: E402
from bench_net import bench_net  # noqa: E402

ROOT = kernel.ROOT
BUILD = os.path.join(ROOT, os.environ.get("BUILD") or "build")
NVME = "0000:65:00.0"
TESTDEV = "0000:66:00.0"
ROUNDS = 3
TWO_ROUNDS = 5

GUEST = r"""
nvme_wait >/dev/null; sleep 1
for b in /sys/block/nvme*; do
	case "$(cat $b/device/model)" in uvfio*) ours=/dev/${b##*/} ;; QEMU*) theirs=/dev/${b##*/} ;; esac
done
i=0
while [ $i -lt ROUNDS ]; do
	for qd in 1 32; do
		guestio bench $ours read $qd 1 | sed "s/@@bench/@@ours-$i-/"
		guestio bench $theirs read $qd 1 | sed "s/@@bench/@@theirs-$i-/"
	done
	i=$((i + 1))
done
say measured 0
read go
"""


# Measures when it is told to, for that many seconds.
GUEST_VF = r"""
d=$(nvme_wait); sleep 1
say ready 0
while read n seconds; do
	[ "$n" = end ] && break
	guestio bench $d read 32 $seconds | sed "s/@@bench32/@@round-$n/"
done
"""


class Table:
    def __init__(self, ui):
        self.ui = ui
        self.rows = []

    def add(self, what, figure, floor, ratio, goal, good):
        self.rows.append((what, figure, floor, ratio, goal,
                          "" if good is None else "met" if good else "MISSED"))

    def show(self):
        head = ("what", "figure", "floor or peer", "ratio", "goal", "verdict")
        rows = [head] + self.rows
        width = [max(len(row[i]) for row in rows) for i in range(len(head))]
        self.ui.line()
        for number, row in enumerate(rows):
            cells = [cell.ljust(width[0]) if i == 0 else cell.rjust(width[i])
                     for i, cell in enumerate(row)]
            self.ui.line("  ".join(cells).rstrip())
            if number == 0:
                self.ui.line("  ".join("-" * w for w in width))
        self.ui.line()


def json_rows(text):
    return {row["row"]: row for row in
            (json.loads(line) for line in text.splitlines() if line.startswith("{"))}


def run_tool(argv, place, prefix):
    out = subprocess.run([*prefix, *argv], env=dict(os.environ, **place.env), text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    if out.returncode:
        raise Failure(f"{os.path.basename(argv[0])} failed: {out.stderr.strip()[-500:]}")
    return json_rows(out.stdout)


def bench_door(ui, table, place):
    """Trapped read and MAP/UNMAP against bare FUSE, client and server on one core, in turns."""
    tool = place.visible(os.path.join(BUILD, "tests", "bench", "bench_door"))
    pin = ["taskset", "-c", "0"]
    ours, floor = [], []
    for number in range(ROUNDS):
        floor.append(run_tool([*pin, tool, "floor"], place, place.prefix) |
                     run_tool([*pin, tool, "floor-asks"], place, place.prefix))
        ours.append(run_tool([*pin, place.uvfio, "run", "--device", f"testdev,bdf={TESTDEV}", "--",
                              tool, "client", TESTDEV], place, place.prefix))
        ui.bar("measure", 100 * (number + 1) / ROUNDS)
    # These requests' numbers say nothing of an argument, so FUSE brings none: whoever serves them
    # reads the client's memory and, to map, asks whether it is there. The third row is beside that.
    for row, beside, what, against in (
            ("read4", "read4", "trapped 4-byte region read", "bare FUSE read"),
            ("map+unmap", "map+unmap", "MAP_DMA and UNMAP_DMA, 4 KiB", "two bare FUSE ioctls"),
            ("map+unmap", "map+unmap-asked", "the same",
             "two that read their arguments")):
        figure = statistics.median(r[row]["value"] for r in ours) / 1000
        least = statistics.median(r[beside]["value"] for r in floor) / 1000
        table.add(what, f"{figure:.2f} us", f"{least:.2f} us, {against}", f"{figure / least:.2f}",
                  "at most 1.15", figure / least <= 1.15)


IOMMU_ROWS = {
    "translate_random_1000": "translate a random address, 1000 mappings",
    "translate_random_1000000": "the same, a million mappings",
    "read_window_4096": "read 4 KiB of shared client memory",
    "read_process_4096": "read 4 KiB of private client memory",
}


def bench_iommu(table, place):
    tool = os.path.join(BUILD, "tests", "bench", "bench_iommu")
    if not os.path.exists(tool):
        return
    for name, row in run_tool([place.visible(tool)], place, place.plain_prefix).items():
        if name in IOMMU_ROWS:
            table.add(IOMMU_ROWS[name], f"{row['value']:.1f} {row['unit']}", "", "", "", None)


def bench_vfs(table, place):
    """Many virtual functions, and two under load, in one process."""
    rows = run_tool([place.visible(os.path.join(BUILD, "tests", "bench", "bench_vfs"))], place,
                    place.plain_prefix)
    value = {name: row["value"] for name, row in rows.items()}
    table.add("256 virtual functions made", f"{value['vfs_make_256']:.0f} ms", "", "",
              "under 1 s", value["vfs_make_256"] < 1000)
    table.add("memory of an idle virtual function", f"{value['vfs_memory_each']:.0f} KiB", "", "",
              "under 256 KiB", value["vfs_memory_each"] < 256)
    table.add("CPU of 256 that clients have mapped, idle", f"{value['vfs_idle_256']:.2f} %", "", "",
              "under 1 %", value["vfs_idle_256"] < 1)
    for name, what in (("map_unmap", "map and unmap of a page, 256 attached"),
                       ("dma", "DMA of 64 bytes, 256 attached")):
        one, many = value[f"vfs_{name}_1"], value[f"vfs_{name}_256"]
        table.add(what, f"{many:.0f} ns", f"{one:.0f} ns, one attached", f"{many / one:.2f}",
                  "at most 1.10", many / one <= 1.1)
    # What a scheduler makes of four threads that only spin, on as many cores as there are.
    table.add("two VFs of clients that only spin", f"{value['vfs_two']:.0f} kIOPS",
              f"{value['vfs_one']:.0f} kIOPS, one alone",
              f"{value['vfs_two'] / value['vfs_one']:.2f}", "", None)
    table.add("the faster of these two", f"{value['vfs_uneven']:.2f}", "the slower one",
              f"{value['vfs_uneven']:.2f}", "", None)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def idle_cpu(pid, seconds=5):
    before = cpu_seconds(pid)
    time.sleep(seconds)
    return 100 * (cpu_seconds(pid) - before) / seconds


def bench_idle(table, place, image):
    """A machine with one NVMe whose command sleeps."""
    child = subprocess.Popen([*place.prefix, place.uvfio, "run", "--device",
                              f"nvme,disk={image},bdf={NVME}", "--", "sleep", "60"],
                             env=dict(os.environ, **place.env))
    try:
        time.sleep(1)
        rss, cpu = resident_kib(child.pid) / 1024, idle_cpu(child.pid)
        if child.poll() is not None:
            raise Failure("uvfio run did not stay")
    finally:
        child.terminate()
        child.wait()
    table.add("memory of an idle machine, one NVMe", f"{rss:.1f} MiB", "", "", "under 16 MiB",
              rss < 16)
    table.add("CPU of an idle machine, one NVMe", f"{cpu:.2f} %", "", "", "under 1 %", cpu < 1)


def bench_guest(ui, table, place, image):
    """One guest with both controllers, each on its copy of the image, measured in turns."""
    copy = place.path("copy.img")
    subprocess.run(["cp", image, copy], check=True)
    place.own(copy)
    g = Guest(GUEST.replace("ROUNDS", str(ROUNDS)), place, devices=[f"nvme,disk={image},bdf={NVME}"],
              helpers=[os.path.join(BUILD, "tests", "guest", "guestio")], timeout=180,
              qemu=["-drive", f"file={copy},format=raw,if=none,id=d,cache=none", "-device",
                    "nvme,drive=d,serial=peer"])
    g.start()
    try:
        if g.wait_for("measured") is None:
            raise Failure("the guest ended too early", g.tail())
        time.sleep(1)
        cpu = idle_cpu(g.uvfio_pid())
        g.send("go")
        g.finish()
    finally:
        g.kill()

    for depth in (1, 32):
        ours, theirs = (median(g.results.get(f"{who}-{n}-{depth}", "0") for n in range(ROUNDS))
                        for who in ("ours", "theirs"))
        table.add(f"4 KiB random read in the guest, QD{depth}", f"{ours:.0f} IOPS",
                  f"{theirs:.0f} IOPS, QEMU's NVMe", f"{ours / max(theirs, 1):.2f}", "over 1",
                  ours > theirs)
    table.add("CPU of the machine while its guest is idle", f"{cpu:.2f} %", "", "", "under 1 %",
              cpu < 1)


def median(values):
    return statistics.median(float(v.split()[0]) if v[:1].isdigit() else 0.0 for v in values)


def ask(place, *argv):
    out = subprocess.run([*place.plain_prefix, place.uvfio, *argv, "--json"], text=True,
                         env=dict(os.environ, **place.env), stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, timeout=60)
    if out.returncode:
        raise Failure(f"uvfio {' '.join(argv)}: {out.stderr.strip() or out.stdout.strip()}")
    return json.loads(out.stdout)


def measure_two(ui, guests):
    """Each alone, then both at once, in turns; results of a round by guest."""
    alone, both = [[], []], [[], []]
    for number in range(TWO_ROUNDS):
        for who, guest in enumerate(guests):
            name = f"{number}-alone"
            guest.send(f"{name} 1")
            alone[who].append(guest.wait_for(f"round-{name}") or "FAIL")
        name = f"{number}-both"
        for guest in guests:
            guest.send(f"{name} 4")
        for who, guest in enumerate(guests):
            both[who].append(guest.wait_for(f"round-{name}") or "FAIL")
        ui.bar("measure", 100 * (number + 1) / TWO_ROUNDS)
    return [median(a) for a in alone], [median(b) for b in both]


def bench_two_guests(ui, table, place):
    """Two VMs of one core, each with a virtual function of the same controller."""
    path = place.path("bench-two.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"devices": [{"model": "nvme", "bdf": NVME, "mem": "1M", "vfs": 2,
                                "vf_mem": "64M"}]}, f)
    place.own(path)
    ask(place, "up", path)
    guests = []
    try:
        vfs = [vf["bdf"] for vf in ask(place, "sriov", NVME, "2")["vfs"]]
        for number, vf in enumerate(vfs):
            ask(place, "bind", vf)
            guests.append(Guest(GUEST_VF, place, join="bench-two", passthrough=(vf,), smp=1,
                                helpers=[os.path.join(BUILD, "tests", "guest", "guestio")],
                                timeout=240, name=f"vf-{number}").start())
        for guest in guests:
            if guest.wait_for("ready") is None:
                raise Failure("a guest ended too early", guest.tail())
        alone, both = measure_two(ui, guests)
        for guest in guests:
            guest.send("end")
            guest.finish()
    finally:
        for guest in guests:
            guest.kill()
        subprocess.run([*place.plain_prefix, place.uvfio, "down", "bench-two"],
                       env=dict(os.environ, **place.env), stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    one, two = max(statistics.mean(alone), 1), sum(both)
    table.add("two VMs, a VF each, 4 KiB random read, QD32", f"{two:.0f} IOPS",
              f"{one:.0f} IOPS, one alone", f"{two / one:.2f}", "at least 0.95", two / one >= 0.95)
    uneven = max(both) / max(min(both), 1)
    table.add("the faster VM", f"{max(both):.0f} IOPS", f"{min(both):.0f} IOPS, the slower",
              f"{uneven:.2f}", "at most 1.10", uneven <= 1.1)


def run(ui, table):
    ui.step("Debian's cloud kernel for the guest")
    ui.note(kernel.ensure_kernel(ui)[1])
    ui.step("Build")
    build(BUILD)
    place = Place(os.path.join(BUILD, "src", "cli", "uvfio"))
    try:
        image = place.path("disk.img")
        with open(image, "wb") as f:
            f.write(os.urandom(1 << 20) * 64)
        place.own(image)
        ui.step("The door against bare FUSE")
        bench_door(ui, table, place)
        ui.step("The IOMMU")
        bench_iommu(table, place)
        ui.step("Virtual functions")
        bench_vfs(table, place)
        ui.step("An idle machine")
        bench_idle(table, place, image)
        ui.step("A guest's disk against QEMU's own NVMe")
        bench_guest(ui, table, place, image)
        ui.step("Two guests, a virtual function each")
        bench_two_guests(ui, table, place)
        ui.step("Two virtual functions of a network card")
        bench_net(ui, table, place, idle_cpu)
        ui.step("A guest's network card against QEMU's own e1000e")
        bench_iperf(ui, table, place)
        ui.step("The table")
        table.show()
    finally:
        place.close()


def main():
    ui = Ui("make bench", int(os.environ.get("UVFIO_STEPS", 11)), first=2)
    table = Table(ui)
    try:
        run(ui, table)
    except Failure as failure:
        if table.rows:
            table.show()
        return ui.verdict(failure)
    except KeyboardInterrupt:
        return ui.verdict(Failure("interrupted"))
    missed = [row[0] for row in table.rows if row[5] == "MISSED"]
    ui.note(f"goals missed: {', '.join(missed)}" if missed else "every goal is met")
    return ui.verdict()


if __name__ == "__main__":
    sys.exit(main())
