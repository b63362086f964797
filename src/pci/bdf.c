/* SPDX-License-Identifier: BSD-3-Clause */
#include "pci/pci.h"
