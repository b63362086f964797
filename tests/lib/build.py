# SPDX-License-Identifier: BSD-3-Clause
"""tools/build for scripts."""

import os
import subprocess

from ui import Failure

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))


def build(folder, *options, only="all"):
    """Builds a folder, which gets meson's options if it is new; @only: a target of it."""
    argv = [os.path.join(ROOT, "tools", "build"), "--only", only, folder, *options]
    if subprocess.run(argv, cwd=ROOT).returncode:
        raise Failure(f"the build in {os.path.relpath(folder, ROOT)} failed, see above",
                      "report it with the output above")
