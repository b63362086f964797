/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What testdev needs to have virtual functions, and to pass for another device.
 */
#include <errno.h>

#include "device/testdev/testdev.h"

/* VVVV:DDDD:CCCCCC, hexadecimal. */
int testdev_identity(const char *text, struct pcif_desc *desc, struct pcif_reply_error *err)
{
	static const char hex[] = "0123456789abcdefABCDEF";
	unsigned vendor, device, class_code;

	if (!text)
		return 0;
	if (strlen(text) != 16 || strspn(text, hex) != 4 || strspn(text + 5, hex) != 4 ||
	    strspn(text + 10, hex) != 6 ||
	    sscanf(text, "%x:%x:%x", &vendor, &device, &class_code) != 3)
		return pcif_error(err, -EINVAL,
				  "id=%s: give vendor, device and class in hexadecimal, "
				  "like 8086:10c9:020000",
				  text);
	desc->vendor = (uint16_t)vendor;
	desc->device = (uint16_t)device;
	desc->class_code = class_code;
	return 0;
}

/* VFs have all that their PF has, but for what no VF has: I/O and the pin. */
void testdev_describe_vfs(struct pcif_desc *desc, unsigned n, bool own_id)
{
	desc->sriov.total_vfs = (uint16_t)n;
	desc->sriov.vf_device = own_id ? desc->device + 1 : 0x5007;
	memcpy(desc->sriov.bars, desc->bars, sizeof(desc->bars));
	desc->sriov.bars[BAR_IO] = (struct pcif_bar){ .type = PCIF_BAR_NONE };
}

int testdev_create_vf(struct pcif *f, void *pf_state, unsigned index, struct pcif_desc *desc,
		      void **state, struct pcif_reply_error *err)
{
	desc->msi_vectors = testdev_desc.msi_vectors;
	desc->msix_vectors = pcif_desc(pcif_pf(f))->msix_vectors;
	desc->msix_bar = BAR_MIXED;
	desc->msix_table_offset = testdev_desc.msix_table_offset;
	desc->msix_pba_offset = testdev_desc.msix_pba_offset;
	desc->aer = true;
	return testdev_make_blocks(f, desc, state, err);
}
