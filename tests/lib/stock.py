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


def _own_suite():
    with open("/etc/os-release", encoding="utf-8") as f:
        return dict(re.findall(r'^(\w+)="?([^"\n]*)', f.read(), re.M)).get("VERSION_CODENAME", "")


def _fetch_backports(package, folder, suite, all_of_it):
    """Unpacks @package of the backports of @suite below @folder, and what it needs that this machine has
    older or not at all, or (@all_of_it) everything that it needs, the C library included. apt works on
    state of its own, so that nothing of the machine changes."""
    site = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages",
                           f"Codename: {_own_suite()}"], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout.split("\n")[0]
    if not site:
        raise Failure(f"no apt source of '{_own_suite()}' leads to the backports of '{suite}'", NO_NET)
    for name in ("state/lists/partial", "cache/archives/partial"):
        os.makedirs(os.path.join(folder, name))
    status = "/var/lib/dpkg/status"
    if all_of_it:
        status = os.path.join(folder, "status")
        open(status, "w").close()
    with open(os.path.join(folder, "sources.list"), "w", encoding="utf-8") as f:
        for name in (suite, suite + "-backports"):
            f.write(f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {site} {name} main\n")
    apt = ["apt-get", "-q", "-y", "-o", f"Dir::Etc::sourcelist={folder}/sources.list",
           "-o", "Dir::Etc::sourceparts=/dev/null", "-o", f"Dir::State={folder}/state",
           "-o", f"Dir::State::status={status}", "-o", f"Dir::Cache={folder}/cache",
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


def _kept_qemu(place, name, suite, all_of_it):
    """The folder in the cache that a QEMU of other suites is unpacked to, as @place sees it."""
    kept = os.path.join(CACHE, "stock", name)
    if not os.path.exists(kept):
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        with tempfile.TemporaryDirectory(dir=os.path.dirname(kept)) as work:
            os.chmod(work, 0o755)
            _fetch_backports("qemu-system-x86", work, suite, all_of_it)
            shutil.rmtree(os.path.join(work, "usr", "share", "doc"), ignore_errors=True)
            shutil.move(os.path.join(work, "usr"), kept)
    return place.visible(kept)


def _data_of(kept):
    return ["-L", os.path.join(kept, "share", "qemu"), "-L", os.path.join(kept, "share", "seabios")]


def newer_qemu(place, least):
    """The command line of a QEMU that Debian 12 has not, without what it is to do; or of the one that is
    installed, if that will do."""
    if qemu_version("qemu-system-x86_64") >= least:
        return ["qemu-system-x86_64"]
    kept = _kept_qemu(place, "qemu", _own_suite(), False)
    libraries = glob.glob(os.path.join(kept, "lib", "*-linux-gnu"))
    return ["env", "LD_LIBRARY_PATH=" + ":".join(libraries),
            os.path.join(kept, "bin", "qemu-system-x86_64"), *_data_of(kept)]


def vfio_user_qemu(place):
    """The same of one that speaks vfio-user, with all of its libraries."""
    if qemu_version("qemu-system-x86_64") >= 11:
        return ["qemu-system-x86_64"]
    kept = _kept_qemu(place, "qemu-vfio-user", "trixie", True)
    libraries = glob.glob(os.path.join(kept, "lib", "*-linux-gnu"))
    loader = glob.glob(os.path.join(kept, "lib", "*-linux-gnu", "ld-linux-*.so.*"))
    return [*loader, "--library-path", ":".join(libraries + [os.path.join(kept, "lib")]),
            os.path.join(kept, "bin", "qemu-system-x86_64"), *_data_of(kept)]
