/* SPDX-License-Identifier: BSD-3-Clause */
#include "machine/machine.h"
