/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A function's life: made of a model, its description checked, its space built, reset once; and
 * the small calls that models and buses make on it.
 */
#include <errno.h>

#include "priv.h"

/* Callbacks may be installed after functions exist, hence the detour. */
static void on_fault(void *data, const struct iommu_fault *fault)
{
	struct pcim *m = data;

	if (m->fault_cb)
		m->fault_cb(m->fault_data, fault);
}

/* On failure function_new() frees what was made. */
static int function_build(struct pcif *f, struct pcif_reply_error *err)
{
	int rc = caps_check(f, err);

	if (rc)
		return rc;
	rc = config_init(&f->config);
	if (!rc)
		rc = sriov_new(f);
	if (rc)
		return pcif_error(err, rc, "%s: %s", f->name, strerror(-rc));
	rc = bar_images_new(f);
	if (rc)
		return pcif_error(err, rc, "%s: no memory for BARs: %s%s", f->name, strerror(-rc),
				  rc == -EMFILE ? " (raise the hard limit, ulimit -Hn)" : "");
	rc = tables_new(f, err);
	if (rc)
		return rc;
	rc = irq_init(f);
	if (rc)
		return pcif_error(err, rc, "%s: %s", f->name, strerror(-rc));
	caps_build(f);
	pthread_rwlock_wrlock(&f->irq.conn);
	pthread_mutex_lock(&f->cfg);
	irq_reset(f);
	pthread_mutex_unlock(&f->cfg);
	pthread_rwlock_unlock(&f->irq.conn);
	model_reset(f);
	return 0;
}

static void locks_init(struct pcif *f)
{
	pthread_mutex_init(&f->ctl, NULL);
	pthread_mutex_init(&f->reg, NULL);
	pthread_mutex_init(&f->cfg, NULL);
	pthread_mutex_init(&f->shared, NULL);
	scan_init(f);
}

static void function_fini(struct pcif *f)
{
	pcif_put(f->parent);
	pcif_put(f->pf);
	iommu_port_free(f->port);
	sriov_free(f);
	config_rules_put(f->config.rules);
	scan_fini(f);
	pthread_mutex_destroy(&f->shared);
	pthread_mutex_destroy(&f->cfg);
	pthread_mutex_destroy(&f->reg);
	pthread_mutex_destroy(&f->ctl);
	free(f);
}

static struct pcif *function_alloc(struct pcim *m, const struct function_place *at,
				   const struct pcif_model *model)
{
	struct pcif *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->m = m;
	atomic_init(&f->refs, 1);
	atomic_init(&f->group, (unsigned)GROUP_NONE);
	f->bdf = at->bdf;
	f->parent = at->parent ? pcif_get(at->parent) : NULL;
	f->on_root_bus = at->on_root_bus;
	f->model = model;
	f->path = PATH_ALL;
	f->numa_node = -1;
	f->alias_devfn = -1;
	f->memfd = -1;
	pcif_bdf_format(at->bdf, f->name);
	locks_init(f);
	return f;
}

static int model_create(struct pcif *f, const struct pcif_params *params,
			struct pcif_reply_error *err)
{
	if (!f->pf)
		return f->model->create(f, params, &f->desc, &f->state, err);
	sriov_describe_vf(f, &f->desc);
	return f->model->create_vf(f, f->pf->state, f->vf_index, &f->desc, &f->state, err);
}

/* Consumes @f on failure. */
static int function_start(struct pcif *f, const struct pcif_params *params,
			  struct pcif_reply_error *err)
{
	int rc = iommu_port_new(f->name, on_fault, f->m, &f->port);

	if (rc) {
		pcif_error(err, rc, "%s: no IOMMU port: %s", f->name, strerror(-rc));
		goto err_fini;
	}
	rc = model_create(f, params, err);
	if (rc)
		goto err_fini;
	f->bridge = f->desc.kind != PCIF_ENDPOINT;
	rc = options_apply(f, params, err);
	if (!rc)
		rc = function_build(f, err);
	if (rc)
		goto err_destroy;
	return 0;

err_destroy:
	scan_stop(f);
	if (f->model->destroy)
		f->model->destroy(f->state);
	tables_free(f);
	bar_images_free(f);
err_fini:
	function_fini(f);
	return rc;
}

int function_new(struct pcim *m, const struct function_place *at, const struct pcif_model *model,
		 const struct pcif_params *params, struct pcif_reply_error *err, struct pcif **out)
{
	struct pcif *f = function_alloc(m, at, model);
	int rc;

	if (!f)
		return pcif_error(err, -ENOMEM, "out of memory");
	rc = function_start(f, params, err);
	if (!rc)
		*out = f;
	return rc;
}

/* One at a time for a PF. It is not in the tree yet, and not switched on. */
int function_new_vf(struct pcif *pf, unsigned index, struct pcif_reply_error *err,
		    struct pcif **out)
{
	struct function_place at = { pcif_vf_bdf(pf, index), pf->parent, pf->on_root_bus };
	struct pcif *f = function_alloc(pf->m, &at, pf->model);
	int rc;

	if (!f)
		return pcif_error(err, -ENOMEM, "out of memory");
	f->pf = pcif_get(pf);
	f->vf_index = index;
	f->vf_off = true;
	f->root_bus = pf->root_bus;
	f->numa_node = pf->numa_node;
	for (unsigned i = 0; i < PCIF_NUM_BARS; i++)
		if (pf->sriov->bar_address[i])
			f->bar_address[i] =
				pf->sriov->bar_address[i] + index * pf->desc.sriov.bars[i].size;
	rc = function_start(f, NULL, err);
	if (!rc)
		*out = f;
	return rc;
}

/* NULL is fine. First the scanner ends, then the model's threads; nothing uses what is freed after.
 */
void function_free(struct pcif *f)
{
	if (!f)
		return;
	scan_stop(f);
	if (f->model->destroy)
		f->model->destroy(f->state);
	irq_fini(f);
	tables_free(f);
	bar_images_free(f);
	function_fini(f);
}

/* Any thread. */
struct pcif *pcif_get(struct pcif *f)
{
	atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
	return f;
}

/**
 * pcif_put() - any thread, but not one of the model's: the last one ends the model, which waits for
 * its threads.
 */
void pcif_put(struct pcif *f)
{
	if (f && atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1)
		function_free(f);
}

bool pcif_present(const struct pcif *f)
{
	return atomic_load(&f->present);
}

void pcif_lock(struct pcif *f)
{
	pthread_mutex_lock(&f->reg);
}

void pcif_unlock(struct pcif *f)
{
	pthread_mutex_unlock(&f->reg);
}

const char *pcif_name(const struct pcif *f)
{
	return f->name;
}

int pcif_dma_read(struct pcif *f, uint64_t iova, void *buf, size_t size)
{
	return iommu_read(f->port, iova, buf, size);
}

int pcif_dma_write(struct pcif *f, uint64_t iova, const void *buf, size_t size)
{
	return iommu_write(f->port, iova, buf, size);
}

int pcif_dma_pin(struct pcif *f, uint64_t iova, size_t size, unsigned access, struct iommu_pin *pin)
{
	return iommu_pin(f->port, iova, size, access, pin);
}

int pcif_dma_span(struct pcif *f, uint64_t iova, size_t size, unsigned access,
		  struct iommu_span *span)
{
	return iommu_span_get(f->port, iova, size, access, span);
}

void pcif_dma_unpin(struct iommu_pin *pin)
{
	iommu_unpin(pin);
}

void *pcif_state(const struct pcif *f)
{
	return f->state;
}

const struct pcif_desc *pcif_desc(const struct pcif *f)
{
	return &f->desc;
}

struct pci_bdf pcif_bdf(const struct pcif *f)
{
	return f->bdf;
}

const char *pcif_model_name(const struct pcif *f)
{
	return f->model->name;
}

unsigned pcif_counters(const struct pcif *f, struct pcif_counter out[PCIF_COUNTERS_MAX])
{
	return f->model->counters ? f->model->counters(f->state, out) : 0;
}

const char *pcif_type_name(const struct pcif *f)
{
	static const char *const bridges[] = {
		[PCIF_ROOT_PORT] = "root port",
		[PCIF_UPSTREAM_PORT] = "upstream port",
		[PCIF_DOWNSTREAM_PORT] = "downstream port",
		[PCIF_PCIE_TO_PCI_BRIDGE] = "PCIe-to-PCI bridge",
		[PCIF_PCI_BRIDGE] = "PCI bridge",
	};

	if (f->bridge)
		return bridges[f->desc.kind];
	if (f->pf)
		return "virtual function";
	if (!f->desc.pcie)
		return "conventional function";
	return f->on_root_bus ? "integrated endpoint" : "endpoint";
}

bool pcif_is_bridge(const struct pcif *f)
{
	return f->bridge;
}

bool pcif_has_acs(const struct pcif *f)
{
	return f->desc.acs;
}

int pcif_numa_node(const struct pcif *f)
{
	return f->numa_node;
}

struct iommu_port *pcif_iommu_port(struct pcif *f)
{
	return f->port;
}

uint64_t pcif_bar_address(const struct pcif *f, unsigned bar)
{
	return bar < PCIF_NUM_BARS ? f->bar_address[bar] : 0;
}

struct pcif *pcif_parent(const struct pcif *f)
{
	return f->parent;
}

uint8_t pcif_root_bus(const struct pcif *f)
{
	return f->root_bus;
}

void pcif_bridge_buses(const struct pcif *f, uint8_t *secondary, uint8_t *subordinate)
{
	*secondary = f->secondary;
	*subordinate = f->subordinate;
}

unsigned pcif_group(const struct pcif *f)
{
	return atomic_load(&f->group);
}

void pcif_set_client(struct pcif *f, unsigned client)
{
	atomic_store(&f->client, client);
}

unsigned pcif_client(const struct pcif *f)
{
	return atomic_load(&f->client);
}

enum pcif_group_why pcif_group_why(struct pcif *f, struct pci_bdf *other)
{
	enum pcif_group_why why;

	pthread_rwlock_rdlock(&f->m->lock);
	why = f->group_why;
	*other = f->group_other;
	pthread_rwlock_unlock(&f->m->lock);
	return why;
}
