# SPDX-License-Identifier: BSD-3-Clause
"""Scripts of Debian packages that the tests run unmodified, and nobody needs to have installed."""

import glob
import os
import re
import shutil
import subprocess
import tempfile

from debian import CACHE, NO_NET, fetch_package, unpack
from ui import Failure


def stock_script(package, path):
    """Where @path of @package is: installed, or fetched by apt and unpacked below the cache."""
    if os.path.exists(path):
        return path
    folder = os.path.join(CACHE, "stock")
    os.makedirs(folder, exist_ok=True)
    kept = os.path.join(folder, os.path.basename(path))
    if not os.path.exists(kept):
        with tempfile.TemporaryDirectory(dir=folder) as work:
            unpack(fetch_package(package, work), "." + path, work)
            shutil.move(work + path, kept)
    return kept


def qemu_version(program):
    out = subprocess.run([program, "--version"], text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL) if shutil.which(program) else None
    match = re.search(r"version (\d+)", out.stdout) if out else None
    return int(match.group(1)) if match else 0


def _fetch_backports(package, folder):
    """Unpacks @package of Debian's backports, and what of it this machine has older or not at all, below
    @folder. apt works on state of its own, so that nothing of the machine changes."""
    with open("/etc/os-release", encoding="utf-8") as f:
        suite = dict(re.findall(r'^(\w+)="?([^"\n]*)', f.read(), re.M)).get("VERSION_CODENAME", "")
    site = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages",
                           f"Codename: {suite}"], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout.split("\n")[0]
    if not site:
        raise Failure(f"no apt source of '{suite}' leads to its backports", NO_NET)
    for name in ("state/lists/partial", "cache/archives/partial"):
        os.makedirs(os.path.join(folder, name))
    with open(os.path.join(folder, "sources.list"), "w", encoding="utf-8") as f:
        for name in (suite, suite + "-backports"):
            f.write(f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {site} {name} main\n")
    apt = ["apt-get", "-q", "-y", "-o", f"Dir::Etc::sourcelist={folder}/sources.list",
           "-o", "Dir::Etc::sourceparts=/dev/null", "-o", f"Dir::State={folder}/state",
           "-o", "Dir::State::status=/var/lib/dpkg/status", "-o", f"Dir::Cache={folder}/cache",
           "-o", "Acquire::Languages=none", "-o", "Debug::NoLocking=true"]
    if os.geteuid() == 0:
        apt += ["-o", "APT::Sandbox::User=root"]
    for words in (["update"], ["install", "--no-install-recommends", "--download-only",
                               "-t", suite + "-backports", package]):
        out = subprocess.run(apt + words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if out.returncode:
            raise Failure(f"apt could not fetch {package} of {suite}-backports:\n{out.stdout[-500:]}",
                          NO_NET)
    for deb in glob.glob(os.path.join(folder, "cache", "archives", "*.deb")):
        unpack(deb, "./usr/*", folder)


def newer_qemu(place, least):
    """The command line of a QEMU that Debian 12 has not, without what it is to do; or of the one that is
    installed, if that will do."""
    if qemu_version("qemu-system-x86_64") >= least:
        return ["qemu-system-x86_64"]
    kept = os.path.join(CACHE, "stock", "qemu")
    if not os.path.exists(kept):
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        with tempfile.TemporaryDirectory(dir=os.path.dirname(kept)) as work:
            os.chmod(work, 0o755)
            _fetch_backports("qemu-system-x86", work)
            shutil.rmtree(os.path.join(work, "usr", "share", "doc"), ignore_errors=True)
            shutil.move(os.path.join(work, "usr"), kept)
    kept = place.visible(kept)
    libraries = glob.glob(os.path.join(kept, "lib", "*-linux-gnu"))
    return ["env", "LD_LIBRARY_PATH=" + ":".join(libraries),
            os.path.join(kept, "bin", "qemu-system-x86_64"), "-L", os.path.join(kept, "share", "qemu"),
            "-L", os.path.join(kept, "share", "seabios")]
