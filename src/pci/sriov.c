/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Virtual functions: the SR-IOV capability of a physical function, and the VFs that come and go
 * with it.
 *
 * Two things are kept apart, as a host does. *The register* says whether the hardware has VFs: VF
 * Enable and VF MSE decide whether a VF answers at all, whoever wrote them, and a reset of the PF
 * clears them and so resets the VFs. *The tree* has the VFs that pcim_sriov_enable() made; only
 * these can be found, bound and used. So a client that sets VF Enable by hand has VFs that nobody
 * enumerated, and one that clears it leaves VFs in the tree that read as ones.
 *
 * A VF keeps its PF, so that its model finds the PF's until the end.
 *
 * Single Root I/O Virtualization and Sharing 1.1, chapters 2 and 3 (PCI Express Base 4.0, 9.2 and
 * 9.3). Source of the order of things: drivers/pci/iov.c.
 */
#include <errno.h>

#include "priv.h"

#define VF_CONTROL (PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE)
#define MAX_VFS 256u
/* 4 and 8 KiB, 64 and 256 KiB, 1 and 4 MiB: those that the specification asks for. */
#define PAGE_SIZES 0x553u

/* ------------------------------------------------------------------ description */

int sriov_check(const struct pcif_desc *d, struct pcif_reply_error *err)
{
	const struct pcif_sriov *s = &d->sriov;

	if (!s->total_vfs)
		return 0;
	if (s->total_vfs > MAX_VFS || !d->pcie)
		return pcif_error(err, -EINVAL, "SR-IOV: up to %u VFs, with PCI Express", MAX_VFS);
	for (unsigned i = 0; i < PCIF_NUM_BARS; i++)
		if (s->bars[i].type == PCIF_BAR_IO)
			return pcif_error(err, -EINVAL, "SR-IOV: VF BAR %u is no memory", i);
	return bar_check(s->bars, err);
}

int sriov_check_vf(const struct pcif *f, struct pcif_reply_error *err)
{
	const struct pcif_desc *d = &f->desc, *pf = &f->pf->desc;

	if (d->intx_pin || !d->pcie || d->sriov.total_vfs || d->vendor != pf->vendor ||
	    d->device != pf->sriov.vf_device)
		return pcif_error(err, -EINVAL, "%s: not what a VF may be", f->name);
	for (unsigned i = 0; i < PCIF_NUM_BARS; i++) {
		const struct pcif_bar *a = &d->bars[i], *b = &pf->sriov.bars[i];

		if (a->type != b->type || a->size != b->size || a->prefetchable != b->prefetchable)
			return pcif_error(err, -EINVAL, "%s: BAR %u is not as its PF says", f->name,
					  i);
	}
	return 0;
}

void sriov_describe_vf(const struct pcif *f, struct pcif_desc *desc)
{
	const struct pcif_desc *pf = &f->pf->desc;

	*desc = (struct pcif_desc){
		.vendor = pf->vendor,
		.device = pf->sriov.vf_device,
		.subsystem_vendor = pf->subsystem_vendor,
		.subsystem_device = pf->subsystem_device,
		.class_code = pf->class_code,
		.revision = pf->revision,
		.pcie = true,
	};
	memcpy(desc->bars, pf->sriov.bars, sizeof(desc->bars));
}

int sriov_new(struct pcif *f)
{
	struct sriov *s;

	if (!f->desc.sriov.total_vfs)
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->vfs = calloc(f->desc.sriov.total_vfs, sizeof(struct pcif *));
	if (!s->vfs) {
		free(s);
		return -ENOMEM;
	}
	s->first_offset = f->desc.sriov.first_offset;
	s->stride = f->desc.sriov.stride ? f->desc.sriov.stride : 1;
	pthread_mutex_init(&s->lock, NULL);
	f->sriov = s;
	return 0;
}

/* NULL members are fine. No VF is left: each of them has a reference on @f. */
void sriov_free(struct pcif *f)
{
	struct sriov *s = f->sriov;

	if (!s)
		return;
	config_rules_put(s->vf_rules);
	pthread_mutex_destroy(&s->lock);
	free(s->vfs);
	free(s);
	f->sriov = NULL;
}

/* ------------------------------------------------------------------ addresses */

static unsigned requester_id(struct pci_bdf bdf)
{
	return (unsigned)bdf.bus << 8 | bdf.dev << 3 | bdf.fn;
}

static unsigned vf_id(const struct pcif *pf, unsigned index)
{
	return requester_id(pf->bdf) + pf->sriov->first_offset + index * pf->sriov->stride;
}

struct pci_bdf pcif_vf_bdf(const struct pcif *pf, unsigned index)
{
	unsigned id = vf_id(pf, index);

	return (struct pci_bdf){ pf->bdf.domain, (uint8_t)(id >> 8), id >> 3 & 0x1f, id & 7 };
}

/*
 * Where the model did not say, VFs follow the last function of the bus, those of one PF after those
 * of another: @next is the id that is free next.
 */
static unsigned first_offset(const struct pcif *f, unsigned *next)
{
	unsigned first = f->sriov->first_offset;

	if (first)
		return first;
	first = *next - requester_id(f->bdf);
	*next += f->desc.sriov.total_vfs * f->sriov->stride;
	return first;
}

unsigned sriov_last_bus(struct pcif *const *list, unsigned n)
{
	unsigned next = requester_id(list[n - 1]->bdf) + 1, last_bus = list[0]->bdf.bus;

	for (unsigned i = 0; i < n; i++) {
		const struct pcif *f = list[i];
		unsigned last;

		if (!f->sriov)
			continue;
		last = requester_id(f->bdf) + first_offset(f, &next) +
		       (f->desc.sriov.total_vfs - 1u) * f->sriov->stride;
		last_bus = MAX(last_bus, MIN(last >> 8, 0xffu));
	}
	return last_bus;
}

/* The first PF of the bus decides on ARI for all. */
void sriov_place(struct pcif *const *list, unsigned n)
{
	unsigned next = requester_id(list[n - 1]->bdf) + 1;
	bool first = true;

	for (unsigned i = 0; i < n; i++) {
		struct pcif *f = list[i];
		struct sriov *s = f->sriov;
		struct config_space *c = &f->config;

		if (!s)
			continue;
		s->first_offset = (uint16_t)first_offset(f, &next);
		config_preset(c, CAP_SRIOV + PCI_SRIOV_VF_OFFSET, 2, s->first_offset);
		if (first) {
			s->control = PCI_SRIOV_CTRL_ARI;
			c->rules->wmask[CAP_SRIOV + PCI_SRIOV_CTRL] |= PCI_SRIOV_CTRL_ARI;
			config_poke(c, CAP_SRIOV + PCI_SRIOV_CTRL, 2, s->control);
		}
		first = false;
	}
}

void sriov_set_bar(struct pcif *f, unsigned bar, uint64_t address)
{
	unsigned at = CAP_SRIOV + PCI_SRIOV_BAR + 4 * bar;
	uint32_t type = config_peek(&f->config, at, 4);

	f->sriov->bar_address[bar] = address;
	config_poke(&f->config, at, 4, (uint32_t)address | type);
	if (f->desc.sriov.bars[bar].type == PCIF_BAR_MEM64)
		config_poke(&f->config, at + 4, 4, (uint32_t)(address >> 32));
}

uint64_t pcif_vf_bar_address(const struct pcif *pf, unsigned bar)
{
	return pf->sriov && bar < PCIF_NUM_BARS ? pf->sriov->bar_address[bar] : 0;
}

/* ------------------------------------------------------------------ registers */

/* A BAR cannot be told apart by less than a page of the system. */
static void trim_bars(struct pcif *f)
{
	struct config_space *c = &f->config;
	uint32_t pages = config_peek(c, CAP_SRIOV + PCI_SRIOV_SYS_PGSIZE, 4);
	uint64_t page = (uint64_t)UVF_PAGE_SIZE << __builtin_ctz(pages);

	for (unsigned i = 0; i < PCIF_NUM_BARS; i++) {
		const struct pcif_bar *b = &f->desc.sriov.bars[i];
		unsigned at = CAP_SRIOV + PCI_SRIOV_BAR + 4 * i;
		uint64_t mask = ~(MAX(b->size, page) - 1);

		if (b->type == PCIF_BAR_NONE)
			continue;
		config_poke(c, at, 4, config_peek(c, at, 4) & ((uint32_t)mask | 0xf));
		if (b->type == PCIF_BAR_MEM64)
			config_poke(c, at + 4, 4,
				    config_peek(c, at + 4, 4) & (uint32_t)(mask >> 32));
	}
}

static bool is_page_size(uint32_t v)
{
	return v && !(v & (v - 1)) && (v & PAGE_SIZES);
}

bool sriov_written(struct pcif *f, const uint8_t *before)
{
	uint8_t *cap = f->config.value + CAP_SRIOV;
	bool enabled = before[PCI_SRIOV_CTRL] & PCI_SRIOV_CTRL_VFE;
	uint32_t num = config_peek(&f->config, CAP_SRIOV + PCI_SRIOV_NUM_VF, 2);
	uint32_t pages = config_peek(&f->config, CAP_SRIOV + PCI_SRIOV_SYS_PGSIZE, 4);

	if (enabled || num > f->desc.sriov.total_vfs)
		memcpy(cap + PCI_SRIOV_NUM_VF, before + PCI_SRIOV_NUM_VF, 2);
	if (enabled || !is_page_size(pages))
		memcpy(cap + PCI_SRIOV_SYS_PGSIZE, before + PCI_SRIOV_SYS_PGSIZE, 4);
	trim_bars(f);
	return (cap[PCI_SRIOV_CTRL] ^ before[PCI_SRIOV_CTRL]) & VF_CONTROL;
}

static bool was_on(struct pcif *vf)
{
	bool on;

	pthread_mutex_lock(&vf->cfg);
	on = !vf->vf_off;
	pthread_mutex_unlock(&vf->cfg);
	return on;
}

void sriov_vf_set(struct pcif *vf, bool on, bool mem)
{
	bool gone = !on && was_on(vf);

	if (gone)
		irq_hold(vf, true);
	pthread_mutex_lock(&vf->ctl);
	pthread_mutex_lock(&vf->cfg);
	vf->vf_off = !on;
	vf->vf_mem_off = !mem;
	config_update_gate(vf);
	pthread_mutex_unlock(&vf->cfg);
	if (gone) /* it comes back as new */
		reset_locked(vf);
	else
		reset_apply_gate(vf);
	pthread_mutex_unlock(&vf->ctl);
	if (!gone)
		return;
	irq_hold(vf, false);
	reset_notify(vf);
}

/* The VFs of @pf, in the tree or unplugged, with references. */
static unsigned vf_list(struct pcif *pf, struct pcif *vfs[MAX_VFS])
{
	unsigned n = 0;

	pthread_rwlock_rdlock(&pf->m->lock);
	for (unsigned i = 0; i < pf->desc.sriov.total_vfs; i++)
		if (pf->sriov->vfs[i])
			vfs[n++] = pcif_get(pf->sriov->vfs[i]);
	pthread_rwlock_unlock(&pf->m->lock);
	return n;
}

void sriov_sync(struct pcif *f)
{
	struct pcif *vfs[MAX_VFS];
	unsigned n = vf_list(f, vfs);
	uint32_t control;

	pthread_mutex_lock(&f->cfg);
	control = config_peek(&f->config, CAP_SRIOV + PCI_SRIOV_CTRL, 2);
	pthread_mutex_unlock(&f->cfg);
	for (unsigned i = 0; i < n; i++) {
		sriov_vf_set(vfs[i], control & PCI_SRIOV_CTRL_VFE, control & PCI_SRIOV_CTRL_MSE);
		pcif_put(vfs[i]);
	}
}

static void write_register(struct pcif *f, unsigned reg, unsigned size, uint32_t value)
{
	pcif_config_write(f, CAP_SRIOV + reg, size, value);
}

/* With sriov.lock. Source: pci_iov_set_numvfs() and what is around it. */
static void write_enable(struct pcif *pf, unsigned n)
{
	uint16_t control = pf->sriov->control & (uint16_t)~VF_CONTROL;

	/* The number is fixed while VFs are on. */
	write_register(pf, PCI_SRIOV_CTRL, 2, control);
	write_register(pf, PCI_SRIOV_NUM_VF, 2, n);
	pf->sriov->control = n ? control | VF_CONTROL : control;
	if (n)
		write_register(pf, PCI_SRIOV_CTRL, 2, pf->sriov->control);
}

/* Source: sriov_restore_state(). */
void pcif_sriov_restore(struct pcif *pf)
{
	struct sriov *s = pf->sriov;

	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	if (!(pcif_config_read(pf, CAP_SRIOV + PCI_SRIOV_CTRL, 2) & PCI_SRIOV_CTRL_VFE)) {
		for (unsigned i = 0; i < PCIF_NUM_BARS; i++) {
			unsigned reg = PCI_SRIOV_BAR + 4 * i;

			if (pf->desc.sriov.bars[i].type == PCIF_BAR_NONE)
				continue;
			write_register(pf, reg, 4, (uint32_t)s->bar_address[i]);
			if (pf->desc.sriov.bars[i].type == PCIF_BAR_MEM64)
				write_register(pf, reg + 4, 4, (uint32_t)(s->bar_address[i] >> 32));
		}
		write_register(pf, PCI_SRIOV_SYS_PGSIZE, 4, 1);
		write_enable(pf, atomic_load(&s->n_vfs));
	}
	pthread_mutex_unlock(&s->lock);
}

/* ------------------------------------------------------------------ coming and going */

/* Source: sriov_enable(). */
static int enable_check(const struct pcif *pf, unsigned n)
{
	unsigned last = vf_id(pf, n - 1), end = pf->parent ? pf->parent->subordinate : pf->bdf.bus;

	if (!pcif_present(pf))
		return -ENODEV;
	if (atomic_load(&pf->sriov->n_vfs))
		return -EBUSY;
	for (unsigned i = 0; i < PCIF_NUM_BARS; i++) {
		if (pf->desc.sriov.bars[i].type == PCIF_BAR_NONE || pf->sriov->bar_address[i])
			continue;
		log_info("%s: no address space for VF BAR %u", pf->name, i);
		return -ENOMEM;
	}
	if (last >> 8 > end) {
		log_info("%s: %u VFs need bus numbers up to %02x, the bridge above has them up to "
			 "%02x",
			 pf->name, n, last >> 8, end);
		return -ENOMEM;
	}
	return 0;
}

static int make_vfs(struct pcif *pf, struct pcif *vfs[], unsigned n)
{
	struct pcif_reply_error err = { "" };
	int rc = 0;

	for (unsigned i = 0; i < n && !rc; i++) {
		rc = function_new_vf(pf, i, &err, &vfs[i]);
		if (rc)
			log_error("%s: VF %u: %s", pf->name, i, err.text);
		else
			config_share(&vfs[i]->config, &pf->sriov->vf_rules);
	}
	return rc;
}

int pcim_sriov_enable(struct pcif *pf, unsigned n)
{
	struct pcif *vfs[MAX_VFS] = { NULL };
	struct sriov *s = pf->sriov;
	int rc;

	if (!s || !n || n > pf->desc.sriov.total_vfs)
		return -EINVAL;
	pthread_mutex_lock(&s->lock);
	rc = enable_check(pf, n);
	if (!rc)
		rc = make_vfs(pf, vfs, n);
	if (!rc)
		rc = tree_add_vfs(pf->m, vfs, n);
	if (!rc) {
		path_sync(pf->m, pf->parent);
		atomic_store(&s->n_vfs, n);
		write_enable(pf, n);
	}
	for (unsigned i = 0; i < n; i++)
		pcif_put(vfs[i]);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

void pcim_sriov_disable(struct pcif *pf)
{
	struct sriov *s = pf->sriov;

	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < pf->desc.sriov.total_vfs; i++) {
		struct pcif *vf = tree_drop_vf(pf, i);

		if (vf)
			sriov_vf_set(vf, false, false);
		pcif_put(vf);
	}
	atomic_store(&s->n_vfs, 0);
	write_enable(pf, 0);
	pthread_mutex_unlock(&s->lock);
}

bool pcif_is_vf(const struct pcif *f)
{
	return f->pf;
}

struct pcif *pcif_pf(const struct pcif *f)
{
	return f->pf;
}

unsigned pcif_vf_index(const struct pcif *f)
{
	return f->vf_index;
}

unsigned pcif_num_vfs(const struct pcif *pf)
{
	return pf->sriov ? atomic_load(&pf->sriov->n_vfs) : 0;
}

struct pcif *pcim_vf(struct pcif *pf, unsigned index)
{
	struct pcif *vf = NULL;

	if (!pf->sriov || index >= pf->desc.sriov.total_vfs)
		return NULL;
	pthread_rwlock_rdlock(&pf->m->lock);
	if (pf->sriov->vfs[index] && atomic_load(&pf->sriov->vfs[index]->present))
		vf = pcif_get(pf->sriov->vfs[index]);
	pthread_rwlock_unlock(&pf->m->lock);
	return vf;
}
