/* SPDX-License-Identifier: BSD-3-Clause */
/* The list of models: those that come with uvfio, and what a program adds. */
#include <errno.h>

#include "device/device.h"

#define MODELS_MAX 64

static const struct pcif_model *models[MODELS_MAX + 1] = {
	&device_nvme, &device_igb, &device_ioat, &device_testdev, &device_dummy, NULL,
};
const struct pcif_model *const *const device_models = models;

int device_add(const struct pcif_model *model)
{
	unsigned n = 0;

	if (device_find(model->name))
		return -EEXIST;
	while (models[n])
		n++;
	if (n == MODELS_MAX)
		return -ENOSPC;
	models[n] = model;
	return 0;
}

const struct pcif_model *device_find(const char *name)
{
	for (unsigned i = 0; device_models[i]; i++)
		if (!strcmp(device_models[i]->name, name))
			return device_models[i];
	return NULL;
}
