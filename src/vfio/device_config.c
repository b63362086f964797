/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configuration space as a client sees it: partly the hardware's, partly kept here, partly not
 * writable. Three masks over its bytes, made at open from the tables of config_table.c, say which
 * bit is which; the few registers with effects of their own have a hook each.
 * Source: drivers/vfio/pci/vfio_pci_config.c.
 */
#include <linux/pci_regs.h>

#include "vfio/priv.h"

/* vconfig.cap: what a byte belongs to. Capabilities count from CAP_FIRST. */
enum { CAP_HEADER, CAP_FIRST, CAP_RAW = 255 };

#define EXT_NEXT_MASK 0xffc00000u

static void bytes_put(uint8_t *p, unsigned size, uint32_t value)
{
	for (unsigned i = 0; i < size; i++)
		p[i] = value >> (8 * i);
}

static uint32_t bytes_get(const uint8_t *p, unsigned size)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint32_t)p[i] << (8 * i);
	return value;
}

/* ------------------------------------------------------------------ building */

static void vconfig_set_field(struct vconfig *c, unsigned base, const struct config_field *field)
{
	bytes_put(c->virt + base + field->offset, field->size, field->virt);
	bytes_put(c->write + base + field->offset, field->size, field->write);
}

static void vconfig_add_bars(struct vdev *d)
{
	const struct pcif_desc *desc = pcif_desc(d->f);
	struct vconfig *c = &d->cfg;

	/*
	 * All of a BAR is virtual; the bits that say its size and type do not change, which is what
	 * a client sees that writes ones to find the size.
	 */
	for (unsigned i = 0; i < PCIF_NUM_BARS; i++) {
		const struct pcif_bar *b = &desc->bars[i];
		unsigned at = PCI_BASE_ADDRESS_0 + 4 * i;
		uint64_t mask = ~(b->size - 1);

		if (b->type == PCIF_BAR_NONE) {
			/* The upper half of the BAR before it, or nothing. */
			if (i && b[-1].type == PCIF_BAR_MEM64)
				continue;
			bytes_put(c->value + at, 4, 0);
			continue;
		}
		mask &= b->type == PCIF_BAR_IO ? ~3ull : ~15ull;
		bytes_put(c->write + at, 4, mask);
		if (b->type == PCIF_BAR_MEM64 && i + 1 < PCIF_NUM_BARS)
			bytes_put(c->write + at + 4, 4, mask >> 32);
	}
	bytes_put(c->value + PCI_ROM_ADDRESS, 4, 0);
	c->value[PCI_INTERRUPT_PIN] = desc->intx_pin;
}

/*
 * What a VF's own registers do not say: ids, and that it decodes memory; and the types of its BARs,
 * which are its PF's. Source: vfio_config_init(), vfio_bar_fixup().
 */
static void vconfig_add_vf(struct vdev *d)
{
	const struct pcif_desc *desc = pcif_desc(d->f);
	struct vconfig *c = &d->cfg;

	bytes_put(c->value + PCI_VENDOR_ID, 2, desc->vendor);
	bytes_put(c->value + PCI_DEVICE_ID, 2, desc->device);
	c->virt[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
	c->value[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
	for (unsigned i = 0; i < PCIF_NUM_BARS; i++) {
		uint8_t *low = c->value + PCI_BASE_ADDRESS_0 + 4 * i;

		if (desc->bars[i].type == PCIF_BAR_MEM64)
			*low |= PCI_BASE_ADDRESS_MEM_TYPE_64;
		if (desc->bars[i].prefetchable)
			*low |= PCI_BASE_ADDRESS_MEM_PREFETCH;
	}
}

/* Address and data of the wide form, and the mask register. */
static void vconfig_add_msi(struct vdev *d, unsigned at)
{
	struct vconfig *c = &d->cfg;
	uint16_t flags = pcif_config_read(d->f, at + PCI_MSI_FLAGS, 2);
	struct config_field data = { PCI_MSI_DATA_32, 2, 0xffff, 0xffff };
	struct config_field high = { PCI_MSI_ADDRESS_HI, 4, 0xffffffff, 0xffffffff };
	struct config_field masks = { PCI_MSI_MASK_32, 4, 0, 0xffffffff };
	struct config_field pending = { PCI_MSI_PENDING_32, 4, 0, 0xffffffff };

	c->msi = at;
	if (flags & PCI_MSI_FLAGS_64BIT) {
		data.offset = PCI_MSI_DATA_64;
		masks.offset = PCI_MSI_MASK_64;
		pending.offset = PCI_MSI_PENDING_64;
		vconfig_set_field(c, at, &high);
	}
	vconfig_set_field(c, at, &data);
	if (flags & PCI_MSI_FLAGS_MASKBIT) {
		vconfig_set_field(c, at, &masks);
		vconfig_set_field(c, at, &pending);
	}
	/* Off, and of one vector, until SET_IRQS says otherwise. */
	c->value[at + PCI_MSI_FLAGS] &=
		~(PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QMASK | PCI_MSI_FLAGS_QSIZE);
}

/* Lays @cap over the bytes at @at. False: it does not fit and is to be hidden. */
static bool vconfig_add_cap(struct vdev *d, const struct config_cap *cap, unsigned at, unsigned end,
			    uint8_t owner)
{
	struct vconfig *c = &d->cfg;
	unsigned length = cap->get_length ? cap->get_length(d->f, at) : cap->length;

	if (length < 2 || length > end - at)
		return false;
	for (unsigned i = 0; i < length; i++)
		if (c->cap[at + i] != CAP_RAW)
			return false;
	memset(c->cap + at, owner, length);
	memset(c->virt + at, 0, length);
	memset(c->write + at, cap->raw ? 0xff : 0, length);
	if (cap->raw)
		c->write[at] = 0;
	for (const struct config_field *f = cap->fields; f->size; f++)
		if (f->offset + f->size <= length)
			vconfig_set_field(c, at, f);
	return true;
}

static void vconfig_note_cap(struct vdev *d, uint8_t id, unsigned at)
{
	struct vconfig *c = &d->cfg;

	switch (id) {
	case PCI_CAP_ID_PM:
		c->pm = at;
		c->value[at + PCI_PM_PMC + 1] &= ~(PCI_PM_CAP_PME_MASK >> 8);
		c->value[at + PCI_PM_CTRL + 1] &=
			~((PCI_PM_CTRL_PME_ENABLE | PCI_PM_CTRL_PME_STATUS) >> 8);
		break;
	case PCI_CAP_ID_MSI:
		vconfig_add_msi(d, at);
		break;
	case PCI_CAP_ID_MSIX:
		c->msix = at;
		break;
	case PCI_CAP_ID_EXP:
		c->exp = at;
		break;
	case PCI_CAP_ID_VPD:
		c->vpd = at;
		break;
	case PCI_CAP_ID_AF:
		c->af = at;
		break;
	}
}

/* Source: vfio_cap_init(). */
static uint8_t vconfig_add_caps(struct vdev *d)
{
	struct vconfig *c = &d->cfg;
	uint8_t owner = CAP_FIRST;
	unsigned link = PCI_CAPABILITY_LIST, at, guard = 48;
	bool any = false;

	at = pcif_config_read(d->f, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST
		     ? c->value[PCI_CAPABILITY_LIST] & ~3u
		     : 0;
	while (at >= PCI_STD_HEADER_SIZEOF && at < PCI_CFG_SPACE_SIZE && guard--) {
		uint8_t id = pcif_config_read(d->f, at, 1);
		unsigned next = pcif_config_read(d->f, at + PCI_CAP_LIST_NEXT, 1) & ~3u;
		const struct config_cap *cap = config_find_cap(id);

		if (cap && vconfig_add_cap(d, cap, at, PCI_CFG_SPACE_SIZE, owner)) {
			vconfig_note_cap(d, id, at);
			c->value[link] = at;
			link = at + PCI_CAP_LIST_NEXT;
			owner++;
			any = true;
		}
		at = next;
	}
	c->value[link] = 0;
	if (!any)
		c->value[PCI_STATUS] &= ~PCI_STATUS_CAP_LIST;
	return owner;
}

static void ext_link(struct vconfig *c, unsigned link, unsigned to)
{
	uint32_t head = bytes_get(c->value + link, 4);

	bytes_put(c->value + link, 4, (head & ~EXT_NEXT_MASK) | to << 20);
}

/* Source: vfio_ecap_init(). */
static void vconfig_add_ext_caps(struct vdev *d, uint8_t owner)
{
	struct vconfig *c = &d->cfg;
	unsigned at = PCI_CFG_SPACE_SIZE, link = 0, guard = 480;

	while (at >= PCI_CFG_SPACE_SIZE && at <= c->size - 4 && guard-- && owner < CAP_RAW) {
		uint32_t head = pcif_config_read(d->f, at, 4);
		const struct config_cap *cap = config_find_ext_cap(head & 0xffff);
		static const struct config_field placeholder = { 0, 4, 0xffffffff, 0 };

		if (!head || head == 0xffffffff)
			break;
		if (cap && vconfig_add_cap(d, cap, at, c->size, owner)) {
			if (link)
				ext_link(c, link, at);
			link = at;
			owner++;
		} else if (!link) {
			/* The list must start here: keep the pointer, hide the capability. */
			vconfig_set_field(c, at, &placeholder);
			memset(c->cap + at, owner++, 4);
			bytes_put(c->value + at, 4, head & EXT_NEXT_MASK);
			link = at;
		}
		at = head >> 20 & 0xffc;
	}
	if (link)
		ext_link(c, link, 0);
}

int vconfig_init(struct vdev *d)
{
	struct vconfig *c = &d->cfg;
	uint8_t owner;

	c->size = pcif_config_size(d->f);
	c->value = calloc(4, c->size);
	if (!c->value)
		return -ENOMEM;
	c->virt = c->value + c->size;
	c->write = c->virt + c->size;
	c->cap = c->write + c->size;
	memset(c->write, 0xff, c->size);
	memset(c->write, 0, PCI_STD_HEADER_SIZEOF);
	memset(c->cap, CAP_RAW, c->size);
	memset(c->cap, CAP_HEADER, PCI_STD_HEADER_SIZEOF);
	for (unsigned at = 0; at < c->size; at += 4)
		bytes_put(c->value + at, 4, pcif_config_read(d->f, at, 4));
	c->value[PCI_COMMAND + 1] &= ~(PCI_COMMAND_INTX_DISABLE >> 8);
	for (const struct config_field *f = config_header; f->size; f++)
		vconfig_set_field(c, 0, f);
	vconfig_add_bars(d);
	if (pcif_is_vf(d->f))
		vconfig_add_vf(d);
	owner = vconfig_add_caps(d);
	if (c->size > PCI_CFG_SPACE_SIZE)
		vconfig_add_ext_caps(d, owner);
	return 0;
}

void vconfig_fini(struct vconfig *c)
{
	free(c->value);
	memset(c, 0, sizeof(*c));
}

void vconfig_set_msi_capable(struct vdev *d, unsigned log2_vectors)
{
	struct vconfig *c = &d->cfg;

	if (!c->msi)
		return;
	c->value[c->msi + PCI_MSI_FLAGS] &= ~PCI_MSI_FLAGS_QMASK;
	c->value[c->msi + PCI_MSI_FLAGS] |= log2_vectors << 1 & PCI_MSI_FLAGS_QMASK;
}

/* ------------------------------------------------------------------ registers with effects */

/* Source: vfio_pm_config_write(). */
static void write_pm(struct vdev *d, uint8_t low)
{
	vdev_set_power(d, low & PCI_PM_CTRL_STATE_MASK);
}

/* Source: vfio_msi_config_write(). */
static void write_msi(struct vdev *d)
{
	const uint8_t bits = PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE;
	uint8_t *virt = &d->cfg.value[d->cfg.msi + PCI_MSI_FLAGS];
	unsigned max = (*virt & PCI_MSI_FLAGS_QMASK) >> 1;
	unsigned at = d->cfg.msi + PCI_MSI_FLAGS;
	uint8_t hw;

	if (d->irq_type != VFIO_PCI_MSI_IRQ_INDEX)
		*virt &= ~PCI_MSI_FLAGS_ENABLE;
	if ((*virt & PCI_MSI_FLAGS_QSIZE) >> 4 > max)
		*virt = (*virt & ~PCI_MSI_FLAGS_QSIZE) | max << 4;
	hw = pcif_config_read(d->f, at, 1);
	pcif_config_write(d->f, at, 1, (hw & ~bits) | (*virt & bits));
}

/* Source: vfio_exp_config_write(). @readrq: the virtual value before. */
static void write_exp(struct vdev *d, unsigned readrq)
{
	uint8_t *virt = d->cfg.value + d->cfg.exp + PCI_EXP_DEVCTL;
	unsigned at = d->cfg.exp, now, mps;
	uint16_t hw;

	if (virt[1] & PCI_EXP_DEVCTL_BCR_FLR >> 8) {
		virt[1] &= ~(PCI_EXP_DEVCTL_BCR_FLR >> 8);
		if (pcif_config_read(d->f, at + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR)
			vdev_reset(d);
	}
	now = (bytes_get(virt, 2) & PCI_EXP_DEVCTL_READRQ) >> 12;
	if (now == readrq || now > 5)
		return;
	/* Both fields count in powers of two from 128: compare them as they are. */
	hw = pcif_config_read(d->f, at + PCI_EXP_DEVCTL, 2);
	mps = (hw & PCI_EXP_DEVCTL_PAYLOAD) >> 5;
	now = MAX(now, mps);
	pcif_config_write(d->f, at + PCI_EXP_DEVCTL, 2, (hw & ~PCI_EXP_DEVCTL_READRQ) | now << 12);
}

/* Source: vfio_af_config_write(). */
static void write_af(struct vdev *d)
{
	const uint8_t need = PCI_AF_CAP_FLR | PCI_AF_CAP_TP;
	uint8_t *ctrl = &d->cfg.value[d->cfg.af + PCI_AF_CTRL];

	if (!(*ctrl & PCI_AF_CTRL_FLR))
		return;
	*ctrl &= ~PCI_AF_CTRL_FLR;
	if ((pcif_config_read(d->f, d->cfg.af + PCI_AF_CAP, 1) & need) == need)
		vdev_reset(d);
}

/*
 * The transfer is made on the client's behalf; the flag, turned over, tells it that it is done, and
 * stays if the device does not answer. Source: vfio_vpd_config_write().
 */
static void write_vpd(struct vdev *d)
{
	unsigned at = d->cfg.vpd;
	uint8_t *v = d->cfg.value + at;
	uint16_t addr = bytes_get(v + PCI_VPD_ADDR, 2);
	bool store = addr & PCI_VPD_ADDR_F;

	if (store)
		pcif_config_write(d->f, at + PCI_VPD_DATA, 4, bytes_get(v + PCI_VPD_DATA, 4));
	pcif_config_write(d->f, at + PCI_VPD_ADDR, 2, addr);
	for (unsigned tries = 0; tries < 16; tries++) {
		uint16_t now = pcif_config_read(d->f, at + PCI_VPD_ADDR, 2);

		if (!!(now & PCI_VPD_ADDR_F) == store)
			continue;
		if (!store)
			bytes_put(v + PCI_VPD_DATA, 4,
				  pcif_config_read(d->f, at + PCI_VPD_DATA, 4));
		bytes_put(v + PCI_VPD_ADDR, 2, addr ^ PCI_VPD_ADDR_F);
		return;
	}
}

/* ------------------------------------------------------------------ access */

/* The largest naturally aligned piece that belongs to one capability. */
static unsigned piece_size(const struct vconfig *c, unsigned at, size_t left)
{
	unsigned n;

	for (n = 4; n > 1; n /= 2)
		if (n <= left && !(at % n) && c->cap[at] == c->cap[at + n - 1])
			break;
	return n;
}

static uint32_t piece_read(struct vdev *d, unsigned at, unsigned n)
{
	const struct vconfig *c = &d->cfg;
	uint32_t virt = bytes_get(c->virt + at, n), all = n == 4 ? ~0u : BIT(8 * n) - 1;
	uint32_t value = bytes_get(c->value + at, n) & virt;

	if (virt != all)
		value |= pcif_config_read(d->f, at, n) & ~virt;
	return value;
}

/* Writes the bits of @mask to hardware, touching no more bytes than these lie in. */
static void hw_write(struct vdev *d, unsigned at, unsigned n, uint32_t mask, uint32_t value)
{
	uint32_t old;

	if (!mask)
		return;
	/* A status register next door may be cleared by writing back what it reads. */
	if (n == 4 && !(mask >> 16)) {
		n = 2;
	} else if (n == 4 && !(mask & 0xffff)) {
		n = 2;
		at += 2;
		mask >>= 16;
		value >>= 16;
	}
	old = pcif_config_read(d->f, at, n);
	pcif_config_write(d->f, at, n, (old & ~mask) | (value & mask));
}

static void piece_write(struct vdev *d, unsigned at, unsigned n, uint32_t value)
{
	struct vconfig *c = &d->cfg;
	uint32_t virt = bytes_get(c->virt + at, n), write = bytes_get(c->write + at, n);
	uint32_t old = bytes_get(c->value + at, n), mask = write & virt;
	unsigned readrq = 0;

#define TOUCHES(reg) (at <= (reg) && (reg) < at + n)
	if (c->exp)
		readrq = (bytes_get(c->value + c->exp + PCI_EXP_DEVCTL, 2) &
			  PCI_EXP_DEVCTL_READRQ) >>
			 12;
	bytes_put(c->value + at, n, (old & ~mask) | (value & mask));
	hw_write(d, at, n, write & ~virt, value);
	if (TOUCHES(PCI_COMMAND) || TOUCHES(PCI_COMMAND + 1))
		irq_set_virtual_intx(d, c->value[PCI_COMMAND + 1] & PCI_COMMAND_INTX_DISABLE >> 8);
	if (c->pm && TOUCHES(c->pm + PCI_PM_CTRL))
		write_pm(d, value >> 8 * (c->pm + PCI_PM_CTRL - at));
	if (c->msi && TOUCHES(c->msi + PCI_MSI_FLAGS))
		write_msi(d);
	if (c->exp && (TOUCHES(c->exp + PCI_EXP_DEVCTL) || TOUCHES(c->exp + PCI_EXP_DEVCTL + 1)))
		write_exp(d, readrq);
	if (c->af && TOUCHES(c->af + PCI_AF_CTRL))
		write_af(d);
	if (c->vpd && TOUCHES(c->vpd + PCI_VPD_ADDR + 1))
		write_vpd(d);
#undef TOUCHES
}

/* Source: vfio_pci_config_rw(): nothing is moved unless all of it lies inside. */
static bool vconfig_inside(const struct vconfig *c, size_t size, uint64_t offset)
{
	return offset < c->size && size <= c->size - offset;
}

int vconfig_read(struct vdev *d, uint8_t *buf, size_t size, uint64_t offset)
{
	if (!vconfig_inside(&d->cfg, size, offset))
		return -EFAULT;
	while (size) {
		unsigned n = piece_size(&d->cfg, offset, size);

		bytes_put(buf, n, piece_read(d, offset, n));
		buf += n;
		offset += n;
		size -= n;
	}
	return 0;
}

int vconfig_write(struct vdev *d, const uint8_t *buf, size_t size, uint64_t offset)
{
	if (!vconfig_inside(&d->cfg, size, offset))
		return -EFAULT;
	while (size) {
		unsigned n = piece_size(&d->cfg, offset, size);

		piece_write(d, offset, n, bytes_get(buf, n));
		buf += n;
		offset += n;
		size -= n;
	}
	return 0;
}
