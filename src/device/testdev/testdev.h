/* SPDX-License-Identifier: BSD-3-Clause */
/* Between the files of testdev. */
#ifndef UVFIO_DEVICE_TESTDEV_H
#define UVFIO_DEVICE_TESTDEV_H

#include "device/device.h"

enum { BAR_REGS, BAR_MAPPED, BAR_RAM, BAR_MIXED = 4, BAR_IO };

extern const struct pcif_desc testdev_desc;

/* The blocks of one function, PF or VF, whose BARs are described in @desc. 0 or -ENOMEM. */
int testdev_make_blocks(struct pcif *f, struct pcif_desc *desc, void **state,
			struct pcif_reply_error *err);

/* vf.c */
/* @text: VVVV:DDDD:CCCCCC, hexadecimal; NULL changes nothing. 0 or -EINVAL. */
int testdev_identity(const char *text, struct pcif_desc *desc, struct pcif_reply_error *err);
void testdev_describe_vfs(struct pcif_desc *desc, unsigned n, bool own_id);
int testdev_create_vf(struct pcif *f, void *pf_state, unsigned index, struct pcif_desc *desc,
		      void **state, struct pcif_reply_error *err);

#endif
