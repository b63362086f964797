#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What Kubernetes' SR-IOV network device plugin and its PCI library ghw look at to find virtual
functions for pods, read in /sys inside of `uvfio run` in the way they do: a function is what its
modalias says, at fixed places of the text; a PF that has VFs is left out; a function without a
driver is none; the device file of a pod is named by where iommu_group leads to.

Usage: test_device_plugin.py UVFIO [--as-root]. Inside it calls itself with --inside."""

import glob
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 60
DEVICES = "/sys/bus/pci/devices"
PF, DISK = "0000:65:00.0", "0000:67:00.0"
PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
# Where the parts of a modalias are, and how long it is with its newline.
PARTS = {"vendor": (9, 13), "device": (18, 22), "subvendor": (28, 32), "subdevice": (38, 42),
         "class": (44, 46), "subclass": (48, 50), "interface": (51, 53)}
LENGTH = 54


def read(*path):
    with open(os.path.join(DEVICES, *path), encoding="ascii") as f:
        return f.read()


def write(text, *path):
    with open(os.path.join(DEVICES, *path), "w", encoding="ascii") as f:
        f.write(text)


def link(bdf, name):
    """What a link's last part says; None: there is none."""
    try:
        return os.path.basename(os.readlink(os.path.join(DEVICES, bdf, name)))
    except FileNotFoundError:
        return None


def describe(bdf):
    """ghw's part: None for what it cannot make sense of."""
    alias = read(bdf, "modalias")
    if len(alias) < LENGTH:
        return None
    about = {name: alias[a:b].lower() for name, (a, b) in PARTS.items()}
    return {**about, "revision": read(bdf, "revision").strip(), "bdf": bdf,
            "driver": link(bdf, "driver"), "group": link(bdf, "iommu_group"),
            "node": int(read(bdf, "numa_node"))}


def vfs_of(pf):
    return {k: os.path.basename(os.path.realpath(os.path.join(DEVICES, pf, f"virtfn{k}")))
            for k in range(len(glob.glob(os.path.join(DEVICES, pf, "virtfn*"))))}


def device_file(bdf):
    path = os.path.join(DEVICES, bdf, "iommu_group")
    if not os.path.islink(path):
        return None
    return os.path.join("/dev/vfio", os.path.basename(os.path.realpath(path)))


def resources(devices):
    """The plugin's part: network functions that a pod can have."""
    found = []
    for d in devices:
        if int(d["class"], 16) != 2 or not d["driver"]:
            continue
        if (os.path.exists(os.path.join(DEVICES, d["bdf"], "sriov_totalvfs")) and
                int(read(d["bdf"], "sriov_numvfs")) > 0):
            continue
        pf = link(d["bdf"], "physfn") or d["bdf"]
        number = [k for k, vf in vfs_of(pf).items() if vf == d["bdf"]]
        found.append({**d, "pf": pf, "number": number[0] if number else -1,
                      "file": device_file(d["bdf"]) if d["driver"] == "vfio-pci" else None})
    return found


class Inside:
    bad = 0

    def equal(self, got, want, name):
        self.bad += got != want
        print(f"{'ok' if got == want else 'not ok'}\t{name}\tgot {got!r}, want {want!r}",
              flush=True)

    @staticmethod
    def pool():
        return resources([describe(bdf) for bdf in sorted(os.listdir(DEVICES))])

    def whom(self, pool):
        return [(d["bdf"], d["driver"], d["pf"], d["number"]) for d in pool]

    def all(self):
        every = [describe(bdf) for bdf in sorted(os.listdir(DEVICES))]
        self.equal(None in every, False, "every modalias can be read")
        self.equal([(d["vendor"], d["device"], d["class"], d["subclass"], d["interface"])
                    for d in every if d["bdf"] in (PF, DISK)],
                   [("8086", "10c9", "02", "00", "00"), ("1234", "5010", "01", "08", "02")],
                   "ids and classes")
        self.equal({d["revision"] for d in every}, {"0x01"}, "revisions")
        self.equal(self.whom(self.pool()), [(PF, "vfio-pci", PF, -1)], "a PF without VFs")

        self.equal(int(read(PF, "sriov_totalvfs")), 4, "how many VFs there can be")
        write("3", PF, "sriov_numvfs")
        vfs = vfs_of(PF)
        pool = self.pool()
        self.equal(self.whom(pool), [(vfs[k], "vfio-pci", PF, k) for k in range(3)],
                   "VFs instead of their PF, by number")
        self.equal([(d["vendor"], d["device"], d["node"]) for d in pool],
                   [("8086", "10ca", 1)] * 3, "their ids and node")
        self.equal(len({d["file"] for d in pool}), 3, "each has a file of its own")
        for d in pool:
            os.close(os.open(d["file"], os.O_RDWR))
        for path in ("net", "physfn/net", "infiniband"):
            self.equal(os.path.exists(os.path.join(DEVICES, vfs[0], path)), False,
                       f"no {path}: there is no driver code that would make an interface")

        write("\n", vfs[1], "driver_override")
        write(vfs[1], vfs[1], "driver/unbind")
        self.equal(self.whom(self.pool()), [(vfs[k], "vfio-pci", PF, k) for k in (0, 2)],
                   "a VF that has no driver is none")
        write(vfs[1], "../drivers_probe")
        self.equal([(d["driver"], d["file"]) for d in self.pool()][1], ("igbvf", None),
                   "with its host driver it is one without a file")
        write("0", PF, "sriov_numvfs")
        self.equal(self.whom(self.pool()), [(PF, "vfio-pci", PF, -1)], "the PF again")
        return 1 if self.bad else 0


def outside():
    sys.path.insert(0, os.path.join(HERE, "..", "lib"))
    from tap import Tap, place_of

    class Args:
        uvfio = sys.argv[1]
        as_root = "--as-root" in sys.argv

    place = place_of(Args())
    tap = Tap()
    try:
        p = subprocess.run([*place.prefix, place.uvfio, "run", "-d",
                            f"igb,bdf={PF},vfs=4,numa_node=1", "-d", f"nvme,bdf={DISK},mem=16M",
                            "--", PYTHON, place.visible(os.path.abspath(__file__)), "--inside"],
                           env={**os.environ, **place.env}, cwd=place.dir, text=True,
                           timeout=PATIENCE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE)
        for line in p.stdout.splitlines():
            good, name, detail = (line.split("\t") + ["", ""])[:3]
            tap.ok(good == "ok", name, detail if good != "ok" else "")
        tap.ok(p.returncode == 0, "all of it", f"{p.returncode} {p.stderr}" if p.returncode else "")
    finally:
        place.close()
    return tap.finish()


if __name__ == "__main__":
    sys.exit(Inside().all() if sys.argv[1] == "--inside" else outside())
