/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/iommu.h"
