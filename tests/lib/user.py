# SPDX-License-Identifier: BSD-3-Clause
"""Who runs uvfio: an unprivileged user wherever that is possible.

Called by an ordinary user, everything simply runs as that user. Called by root (containers, CI),
the command runs as nobody, in a private mount namespace where /dev/fuse is open to everybody as it
is on a stock Debian machine; nothing of the machine itself is changed.
"""

import json
import os
import shutil
import stat
import subprocess
import tempfile

import kernel
from ui import Failure

NOBODY = 65534
AS_NOBODY = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups",
             "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
# A device node on a file system of its own, bound over /dev/fuse, seen by this command alone.
OPEN_FUSE = """
mount -t tmpfs -o size=4k,mode=755 fuse "$UVFIO_FUSE_DIR" &&
mknod -m 666 "$UVFIO_FUSE_DIR/fuse" c 10 229 &&
chmod 666 "$UVFIO_FUSE_DIR/fuse" &&
mount --bind "$UVFIO_FUSE_DIR/fuse" /dev/fuse &&
exec "$@"
"""


def reachable(path):
    """Whether nobody can read @path."""
    return subprocess.run([*AS_NOBODY, "test", "-r", path],
                          stderr=subprocess.DEVNULL).returncode == 0


class Place:
    """A work folder, the program and the command prefix of the user that runs uvfio."""

    def __init__(self, uvfio, as_root=False):
        self.prefix = []
        self.plain_prefix = []
        self.env = {}
        self.who = f"the calling user (uid {os.geteuid()})"
        self.unprivileged = os.geteuid() != 0
        drop = os.geteuid() == 0 and not as_root and self._can_drop()
        base = os.path.join(kernel.CACHE, "run")
        os.makedirs(base, exist_ok=True)
        os.chmod(base, 0o755)
        if drop and not (reachable(base) and reachable(uvfio)):
            base = None  # a checkout that nobody may enter, in /root for example
        self.dir = tempfile.mkdtemp(prefix="uvfio-", dir=base)
        self.uvfio = uvfio
        if drop:
            self._drop(base is None)
        runtime = os.path.join(self.dir, "run")
        os.mkdir(runtime, 0o700)
        self.env["XDG_RUNTIME_DIR"] = runtime
        # What the address sanitizer keeps of freed memory is not the machine's: keep that small.
        if "ASAN_OPTIONS" in os.environ:
            self.env["ASAN_OPTIONS"] = os.environ["ASAN_OPTIONS"] + \
                ":quarantine_size_mb=1:thread_local_quarantine_size_kb=16"
        self.own(runtime)
        self.own(self.dir)

    def _can_drop(self):
        if subprocess.run([*AS_NOBODY, "true"], stderr=subprocess.DEVNULL).returncode:
            return False
        if not os.path.exists("/dev/fuse"):
            return True
        return stat.S_IMODE(os.stat("/dev/fuse").st_mode) & 0o006 == 0o006 or self._open_fuse()

    def _open_fuse(self):
        folder = tempfile.mkdtemp(prefix="uvfio-fuse-")
        try:
            env = dict(os.environ, UVFIO_FUSE_DIR=folder)
            prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", OPEN_FUSE, "sh"]
            if subprocess.run([*prefix, *AS_NOBODY, "sh", "-c", "exec 3<>/dev/fuse"], env=env,
                              stderr=subprocess.DEVNULL).returncode:
                return False
        finally:
            os.rmdir(folder)
        self.prefix = prefix
        return True

    def _drop(self, copy):
        if self.prefix:
            self.env["UVFIO_FUSE_DIR"] = os.path.join(self.dir, "fuse")
            os.mkdir(self.env["UVFIO_FUSE_DIR"], 0o755)
        self.plain_prefix = list(AS_NOBODY)
        self.prefix = self.prefix + AS_NOBODY
        self.unprivileged = True
        self.who = f"nobody (uid {NOBODY}, no capabilities), because root called"
        self.env["HOME"] = self.dir
        if copy:
            self.uvfio = shutil.copy(self.uvfio, self.dir)

    def own(self, path):
        """Gives a file or folder to the user that runs uvfio."""
        if self.plain_prefix:
            os.chown(path, NOBODY, NOBODY)
        return path

    def visible(self, path):
        """@path itself or, where that user cannot reach it, a copy in the work folder."""
        if not self.plain_prefix or reachable(path):
            return path
        copy = os.path.join(self.dir, os.path.basename(path))
        if not os.path.exists(copy):
            if os.path.isdir(path):
                shutil.copytree(path, copy, symlinks=True)
            else:
                shutil.copy(path, copy)
            self.own(copy)
        return copy

    def path(self, name):
        return os.path.join(self.dir, name)

    def run(self, argv, **more):
        """A command of that user beside the running machine (uvfio list, uvfio events)."""
        return subprocess.run([*self.plain_prefix, *argv], env=dict(os.environ, **self.env),
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)

    def faults(self, bdf):
        """DMA faults of a function, as `uvfio events --json` tells them: an object a line."""
        out = self.run([self.uvfio, "events", "--json"], timeout=20)
        if out.returncode:
            raise Failure("uvfio events failed: " + out.stdout.strip())
        rows = [json.loads(line) for line in out.stdout.splitlines() if line.startswith("{")]
        return [row for row in rows if "fault" in row["type"] and row["bdf"] == bdf]

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)
