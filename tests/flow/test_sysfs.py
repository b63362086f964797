#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""/sys inside `uvfio run`, used by the tools that people use: a shell, dpdk-devbind.py, driverctl,
lspci, setpci and libudev, all as Debian ships them; and what the kernel's file system does that a
unit test of the view cannot see.

Usage: test_sysfs.py UVFIO [--as-root] [--sanitized]: memory says nothing then. Inside it calls itself
with --inside SANITIZED DEVBIND DRIVERCTL."""

import ctypes
import errno
import os
import re
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 60
NET, NVME, PORT = "0000:65:00.0", "0000:66:00.0", "0000:64:00.0"
DEVICES = "/sys/bus/pci/devices/"
DRIVERS = "/sys/bus/pci/drivers/"
PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable


def read(path):
    with open(path) as f:
        return f.read()


def write(path, text):
    """0, or the errno of one write(2)."""
    try:
        fd = os.open(path, os.O_WRONLY)
    except OSError as e:
        return e.errno
    try:
        os.write(fd, text.encode())
        return 0
    except OSError as e:
        return e.errno
    finally:
        os.close(fd)


def failure(function):
    try:
        function()
        return 0
    except OSError as e:
        return e.errno


def driver(bdf):
    try:
        return os.path.basename(os.readlink(f"{DEVICES}{bdf}/driver"))
    except FileNotFoundError:
        return None


def group_file(bdf):
    return "/dev/vfio/" + os.path.basename(os.readlink(f"{DEVICES}{bdf}/iommu_group"))


def run(*argv, **more):
    out = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, timeout=PATIENCE, **more)
    return out.returncode, out.stdout, out.stderr


class Inside:
    def __init__(self, sanitized="", devbind=None, driverctl=None):
        self.sanitized = sanitized
        self.devbind = devbind
        self.driverctl = driverctl
        self.bad = 0

    def say(self, good, name, detail=""):
        self.bad += not good
        print(f"{'ok' if good else 'not ok'}\t{name}\t{' '.join(str(detail).split())}", flush=True)

    def equal(self, got, want, name):
        self.say(got == want, name, f"got {got!r}, want {want!r}")

    # ------------------------------------------------------------ a shell

    def shell(self):
        script = f"""set -e
            cd {DEVICES}{NET}
            echo > driver_override
            echo {NET} > driver/unbind
            test ! -e driver
            echo {NET} > /sys/bus/pci/drivers_probe
            test $(basename $(readlink driver)) = igb
            ! echo {NET} > {DRIVERS}vfio-pci/bind
            echo vfio-pci > driver_override
            echo -n {NET} > {DRIVERS}igb/unbind
            echo {NET} > {DRIVERS}vfio-pci/bind
            test "$(cat driver_override)" = vfio-pci
            grep -q ^DRIVER=vfio-pci uevent
            echo 1 > reset
            test -e {DRIVERS}vfio-pci/{NET}"""
        status, _, err = run("sh", "-c", script)
        self.say(not status, "a shell gives a device to the host and back", err)

    def errnos(self):
        self.equal(write(DRIVERS + "vfio-pci/bind", NET), errno.EBUSY, "bind of what is bound")
        self.equal(write(DRIVERS + "vfio-pci/bind", "65:00.0"), errno.ENODEV, "bind of no name")
        self.equal(write(DRIVERS + "nvme/unbind", NET), errno.ENODEV, "unbind of another's")
        self.equal(write(DRIVERS + "vfio-pci/new_id", "8086"), errno.EINVAL, "new_id of one word")
        self.equal(write(f"{DEVICES}{NET}/enable", "1"), errno.EBUSY, "enable what has a driver")
        self.equal(write(f"{DEVICES}{NET}/driver_override", "x" * 4095), errno.EINVAL,
                   "a driver_override of a page")
        self.equal(write(f"{DEVICES}{NET}/vendor", "1"), errno.EACCES, "write what is read only")
        path = DEVICES + NET + "/"
        for name, change in (("mkdir", lambda: os.mkdir(path + "x")),
                             ("rmdir", lambda: os.rmdir(path + "power")),
                             ("unlink", lambda: os.unlink(path + "vendor")),
                             ("rename", lambda: os.rename(path + "vendor", path + "x")),
                             ("symlink", lambda: os.symlink("vendor", path + "x")),
                             ("link", lambda: os.link(path + "vendor", path + "x")),
                             ("mkfifo", lambda: os.mkfifo(path + "x")),
                             ("chmod", lambda: os.chmod(path + "vendor", 0o600))):
            self.equal(failure(change), errno.EPERM, f"{name}: not in /sys")
        self.equal(failure(lambda: open(path + "x", "w")), errno.EACCES, "nor a new file")
        try:
            read(DRIVERS + "vfio-pci/unbind")
            self.say(False, "read what can only be written")
        except OSError as e:
            self.equal(e.errno, errno.EACCES, "read what can only be written")

    # ------------------------------------------------------------ names that come and go

    def life(self):
        path = f"{DEVICES}{NET}"
        fd = os.open(path + "/vendor", os.O_RDONLY)
        old = os.stat(path).st_ino
        self.equal(os.read(fd, 100), b"0x8086\n", "an open file of a function")
        self.equal(write(path + "/remove", "1"), 0, "the function is removed")
        self.say(not os.path.lexists(path), "its name is gone")
        self.say(NET not in os.listdir(DEVICES), "and is not listed")
        self.say(not os.path.lexists(DRIVERS + "vfio-pci/" + NET), "nor at its driver")
        try:
            os.pread(fd, 100, 0)
            self.say(False, "the open file says ENODEV")
        except OSError as e:
            self.equal(e.errno, errno.ENODEV, "the open file says ENODEV")
        self.equal(os.fstat(fd).st_size, 4096, "and has attributes still")
        os.close(fd)
        self.equal(write("/sys/bus/pci/rescan", "1"), 0, "a scan of the bus")
        self.say(os.stat(path).st_ino != old, "finds another one at that address")
        self.equal(driver(NET), "igb", "whose host driver takes it")

    def group_files(self):
        path = group_file(NET)
        self.say(not os.path.exists(path), "no group file while the host has the device")
        self.equal(write(f"{DEVICES}{NET}/driver_override", "vfio-pci"), 0, "override")
        self.equal(write(DRIVERS + "igb/unbind", NET), 0, "unbind")
        self.equal(write(DRIVERS + "vfio-pci/bind", NET), 0, "bind")
        self.equal(os.stat(path).st_mode & 0o777, 0o600, "with vfio-pci it is there")
        os.chmod(path, 0o640)
        ino = os.stat(path).st_ino
        write(DRIVERS + "vfio-pci/unbind", NET)
        self.say(not os.path.exists(path), "without it is not")
        write(DRIVERS + "vfio-pci/bind", NET)
        self.equal((os.stat(path).st_mode & 0o777, os.stat(path).st_ino), (0o640, ino),
                   "and chmod lasts as long as the group")
        write(f"{DEVICES}{NET}/remove", "1")
        write("/sys/bus/pci/rescan", "1")
        write(f"{DEVICES}{NET}/driver_override", "vfio-pci")
        write(DRIVERS + "igb/unbind", NET)
        write(DRIVERS + "vfio-pci/bind", NET)
        self.equal(os.stat(path).st_mode & 0o777, 0o600, "another group has its own mode")

    # ------------------------------------------------------------ tools

    def status(self):
        code, out, err = run(self.devbind, "--status-dev", "net")
        self.say(not code, "dpdk-devbind.py --status-dev net", err)
        return out

    def devbind_all(self):
        out = self.status()
        self.say(re.search(f"DPDK-compatible.*{NET}.*drv=vfio-pci", out, re.S), "it sees vfio-pci", out)
        self.equal(run(self.devbind, "-u", NET)[0], 0, "dpdk-devbind.py -u")
        self.equal(driver(NET), None, "and it has no driver")
        self.say("Other Network devices" in self.status(), "it sees that")
        err = run(self.devbind, "-b", "igb", NET)[2]
        self.say("No such device" in err and driver(NET) is None, "an override is in igb's way", err)
        for want in ("uio_pci_generic", "igb", "vfio-pci", "igb", "vfio-pci"):
            code, _, err = run(self.devbind, "-b", want, NET)
            # lspci misses the host's /lib/modules where there is none.
            err = "".join(line for line in err.splitlines() if not line.startswith("lspci: "))
            self.equal((code, err, driver(NET)), (0, "", want), f"dpdk-devbind.py -b {want}")
        self.equal(read(f"{DEVICES}{NET}/driver_override"), "(null)\n", "it leaves no override")
        self.say(os.path.exists(group_file(NET)), "and there is a group file")

    def driverctl_all(self):
        def ctl(*words):
            code, out, err = run("bash", self.driverctl, "--nosave", *words)
            self.say(not code, "driverctl " + " ".join(words), err)
            return out

        ctl("set-override", NET, "vfio-pci")
        self.equal(driver(NET), "vfio-pci", "it is bound")
        self.say(f"{NET} vfio-pci [*]" in ctl("list-devices"), "it is listed, with its mark")
        self.say(f"{NET} vfio-pci" in ctl("list-overrides"), "and among overrides")
        ctl("unset-override", NET)
        self.equal(driver(NET), "igb", "the host driver has it back")
        self.equal(ctl("list-devices", "network").split(), [NET, "igb"], "one network device")
        ctl("set-override", NET, "pci-stub")
        self.equal(driver(NET), "pci-stub", "any driver will do")
        ctl("set-override", NET, "none")
        self.equal(driver(NET), None, "or none")
        ctl("set-override", NET, "vfio-pci")

    def lspci(self):
        code, out, err = run("lspci", "-vvv", "-D")
        self.say(not code and f"\n{NET} " in out, "lspci -vvv", err)
        self.say("Kernel driver in use: vfio-pci" in out and
                 "Kernel driver in use: pcieport" in out, "it sees drivers", out)
        self.say("IOMMU group: " in out, "and isolation groups")
        self.say(not re.search(r"(?i)unknown header|access denied", out), "and all of the space", out)
        code, out, err = run("lspci", "-t")
        self.say(not code and re.search(r"0000:64.*00\.0-\[65\]----00\.0", out), "lspci -t", out + err)
        before = run("setpci", "-s", NET, "COMMAND")[1].strip()
        self.equal(run("setpci", "-s", NET, "COMMAND=0006:0006")[0], 0, "setpci writes")
        self.equal(int(run("setpci", "-s", NET, "COMMAND")[1], 16) & 6, 6, "and reads it back")
        run("setpci", "-s", NET, "COMMAND=" + before)

    def libudev(self):
        udev = ctypes.CDLL("libudev.so.1")
        for name in ("udev_new", "udev_device_new_from_syspath", "udev_enumerate_new"):
            getattr(udev, name).restype = ctypes.c_void_p
        for name in ("get_driver", "get_subsystem", "get_sysname"):
            getattr(udev, "udev_device_" + name).restype = ctypes.c_char_p
        udev.udev_device_get_sysattr_value.restype = ctypes.c_char_p
        context = ctypes.c_void_p(udev.udev_new())
        path = os.path.realpath(DEVICES + NET).encode()
        device = ctypes.c_void_p(udev.udev_device_new_from_syspath(context, path))
        self.say(device.value, "libudev takes the device")
        if not device.value:
            return
        self.equal([getattr(udev, "udev_device_" + name)(device)
                    for name in ("get_driver", "get_subsystem", "get_sysname")],
                   [b"vfio-pci", b"pci", NET.encode()], "and knows what it is")
        self.equal(udev.udev_device_get_sysattr_value(device, b"class"), b"0x020000", "and its class")
        found = ctypes.c_void_p(udev.udev_enumerate_new(context))
        udev.udev_enumerate_add_match_subsystem(found, b"pci")
        udev.udev_enumerate_scan_devices(found)
        udev.udev_enumerate_get_list_entry.restype = ctypes.c_void_p
        udev.udev_list_entry_get_next.restype = ctypes.c_void_p
        udev.udev_list_entry_get_name.restype = ctypes.c_char_p
        names, entry = [], udev.udev_enumerate_get_list_entry(found)
        while entry:
            names.append(udev.udev_list_entry_get_name(ctypes.c_void_p(entry)).decode())
            entry = udev.udev_list_entry_get_next(ctypes.c_void_p(entry))
        self.equal(sorted(names), sorted(os.path.realpath(DEVICES + d) for d in os.listdir(DEVICES)),
                   "and finds all of them")

    # ------------------------------------------------------------ virtual functions

    def sriov(self):
        path = f"{DEVICES}{NVME}/"
        self.equal(read(path + "sriov_totalvfs"), "4\n", "sriov_totalvfs")
        self.equal(write(path + "sriov_numvfs", "5"), errno.ERANGE, "more than there can be")
        self.equal(write(path + "sriov_numvfs", "2"), 0, "two VFs")
        self.equal(write(path + "sriov_numvfs", "3"), errno.EBUSY, "three, while there are two")
        vfs = [os.path.basename(os.readlink(path + f"virtfn{k}")) for k in (0, 1)]
        for vf in vfs:
            self.equal(driver(vf), "vfio-pci", "a VF of VFIO's is VFIO's")
            self.say(os.path.exists(group_file(vf)), "and has a group file")
            self.equal(os.path.realpath(f"{DEVICES}{vf}/physfn"), os.path.realpath(DEVICES + NVME),
                       "and a PF")
        groups = {group_file(bdf) for bdf in (NVME, *vfs)}
        self.equal(len(groups), 3, "each in a group of its own")
        code, out, _ = run("lspci", "-D", "-k")
        self.say(not code and all(vf in out for vf in vfs), "lspci sees them", out)
        self.equal(write(path + "sriov_numvfs", "0"), 0, "none")
        self.say(not any(os.path.lexists(DEVICES + vf) for vf in vfs), "they are gone")

    # ------------------------------------------------------------ in use

    def client(self, bdf=NET):
        client = subprocess.Popen([PYTHON, os.path.join(HERE, "vfio_client.py"), bdf], text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        client.stdout.readline()
        return client

    @staticmethod
    def tell(client, word):
        client.stdin.write(word + "\n")
        client.stdin.flush()
        return client.stdout.readline().strip()

    @staticmethod
    def unbinder(bdf=NET):
        return subprocess.Popen([PYTHON, "-c", "import os, signal\n"
                                 "signal.signal(signal.SIGUSR1, lambda *_: None)\n"
                                 f"fd = os.open('{DRIVERS}vfio-pci/unbind', os.O_WRONLY)\n"
                                 "print(flush=True)\n"
                                 f"os.write(fd, b'{bdf}')\n"], stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL)

    def interrupted(self, script):
        """Ctrl-C: the shell whose own echo waits handles SIGINT."""
        shell = subprocess.Popen(["sh", "-c", script + "; echo $?"], text=True, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        time.sleep(0.2)
        waits = shell.poll() is None
        shell.send_signal(signal.SIGINT)
        out = shell.communicate(timeout=PATIENCE)
        self.say(waits and out[0] != "0\n", f"Ctrl-C ends {script}", f"{shell.returncode} {out}")
        self.equal((driver(NET), driver(PORT)), ("vfio-pci", "pcieport"), "and nothing has changed")

    def in_use(self):
        client = self.client()
        self.equal(self.tell(client, "open"), "ok", "a client opens the device")
        writers = [self.unbinder() for _ in range(8)]
        for writer in writers:
            writer.stdout.readline()
        time.sleep(0.2)
        self.say(all(w.poll() is None for w in writers), "who unbinds it waits")
        self.equal(self.tell(client, "dma 1 0x100000 64"), "1", "the client works on")
        self.equal(driver(NET), "vfio-pci", "and everybody else looks on")
        for writer in writers:
            writer.send_signal(signal.SIGUSR1)
        time.sleep(0.3)
        self.say(all(w.poll() is None for w in writers), "whatever signals they handle")
        for writer in writers[:4]:
            writer.kill()
        for writer in writers[4:]:
            writer.terminate()
        self.equal([w.wait(PATIENCE) for w in writers],
                   [-signal.SIGKILL] * 4 + [-signal.SIGTERM] * 4, "who waits can be killed")
        self.equal(driver(NET), "vfio-pci", "and then it stays bound")
        self.interrupted(f"echo {NET} > {DRIVERS}vfio-pci/unbind")
        self.interrupted(f"echo 1 > {DEVICES}{NET}/remove")
        self.interrupted(f"echo 1 > {DEVICES}{PORT}/remove")
        self.equal(write(f"{DEVICES}{NET}/reset", "1"), 0, "its host may reset it meanwhile")
        self.equal(self.tell(client, "dma 1 0x100000 64"), "1", "and it works on")
        writer = self.unbinder()
        writer.stdout.readline()
        time.sleep(0.2)
        self.equal(self.tell(client, "close"), "ok", "the client gives the device back")
        self.equal(writer.wait(PATIENCE), 0, "and who waited is done")
        self.equal(driver(NET), None, "and has unbound it")
        client.stdin.close()
        client.wait()
        self.equal(write(DRIVERS + "vfio-pci/bind", NET), 0, "bind it again")

    def asked_again(self, meanwhile):
        """A client that does not react is asked every ten seconds."""
        client = self.client(NVME)
        self.equal([self.tell(client, word) for word in ("open", "asked")], ["ok", "0"],
                   "a client that is to be asked")
        start, times, writer = time.monotonic(), 0, self.unbinder(NVME)
        writer.stdout.readline()
        meanwhile()
        while times < 2 and time.monotonic() < start + PATIENCE:
            time.sleep(0.05)
            times += int(self.tell(client, "asked"))
        passed = time.monotonic() - start
        self.say(2 <= times <= 1 + passed / 10, "is asked at once and every ten seconds",
                 (times, passed))
        self.say(writer.poll() is None, "while who unbinds it waits")
        client.stdin.close()
        client.wait()
        self.equal((writer.wait(PATIENCE), driver(NVME)), (0, None), "until the client has ended")

    @staticmethod
    def server():
        """Its resident memory in KiB, and its descriptors where we may count them."""
        pid = os.getppid()
        rss = int(re.search(r"VmRSS:\s+(\d+)", read(f"/proc/{pid}/status")).group(1))
        try:
            return rss, len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            return rss, 0

    def cycles(self):
        """A function that goes and comes back, is bound and used, again and again."""
        client = self.client()
        bad = 0
        for i in range(120):
            if i == 20:
                before = self.server()
            bad += write(f"{DEVICES}{NET}/remove", "1") + write("/sys/bus/pci/rescan", "1")
            bad += write(f"{DEVICES}{NET}/driver_override", "vfio-pci")
            bad += write(DRIVERS + "igb/unbind", NET) + write(DRIVERS + "vfio-pci/bind", NET)
            bad += self.tell(client, "open") != "ok"
            bad += self.tell(client, "dma 1 0x100000 64") != "1"
            bad += self.tell(client, "close") != "ok"
        client.stdin.close()
        client.wait()
        self.equal(bad, 0, "a function goes and comes back a hundred times")
        end = time.monotonic() + PATIENCE
        while self.server()[1] > before[1] and time.monotonic() < end:
            time.sleep(0.1)
        rss, fds = self.server()
        self.say(fds <= before[1] and (self.sanitized or rss < before[0] + 1024), "and leaves nothing behind",
                 f"{before}, now {rss, fds}")

    def all(self):
        for step in (self.shell, self.errnos, self.life, self.group_files, self.devbind_all,
                     self.driverctl_all, self.lspci, self.libudev, self.sriov, self.in_use):
            step()
        self.asked_again(self.cycles)
        return 1 if self.bad else 0


def hold():
    """Ends while a child of its has the device and another waits for it."""
    inside = Inside()
    if inside.tell(inside.client(), "open") != "ok":
        return 1
    inside.unbinder().stdout.readline()
    time.sleep(0.1)
    os._exit(0)


# ---------------------------------------------------------------- outside

def outside():
    sys.path.insert(0, os.path.join(HERE, "..", "lib"))
    from stock import stock_script
    from tap import Tap, place_of

    class Args:
        uvfio = sys.argv[1]
        as_root = "--as-root" in sys.argv

    place = place_of(Args())
    tap = Tap()
    try:
        tools = [place.visible(stock_script("dpdk", "/usr/bin/dpdk-devbind.py")),
                 place.visible(stock_script("driverctl", "/usr/sbin/driverctl"))]
        place.visible(os.path.join(HERE, "vfio_client.py"))
        script = place.visible(os.path.abspath(__file__))
        argv = [*place.prefix, place.uvfio, "run",
                "-d", f"testdev,bdf={NET},id=8086:10c9:020000",
                "-d", f"nvme,bdf={NVME},mem=16M,vfs=4,vf_mem=1M", "--", PYTHON, script]
        env = dict(os.environ, LC_ALL="C", PATH=os.environ["PATH"] + ":/usr/sbin:/sbin", **place.env)
        sanitized = "yes" if "--sanitized" in sys.argv else ""
        p = subprocess.run([*argv, "--inside", sanitized, *tools], env=env, cwd=place.dir, text=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=5 * PATIENCE)
        for line in p.stdout.splitlines():
            good, name, detail = (line.split("\t") + ["", ""])[:3]
            tap.ok(good == "ok", name, detail if good != "ok" else "")
        tap.ok(p.returncode == 0, "all of it in one run",
               f"{p.returncode} {p.stderr}" if p.returncode else "")
        start = time.monotonic()
        p = subprocess.run([*argv, "--hold"], env=env, cwd=place.dir, timeout=PATIENCE)
        tap.ok(p.returncode == 0 and time.monotonic() - start < PATIENCE / 2,
               "the run ends with its command, whoever still waits in it", p.returncode)
    finally:
        place.close()
    return tap.finish()


if __name__ == "__main__":
    if sys.argv[1] == "--hold":
        sys.exit(hold())
    sys.exit(Inside(*sys.argv[2:]).all() if sys.argv[1] == "--inside" else outside())
