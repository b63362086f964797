/* SPDX-License-Identifier: BSD-3-Clause */
/* The list of models. */
#include "device/device.h"

const struct pcif_model *const device_models[] = {
	&device_nvme, &device_igb, &device_ioat, &device_testdev, &device_dummy, NULL,
};

const struct pcif_model *device_find(const char *name)
{
	for (unsigned i = 0; device_models[i]; i++)
		if (!strcmp(device_models[i]->name, name))
			return device_models[i];
	return NULL;
}
