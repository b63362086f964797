# SPDX-License-Identifier: BSD-3-Clause
"""Boots a guest, alone or under `uvfio run`, and collects what its script says on the console.

The guest runs a shell script as its init; lines "@@key value" on the serial console are results.
Only processes started here are ever signalled, by their pid; a watchdog ends a guest that hangs.
"""

import os
import signal
import subprocess
import threading
import time

import kernel
from ui import Failure

CMDLINE = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr no_timer_check"


def children(pid):
    """Pids of the direct children of a process."""
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as f:
                found += [int(p) for p in f.read().split()]
    except OSError:
        pass
    return found


def command_name(pid):
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f.read().strip()
    except OSError:
        return ""


class Guest:
    """One virtual machine.

    devices: --device specs of uvfio; None boots QEMU without uvfio
    join:    or the name of a machine that runs already (uvfio up)
    qemu:    further QEMU arguments; every device of `passthrough` adds a vfio-pci of its own
    place:   user.Place: who runs it, and where its files are
    programs: of this machine, with their libraries (kernel.make_initrd())
    hardware: Debian's kernel with drivers of hardware, and kernel.MODULES in /mod (kernel.NET_MODULES of a suite)
    suite, modules: another of Debian's suites, and what is to be in /mod (kernel.ensure_kernel())
    options: more of `uvfio run`
    wrap:    command that gets QEMU's command line as its arguments
    """

    def __init__(self, script, place, devices=None, passthrough=("0000:65:00.0",), qemu=(),
                 memory=256, shared_memory=True, smp=2, reboot=False, helpers=(), programs=(),
                 timeout=120, interactive=False, append="", wrap=(), join=None, options=(),
                 name="initrd", hardware=False, suite=None, modules=()):
        self.results = {}
        self.console = []
        self.interactive = interactive
        self.timeout = timeout
        self.proc = None
        self._changed = threading.Condition()
        self._ended = False
        self.env = dict(os.environ, **place.env)
        self.argv = list(place.prefix)
        if hardware:
            vmlinux, self.release, files = kernel.ensure_full_kernel(suite=suite)
        else:
            vmlinux, self.release, files = kernel.ensure_kernel_with(modules, suite)
        vmlinux = place.visible(vmlinux)
        initrd = place.path(f"{name}.cpio")
        kernel.make_initrd(initrd, script, helpers, programs, files)
        place.own(initrd)
        machine = "q35"
        memory_args = ["-m", f"{memory}M"]
        if shared_memory:
            machine += ",memory-backend=mem"
            memory_args += ["-object", f"memory-backend-memfd,id=mem,size={memory}M,share=on"]
        if devices is not None:
            self.argv += [place.uvfio, "run", *options]
            for spec in devices:
                self.argv += ["--device", spec]
            self.argv.append("--")
        elif join is not None:
            self.argv += [place.uvfio, "run", "--join", join, "--"]
        self.argv += [*wrap, "qemu-system-x86_64", "-accel", "tcg", "-machine", machine, *memory_args,
                      "-smp", str(smp), "-nodefaults", "-display", "none", "-serial",
                      "stdio", "-kernel", vmlinux, "-initrd", initrd, "-append",
                      f"{CMDLINE} {append}".strip()]
        if not reboot:
            self.argv.append("-no-reboot")
        if devices is not None or join is not None:
            for bdf in passthrough:
                self.argv += ["-device", f"vfio-pci,host={bdf}"]
        self.argv += list(qemu)

    def start(self):
        self.t0 = time.time()
        if self.interactive:
            self.proc = subprocess.Popen(self.argv, env=self.env)
            return self
        self.proc = subprocess.Popen(
            self.argv, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._watchdog = threading.Timer(self.timeout, self.kill)
        self._watchdog.daemon = True
        self._watchdog.start()
        return self

    def _read(self):
        for raw in self.proc.stdout:
            line = raw.decode(errors="replace").rstrip("\r\n")
            mark = line.find("@@")
            with self._changed:
                self.console.append(line)
                if mark >= 0:
                    key, _, value = line[mark + 2:].partition(" ")
                    self.results[key] = value.strip()
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, key, timeout=None):
        """Value of a result as soon as the guest says it; None if the guest ends before."""
        deadline = time.time() + (timeout or self.timeout)
        with self._changed:
            while key not in self.results and not self._ended:
                left = deadline - time.time()
                if left <= 0:
                    raise Failure(f"the guest did not say '{key}' in time", self.tail())
                self._changed.wait(left)
            return self.results.get(key)

    def wait_more(self):
        """Waits until the guest says something more; False if it has ended."""
        with self._changed:
            if not self._ended:
                self._changed.wait(self.timeout)
            return not self._ended

    def wait_gone(self, pid, timeout=20):
        """Until a process is reaped and the console has nothing more of it."""
        deadline = time.time() + timeout
        while os.path.exists(f"/proc/{pid}") and time.time() < deadline:
            time.sleep(0.02)

    def send(self, text):
        """A line for the script's `read`; nothing if the guest has ended."""
        try:
            self.proc.stdin.write(text.encode() + b"\n")
            self.proc.stdin.flush()
        except BrokenPipeError:
            pass

    def qemu_pid(self):
        """Pid of the running QEMU, a descendant of the process that was started (or itself)."""
        todo = [self.proc.pid]
        while todo:
            pid = todo.pop()
            if command_name(pid).startswith("qemu-system"):
                return pid
            todo += children(pid)
        return None

    def uvfio_pid(self):
        todo = [self.proc.pid]
        while todo:
            pid = todo.pop(0)
            if command_name(pid) == "uvfio":
                return pid
            todo += children(pid)
        return None

    def kill_qemu(self):
        pid = self.qemu_pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        return pid

    def kill(self):
        """Ends what start() started: QEMU first, so that uvfio ends in its own way."""
        if self.proc is None or self.proc.poll() is not None:
            return
        try:
            self.kill_qemu()
            self.proc.wait(timeout=5)
        except (OSError, subprocess.TimeoutExpired):
            self.proc.kill()

    def finish(self):
        """Waits for the end; returns the exit status of the whole command."""
        self.proc.wait()
        if not self.interactive:
            self._reader.join(timeout=10)
            self._watchdog.cancel()
            try:
                self.proc.stdin.close()
            except BrokenPipeError:
                pass
        return self.proc.returncode

    def run(self):
        self.start()
        return self.finish()

    def tail(self, lines=15):
        return "last lines of the console:\n" + "\n".join(
            "        " + line for line in self.console[-lines:])
