/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device: the software devices that come with uvfio, as models for pci.
 */
#ifndef UVFIO_DEVICE_H
#define UVFIO_DEVICE_H

#include "pci/pci.h"

extern const struct pcif_model device_dummy;
extern const struct pcif_model device_igb;
extern const struct pcif_model device_ioat;
extern const struct pcif_model device_nvme;
extern const struct pcif_model device_testdev;

/* By name, or NULL. */
const struct pcif_model *device_find(const char *name);
/* All of them, ends with NULL; for --help. */
extern const struct pcif_model *const *const device_models;
/* One more, which stays. Before there are threads. -EEXIST: there is one of its name; -ENOSPC. */
int device_add(const struct pcif_model *model);

#endif
