/* SPDX-License-Identifier: BSD-3-Clause */
#include "door/door.h"
