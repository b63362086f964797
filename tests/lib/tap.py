# SPDX-License-Identifier: BSD-3-Clause
"""The Test Anything Protocol for the guest and flow tests, and what they all ask first."""

import argparse
import os
import random
import sys

import kernel
from guest import Guest
from ui import Failure
from user import Place

MIB = 1 << 20
NVME = "0000:65:00.0"
MASK = (1 << 64) - 1


class Tap:
    def __init__(self):
        self.count = 0
        self.bad = 0

    def ok(self, good, name, detail=""):
        self.count += 1
        self.bad += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {name}", flush=True)
        if detail:
            for line in str(detail).splitlines():
                print(f"# {line}", flush=True)
        return good

    def equal(self, got, want, name):
        return self.ok(got == want, name, "" if got == want else f"got {got!r}, want {want!r}")

    def finish(self):
        print(f"1..{self.count}")
        return 1 if self.bad or not self.count else 0


def skip_all(why):
    print(f"1..0 # SKIP {why}")
    sys.exit(0)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--uvfio", required=True)
    parser.add_argument("--helpers", required=True, help="folder of the guest's static programs")
    parser.add_argument("--as-root", action="store_true")
    parser.add_argument("--device-keys", default="", help="more keys for the nvme device")
    parser.add_argument("--anonymous-memory", action="store_true")
    parser.add_argument("--by-address", action="store_true", help="of test_iommufd.py")
    parser.add_argument("--kernel", default="6.1", help="of the guest, for test_host.py, test_igb_clients.py")
    parser.add_argument("--devices", default="", help="UVFIO_DOOR, see man uvfio-run")
    return parser.parse_args()


def place_of(args):
    """Where and as whom the test runs; skips where this machine cannot carry it."""
    if args.as_root and os.geteuid() != 0:
        skip_all("only root can run this as root")
    if not os.path.exists("/dev/fuse"):
        skip_all("no /dev/fuse on this machine")
    place = Place(os.path.realpath(args.uvfio), as_root=args.as_root)
    if getattr(args, "devices", ""):
        place.env["UVFIO_DOOR"] = args.devices
    if os.geteuid() != 0 and not os.access("/dev/fuse", os.R_OK | os.W_OK):
        place.close()
        skip_all("this user may not open /dev/fuse")
    print(f"# as {place.who}")
    return place


def make_image(place, mib=64, seed=1, name="disk.img"):
    """An image of pseudo-random content; returns its path and content."""
    path = place.path(name)
    data = b"".join(random.Random(seed).randbytes(MIB) for _ in range(1)) * mib
    with open(path, "wb") as f:
        f.write(data)
    place.own(path)
    return path, data


def guest(script, place, args, image, **more):
    keys = f",{args.device_keys}" if args.device_keys else ""
    helpers = [os.path.join(args.helpers, name) for name in ("guestio", "dmatool")]
    return Guest(script, place, devices=[f"nvme,disk={image},bdf={NVME}{keys}"], helpers=helpers,
                 shared_memory=not args.anonymous_memory, **more)


def sector(number, generation, seed):
    """What guestio writes into a sector (fill_sector() there)."""
    state = (seed ^ (number << 8) ^ generation) & MASK
    out = bytearray()
    for _ in range(64):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        out += (z ^ (z >> 31)).to_bytes(8, "little")
    return bytes(out)


def stamp(offset, size, seed):
    """What `guestio stamp` writes."""
    return b"".join(sector(offset // 512 + i, 1, seed) for i in range(size // 512))


def content(path, offset, size):
    with open(path, "rb") as f:
        f.seek(offset)
        return f.read(size)


def run_test(body):
    """Runs body(tap, args, place); a Failure is one failed check with its reason."""
    args = arguments()
    kernel.ensure_kernel()
    place = place_of(args)
    tap = Tap()
    try:
        body(tap, args, place)
    except Failure as failure:
        tap.ok(False, failure.reason, failure.remedy)
    finally:
        place.close()
    sys.exit(tap.finish())
