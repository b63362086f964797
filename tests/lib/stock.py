# SPDX-License-Identifier: BSD-3-Clause
"""Scripts of Debian packages that the tests run unmodified, and nobody needs to have installed."""

import os
import shutil
import tempfile

from kernel import CACHE, fetch_package, unpack


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
