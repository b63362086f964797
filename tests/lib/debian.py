# SPDX-License-Identifier: BSD-3-Clause
"""Debian packages that are fetched by apt (which checks their signatures) and never installed.

They come from the machine's own package lists or, where another suite is asked for, from the mirror
that the machine uses, with lists of its own in the checkout's cache.
"""

import os
import re
import subprocess

from ui import Failure

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
CACHE = os.environ.get("UVFIO_CACHE") or os.path.join(ROOT, ".cache")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
NO_NET = "check the network and the machine's apt sources, then run the same command again"


def _mirror():
    """The address of Debian's main archive that this machine uses."""
    out = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(LABEL) $(COMPONENT)",
         "Created-By: Packages"], text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for line in out.stdout.splitlines():
        uri, _, rest = line.partition(" ")
        if rest == "Debian main":
            return uri
    raise Failure("apt knows no Debian mirror", NO_NET)


class _Apt:
    """apt with the machine's lists, or with those of one suite."""

    def __init__(self, suite):
        self.suite = suite
        self.options = []
        if not suite:
            return
        state = os.path.join(CACHE, f"apt-{suite}")
        for folder in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(state, folder), exist_ok=True)
        self.sources = os.path.join(state, "sources.list")
        for key, value in (("Dir::State::lists", f"{state}/lists"), ("Dir::Cache", f"{state}/cache"),
                           ("Dir::Etc::sourcelist", self.sources),
                           ("Dir::Etc::sourceparts", "/dev/null"), ("APT::Sandbox::User", "")):
            self.options += ["-o", f"{key}={value}"]

    def renew(self):
        if not self.suite:
            subprocess.run([os.path.join(ROOT, "tools", "setup"), "--lists"])
            return
        key = f"[signed-by={KEYRING}] " if os.path.exists(KEYRING) else ""
        with open(self.sources, "w") as f:
            f.write(f"deb {key}{_mirror()} {self.suite} main\n")
        subprocess.run(["apt-get", "-qq", *self.options, "update"], stdout=subprocess.DEVNULL)

    def depends(self, package, pattern):
        """The dependency of @package that matches, or None without package lists."""
        out = subprocess.run(["apt-cache", *self.options, "depends", "--important", package],
                             text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        match = re.search(rf"Depends: ({pattern})", out)
        return match.group(1) if match else None

    def download(self, package, folder, ui):
        """apt-get download with its progress; True if the package is there now."""
        read, write = os.pipe()
        child = subprocess.Popen(
            ["apt-get", "-q", *self.options, "-o", f"APT::Status-Fd={write}", "download", package],
            cwd=folder, pass_fds=[write], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.close(write)
        with os.fdopen(read, errors="replace") as status:
            for line in status:
                part = line.split(":", 3)
                if ui and part[0] == "dlstatus" and len(part) > 2:
                    ui.bar("fetch", float(part[2] or 0), package)
        child.communicate()
        return child.returncode == 0


def fetch_package(package, folder, ui=None, suite=None, follow=None):
    """Fetches one package into @folder and returns its path; renews old lists once.

    follow: it is a metapackage, and the dependency that matches is meant
    """
    apt = _Apt(suite)
    for attempt in range(2):
        name = apt.depends(package, follow) if follow else package
        if name and apt.download(name, folder, ui):
            debs = [f for f in os.listdir(folder) if f.endswith(".deb")]
            if debs:
                return os.path.join(folder, debs[0])
        if attempt == 0:
            apt.renew()
    raise Failure(f"apt could not fetch the Debian package {package}"
                  + (f" of {suite}" if suite else ""), NO_NET)


def field(deb, name):
    """A field of a package, as its text."""
    return subprocess.run(["dpkg-deb", "--field", deb, name], text=True, check=True,
                          stdout=subprocess.PIPE).stdout


def unpack(deb, patterns, folder):
    """Unpacks the members of a package that match @patterns, one or a list, each of which some do. All at
    once: each look into a package is seconds of decompression."""
    patterns = [patterns] if isinstance(patterns, str) else patterns
    tar = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
    rc = subprocess.run(["tar", "-x", "-C", folder, "--wildcards", *patterns],
                        stdin=tar.stdout).returncode
    tar.stdout.close()
    tar.wait()
    if rc:
        raise Failure(f"cannot unpack {deb}", "remove .cache and run the same command again")
