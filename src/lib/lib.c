// SPDX-License-Identifier: BSD-3-Clause
/*
 * libuvfio: what include/uvfio/uvfio.h promises, made of what pci and the command have. Here and
 * nowhere else the two sets of structures meet, so that the inner ones can change.
 *
 * Tables of registers are converted once and kept, as the models that they belong to are static.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>

#include "cli/cli.h"
#include "device/device.h"
#include <uvfio/uvfio.h>

#define API __attribute__((visibility("default")))

/* A model of the program's, as pci sees it. */
struct guest_model {
	struct pcif_model model;
	const struct uvfio_model *theirs;
	struct pcif_option *options;
	struct guest_model *next;
};

struct table {
	const struct uvfio_reg *theirs;
	unsigned n;
	struct pcif_reg *regs;
	struct table *next;
};

static struct guest_model *models;
static struct table *tables;
static pthread_mutex_t tables_lock = PTHREAD_MUTEX_INITIALIZER;

static struct pcif *inner(const struct uvfio_function *f)
{
	return (struct pcif *)(uintptr_t)f;
}

static struct uvfio_function *outer(struct pcif *f)
{
	return (struct uvfio_function *)(void *)f;
}

static const struct pcif_params *inner_params(const struct uvfio_params *params)
{
	return (const struct pcif_params *)(const void *)params;
}

/* ------------------------------------------------------------------ descriptions */

static void convert_reg(struct pcif_reg *to, const struct uvfio_reg *from)
{
	static const enum pcif_reg_kind kinds[] = {
		[UVFIO_REG_PLAIN] = PCIF_REG_PLAIN,
		[UVFIO_REG_MAILBOX] = PCIF_REG_MAILBOX,
		[UVFIO_REG_STATUS] = PCIF_REG_STATUS,
	};

	*to = (struct pcif_reg){
		.name = from->name,
		.offset = from->offset,
		.kind = kinds[from->kind % ARRAY_SIZE(kinds)],
		.reset = from->reset,
		.wmask = from->wmask,
		.w1c = from->w1c,
		.count = from->count,
		.stride = from->stride,
		.write = from->write,
		.read = from->read,
	};
}

static struct table *convert_table(const struct uvfio_reg *regs, unsigned n)
{
	struct table *t;

	for (t = tables; t; t = t->next)
		if (t->theirs == regs && t->n == n)
			return t;
	t = calloc(1, sizeof(*t));
	if (t)
		t->regs = calloc(n, sizeof(*t->regs));
	if (!t || !t->regs) {
		free(t);
		return NULL;
	}
	t->theirs = regs;
	t->n = n;
	for (unsigned i = 0; i < n; i++)
		convert_reg(&t->regs[i], &regs[i]);
	t->next = tables;
	tables = t;
	return t;
}

static int convert_bar(struct pcif_bar *to, const struct uvfio_bar *from)
{
	static const enum pcif_bar_type types[] = {
		[UVFIO_BAR_NONE] = PCIF_BAR_NONE,
		[UVFIO_BAR_IO] = PCIF_BAR_IO,
		[UVFIO_BAR_MEM32] = PCIF_BAR_MEM32,
		[UVFIO_BAR_MEM64] = PCIF_BAR_MEM64,
	};
	static const enum pcif_page pages[] = {
		[UVFIO_PAGE_TRAP] = PCIF_PAGE_TRAP,
		[UVFIO_PAGE_SHARED] = PCIF_PAGE_SHARED,
		[UVFIO_PAGE_RAM] = PCIF_PAGE_RAM,
	};
	struct table *t = NULL;

	if (from->n_areas > ARRAY_SIZE(from->areas) || from->type >= ARRAY_SIZE(types))
		return -EINVAL;
	if (from->regs && from->n_regs) {
		pthread_mutex_lock(&tables_lock);
		t = convert_table(from->regs, from->n_regs);
		pthread_mutex_unlock(&tables_lock);
		if (!t)
			return -ENOMEM;
	}
	*to = (struct pcif_bar){
		.type = types[from->type],
		.prefetchable = from->prefetchable,
		.size = from->size,
		.n_areas = from->n_areas,
		.regs = t ? t->regs : NULL,
		.n_regs = t ? t->n : 0,
		.regs_state = from->regs_state,
	};
	for (unsigned i = 0; i < from->n_areas; i++) {
		const struct uvfio_bar_area *a = &from->areas[i];

		if (a->policy >= ARRAY_SIZE(pages))
			return -EINVAL;
		to->areas[i] = (struct pcif_bar_area){ a->offset, a->size, pages[a->policy] };
	}
	return 0;
}

/* What of a description is data of the function alone, as a VF has it too. */
static void convert_interrupts(struct pcif_desc *to, const struct uvfio_description *from)
{
	to->msi_vectors = from->msi_vectors;
	to->msix_vectors = from->msix_vectors;
	to->msix_bar = from->msix_bar;
	to->msix_table_offset = from->msix_table_offset;
	to->msix_pba_offset = from->msix_pba_offset;
	to->pm = from->pm;
	to->aer = from->aer;
	to->dsn = from->serial_number;
}

static int convert(struct pcif_desc *to, const struct uvfio_description *from)
{
	int ret = 0;

	to->vendor = from->vendor;
	to->device = from->device;
	to->subsystem_vendor = from->subsystem_vendor;
	to->subsystem_device = from->subsystem_device;
	to->class_code = from->class_code;
	to->revision = from->revision;
	to->intx_pin = from->intx_pin;
	to->pcie = from->pcie;
	to->sriov.total_vfs = from->sriov.total_vfs;
	to->sriov.vf_device = from->sriov.vf_device;
	convert_interrupts(to, from);
	for (unsigned i = 0; i < UVFIO_BARS && !ret; i++)
		ret = convert_bar(&to->bars[i], &from->bars[i]);
	for (unsigned i = 0; i < UVFIO_BARS && !ret; i++)
		ret = convert_bar(&to->sriov.bars[i], &from->sriov.bars[i]);
	return ret;
}

/* ------------------------------------------------------------------ models */

static const struct guest_model *model_of(const struct pcif *f)
{
	const struct guest_model *g = models;

	while (strcmp(g->model.name, pcif_model_name(f)))
		g = g->next;
	return g;
}

static int refuse(struct pcif_reply_error *err, int ret, const struct uvfio_error *why)
{
	return pcif_error(err, ret < 0 ? ret : -EINVAL, "%s",
			  *why->text ? why->text : "the model does not say why");
}

static int create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
		  void **state, struct pcif_reply_error *err)
{
	const struct guest_model *g = model_of(f);
	struct uvfio_description description = { 0 };
	struct uvfio_error why = { "" };
	int ret;

	ret = g->theirs->create(outer(f), (const struct uvfio_params *)(const void *)params,
				&description, state, &why);
	if (ret)
		return refuse(err, ret, &why);
	ret = convert(desc, &description);
	if (!ret)
		return 0;
	if (g->theirs->destroy)
		g->theirs->destroy(*state);
	return pcif_error(err, ret, "the model's description of a BAR: %s", strerror(-ret));
}

static int create_vf(struct pcif *f, void *pf_state, unsigned index, struct pcif_desc *desc,
		     void **state, struct pcif_reply_error *err)
{
	const struct guest_model *g = model_of(f);
	struct uvfio_description description = { 0 };
	struct uvfio_error why = { "" };
	int ret;

	ret = g->theirs->create_vf(outer(f), pf_state, index, &description, state, &why);
	if (ret)
		return refuse(err, ret, &why);
	convert_interrupts(desc, &description);
	for (unsigned i = 0; i < UVFIO_BARS; i++)
		desc->bars[i].regs_state = description.bars[i].regs_state;
	return 0;
}

static void nothing(void *state) {}

static int add_model(const struct uvfio_model *m)
{
	struct guest_model *g = calloc(1, sizeof(*g));
	unsigned n = 0;

	while (m->options && m->options[n].key)
		n++;
	if (g)
		g->options = calloc(n + 1, sizeof(*g->options));
	if (!g || !g->options) {
		free(g);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < n; i++)
		g->options[i] = (struct pcif_option){ m->options[i].key, m->options[i].help };
	g->theirs = m;
	g->model = (struct pcif_model){
		.name = m->name,
		.summary = m->summary,
		.options = g->options,
		.create = create,
		.create_vf = m->create_vf ? create_vf : NULL,
		.destroy = m->destroy ? m->destroy : nothing,
		.bar_read = m->bar_read,
		.bar_write = m->bar_write,
		.reset = m->reset,
	};
	g->next = models;
	models = g;
	return device_add(&g->model);
}

API int uvfio_main(int argc, char **argv, const struct uvfio_model *const list[])
{
	for (unsigned i = 0; list && list[i]; i++) {
		int ret = list[i]->name && list[i]->create ? add_model(list[i]) : -EINVAL;

		if (ret) {
			fprintf(stderr, "uvfio: model '%s': %s\n",
				list[i]->name ? list[i]->name : "?",
				ret == -EEXIST ? "there is one of that name" : strerror(-ret));
			return 1;
		}
	}
	return cli_main(argc, argv);
}

API const char *uvfio_version(void)
{
	return UVFIO_VERSION;
}

/* ------------------------------------------------------------------ what models call */

API int uvfio_error(struct uvfio_error *err, int errnum, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	return errnum;
}

API const char *uvfio_param(const struct uvfio_params *params, const char *key)
{
	return pcif_param(inner_params(params), key);
}

API int uvfio_param_number(const struct uvfio_params *params, const char *key, unsigned min,
			   unsigned max, unsigned *value, struct uvfio_error *err)
{
	struct pcif_reply_error why = { "" };
	int ret = pcif_param_number(inner_params(params), key, min, max, value, &why);

	return ret ? uvfio_error(err, ret, "%s", why.text) : 0;
}

API int uvfio_param_choice(const struct uvfio_params *params, const char *key,
			   const char *const *choices, unsigned *value, struct uvfio_error *err)
{
	struct pcif_reply_error why = { "" };
	int ret = pcif_param_choice(inner_params(params), key, choices, value, &why);

	return ret ? uvfio_error(err, ret, "%s", why.text) : 0;
}

API const char *uvfio_name(const struct uvfio_function *f)
{
	return pcif_name(inner(f));
}

API void uvfio_lock(struct uvfio_function *f)
{
	pcif_lock(inner(f));
}

API void uvfio_unlock(struct uvfio_function *f)
{
	pcif_unlock(inner(f));
}

API uint32_t uvfio_reg_get(struct uvfio_function *f, unsigned bar, unsigned reg, unsigned index)
{
	return pcif_regs_get(pcif_bar_regs(inner(f), bar), reg, index);
}

API void uvfio_reg_set(struct uvfio_function *f, unsigned bar, unsigned reg, unsigned index,
		       uint32_t value)
{
	pcif_regs_set(pcif_bar_regs(inner(f), bar), reg, index, value);
}

API void uvfio_bar_clear(struct uvfio_function *f, unsigned bar)
{
	pcif_bar_clear(inner(f), bar);
}

API int uvfio_dma_read(struct uvfio_function *f, uint64_t iova, void *buf, size_t size)
{
	return pcif_dma_read(inner(f), iova, buf, size);
}

API int uvfio_dma_write(struct uvfio_function *f, uint64_t iova, const void *buf, size_t size)
{
	return pcif_dma_write(inner(f), iova, buf, size);
}

static_assert(sizeof(struct iommu_pin) <= sizeof(((struct uvfio_pin *)NULL)->reserved),
	      "room for what a pin is inside");

API int uvfio_dma_pin(struct uvfio_function *f, uint64_t iova, size_t size, unsigned access,
		      struct uvfio_pin *pin)
{
	struct iommu_pin own;
	int ret;

	if (access != UVFIO_DMA_READ && access != UVFIO_DMA_WRITE)
		return -EINVAL;
	ret = pcif_dma_pin(inner(f), iova, size,
			   access == UVFIO_DMA_READ ? IOMMU_READ : IOMMU_WRITE, &own);
	if (ret)
		return ret;
	memcpy(pin->iov, own.iov, sizeof(pin->iov));
	pin->n_iov = own.n_iov;
	memcpy(pin->reserved, &own, sizeof(own));
	return 0;
}

API void uvfio_dma_unpin(struct uvfio_pin *pin)
{
	struct iommu_pin own;

	memcpy(&own, pin->reserved, sizeof(own));
	pcif_dma_unpin(&own);
}

API void uvfio_irq_raise(struct uvfio_function *f, unsigned vector)
{
	pcif_irq_raise(inner(f), vector);
}

API void uvfio_intx_set(struct uvfio_function *f, bool level)
{
	pcif_intx_set(inner(f), level);
}

API bool uvfio_uses_messages(const struct uvfio_function *f)
{
	enum pcif_irq_mode mode = pcif_irq_mode(inner(f));

	return mode == PCIF_IRQ_MSI || mode == PCIF_IRQ_MSIX;
}
