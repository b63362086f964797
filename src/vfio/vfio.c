/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio/vfio.h"
