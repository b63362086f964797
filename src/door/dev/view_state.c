/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files of a function's directory by which it can be told something, or that follow from what
 * it is bound to. The bus keeps what is written, for every view of the machine.
 *
 * Source: drivers/pci/pci-sysfs.c, drivers/pci/pci.c (reset_method), drivers/base/power/sysfs.c.
 */
#include <ctype.h>
#include <errno.h>
#include <linux/pci_regs.h>

#include "door/dev/view_priv.h"

static struct bus *bus_of(struct view_node *node)
{
	return node->view->bus;
}

static struct pcif *pcif_of(struct view_node *node)
{
	return view_fn_of(node)->f;
}

/* ------------------------------------------------------------------ what is only remembered */

static int read_note(struct view_node *node, char **buf, size_t *size, enum bus_note note,
		     bool inverted)
{
	uint32_t value = 0;
	int r = bus_note_get(bus_of(node), pcif_of(node), note, &value);

	return r ? r : view_say(buf, size, "%u\n", !!value ^ inverted);
}

static int write_note(struct view_node *node, const char *buf, size_t size, enum bus_note note,
		      bool inverted)
{
	unsigned long value;
	int r = view_number(buf, size, &value);

	return r ? r : bus_note_set(bus_of(node), pcif_of(node), note, !!value ^ inverted);
}

static int read_parity(struct view_node *node, char **buf, size_t *size)
{
	return read_note(node, buf, size, BUS_NOTE_BROKEN_PARITY, false);
}

static int write_parity(struct view_node *node, const char *buf, size_t size)
{
	return write_note(node, buf, size, BUS_NOTE_BROKEN_PARITY, false);
}

static int read_d3cold(struct view_node *node, char **buf, size_t *size)
{
	return read_note(node, buf, size, BUS_NOTE_NO_D3COLD, true);
}

static int write_d3cold(struct view_node *node, const char *buf, size_t size)
{
	return write_note(node, buf, size, BUS_NOTE_NO_D3COLD, true);
}

static int read_msi_bus(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "1\n");
}

/* Message signalled interrupts can not be forbidden. */
static int write_msi_bus(struct view_node *node, const char *buf, size_t size)
{
	unsigned long value;
	int r = view_number(buf, size, &value);

	if (r)
		return r;
	return value ? 0 : -EOPNOTSUPP;
}

/* ------------------------------------------------------------------ power */

static int control_word(const char *buf, size_t size, bool *sleeps)
{
	*sleeps = view_same(buf, size, "auto");
	return *sleeps || view_same(buf, size, "on") ? 0 : -EINVAL;
}

static int say_control(char **buf, size_t *size, bool sleeps)
{
	return view_say(buf, size, "%s\n", sleeps ? "auto" : "on");
}

static int read_fn_control(struct view_node *node, char **buf, size_t *size)
{
	uint32_t sleeps = 0;
	int r = bus_note_get(bus_of(node), pcif_of(node), BUS_NOTE_POWER_AUTO, &sleeps);

	return r ? r : say_control(buf, size, sleeps);
}

static int write_fn_control(struct view_node *node, const char *buf, size_t size)
{
	bool sleeps;
	int r = control_word(buf, size, &sleeps);

	return r ? r : bus_note_set(bus_of(node), pcif_of(node), BUS_NOTE_POWER_AUTO, sleeps);
}

/* Of buses and host bridges, which nobody shares: the word is kept in the node. */
static int read_control(struct view_node *node, char **buf, size_t *size)
{
	return say_control(buf, size, __atomic_load_n(&node->data, __ATOMIC_RELAXED));
}

static int write_control(struct view_node *node, const char *buf, size_t size)
{
	bool sleeps;
	int r = control_word(buf, size, &sleeps);

	if (!r)
		__atomic_store_n(&node->data, (void *)(uintptr_t)sleeps, __ATOMIC_RELAXED);
	return r;
}

/* Nothing here ever sleeps, whatever may. */
static void power_files(struct view *v, struct view_node *parent, const struct view_attr *control)
{
	struct view_node *dir = view_dir(v, parent, "power");

	view_attrs(v, dir, control, 1, NULL);
	view_text(v, dir, "runtime_status", 0444, "active\n");
	view_text(v, dir, "runtime_active_time", 0444, "0\n");
	view_text(v, dir, "runtime_suspended_time", 0444, "0\n");
}

void view_power(struct view *v, struct view_node *parent)
{
	static const struct view_attr control = { "control", 0644, read_control, write_control };

	power_files(v, parent, &control);
}

static int read_power_state(struct view_node *node, char **buf, size_t *size)
{
	static const char *const names[] = { "D0", "D1", "D2", "D3hot" };
	unsigned cap = pcif_find_cap(pcif_of(node), PCI_CAP_ID_PM), state = 0;

	if (cap)
		state = pcif_config_read(pcif_of(node), cap + PCI_PM_CTRL, 2) &
			PCI_PM_CTRL_STATE_MASK;
	return view_say(buf, size, "%s\n", names[state]);
}

/* ------------------------------------------------------------------ the driver's doing */

/* Does the host's own code work on it? Not where the driver only keeps others away. */
static bool host_works(const struct bus_driver *d)
{
	return d && d->probe && strcmp(d->name, VFIO_PCI_DRIVER);
}

/* How often it was enabled: by its driver, and by hand. VFIO does while a client has it open. */
static int read_enable(struct view_node *node, char **buf, size_t *size)
{
	struct view_fn *fn = view_fn_of(node);
	const struct bus_driver *d = bus_driver_of(fn->view->bus, fn->f);
	uint32_t n = 0;
	int r = bus_note_get(fn->view->bus, fn->f, BUS_NOTE_ENABLED, &n);

	n += d && !strcmp(d->name, VFIO_PCI_DRIVER) ? vfio_function_open(fn->view->vfio, fn->f)
						    : host_works(d);
	return r ? r : view_say(buf, size, "%u\n", n);
}

static void decode_bars(struct pcif *f)
{
	uint32_t command = pcif_config_read(f, PCI_COMMAND, 2);

	for (unsigned bar = 0; bar < PCIF_NUM_BARS && !pcif_is_bridge(f); bar++) {
		if (pcif_desc(f)->bars[bar].type == PCIF_BAR_IO)
			command |= PCI_COMMAND_IO;
		else if (pcif_desc(f)->bars[bar].type != PCIF_BAR_NONE)
			command |= PCI_COMMAND_MEMORY;
	}
	pcif_config_write(f, PCI_COMMAND, 2, command);
}

/* Only a function without a driver may be enabled by hand. Source: enable_store(). */
static int write_enable(struct view_node *node, const char *buf, size_t size)
{
	struct pcif *f = pcif_of(node);
	unsigned long value;
	uint32_t n = 0;
	int r = view_number(buf, size, &value);

	if (r)
		return r;
	if (bus_driver_of(bus_of(node), f))
		return -EBUSY;
	r = bus_note_get(bus_of(node), f, BUS_NOTE_ENABLED, &n);
	if (r)
		return r;
	if (!value && !n)
		return -EIO;
	r = bus_note_set(bus_of(node), f, BUS_NOTE_ENABLED, value ? n + 1 : n - 1);
	if (!r && value && !n)
		decode_bars(f);
	else if (!r && !value && n == 1)
		pcif_config_write(f, PCI_COMMAND, 2,
				  pcif_config_read(f, PCI_COMMAND, 2) &
					  ~(uint32_t)PCI_COMMAND_MASTER);
	return r;
}

/* What the host's driver asked for; the default elsewhere. */
static int read_dma_mask_bits(struct view_node *node, char **buf, size_t *size)
{
	const struct bus_driver *d = bus_driver_of(bus_of(node), pcif_of(node));

	return view_say(buf, size, "%u\n", d && d->ids && !d->managed_dma ? 64 : 32);
}

/*
 * Interrupts of a host's driver: as many messages as it would take, one for each processor and one
 * more. Their numbers are nobody else's in this machine.
 */
#define IRQ_FIRST 64u
#define IRQS_MAX 64u

static unsigned host_irqs(const struct view_fn *fn, const struct bus_driver *d, bool *msix)
{
	const struct pcif_desc *desc = pcif_desc(fn->f);

	*msix = desc->msix_vectors;
	if (!host_works(d))
		return 0;
	if (desc->msix_vectors)
		return MIN(MIN(desc->msix_vectors, fn->view->cpus + 1), IRQS_MAX);
	return pcif_find_cap(fn->f, PCI_CAP_ID_MSI) ? 1 : 0;
}

static unsigned first_irq(const struct view_fn *fn)
{
	return IRQ_FIRST + (unsigned)(fn->id % (INT32_MAX / IRQS_MAX - 2)) * IRQS_MAX;
}

/* The first message where MSI is in use, else the pin's line. Source: irq_show(). */
static int read_irq(struct view_node *node, char **buf, size_t *size)
{
	struct view_fn *fn = view_fn_of(node);
	uint32_t line = pcif_config_read(fn->f, PCI_INTERRUPT_LINE, 1);
	bool msix;

	/* 255 stands for "not connected". */
	if (!pcif_config_read(fn->f, PCI_INTERRUPT_PIN, 1) || line == 0xff)
		line = 0;
	if (host_irqs(fn, bus_driver_of(fn->view->bus, fn->f), &msix) && !msix)
		line = first_irq(fn);
	return view_say(buf, size, "%u\n", line);
}

/* Source: msi_populate_sysfs(). */
void view_driver_files(struct view_fn *fn)
{
	bool msix;
	unsigned n = host_irqs(fn, fn->driver->d, &msix);
	char name[16];

	if (!n)
		return;
	fn->msi_irqs = view_dir(fn->view, fn->dir, "msi_irqs");
	for (unsigned i = 0; i < n && fn->msi_irqs; i++) {
		snprintf(name, sizeof(name), "%u", first_irq(fn) + i);
		view_text(fn->view, fn->msi_irqs, name, 0444, msix ? "msix\n" : "msi\n");
	}
}

/* ------------------------------------------------------------------ which driver, and whether at
 * all */

/* Takes effect at the next match. Source: driver_set_override(). */
static int write_driver_override(struct view_node *node, const char *buf, size_t size)
{
	AUTO_FREE char *word = NULL;
	int r;

	if (size >= VIEW_TEXT_MAX - 1)
		return -EINVAL;
	r = view_word(buf, size, &word);
	return r ? r : bus_override_set(bus_of(node), pcif_of(node), word);
}

static int read_driver_override(struct view_node *node, char **buf, size_t *size)
{
	AUTO_FREE char *name = NULL;
	int r = bus_override_get(bus_of(node), pcif_of(node), &name);

	return r ? r : view_say(buf, size, "%s\n", name ? name : "(null)");
}

static int act_remove(struct view_node *node, const char *buf, size_t size,
		      const atomic_bool *cancel)
{
	unsigned long value;
	int r = view_number(buf, size, &value);

	if (r || !value)
		return r;
	return bus_remove(bus_of(node), pcif_of(node), cancel);
}

/* ------------------------------------------------------------------ reset */

static int read_reset_method(struct view_node *node, char **buf, size_t *size)
{
	struct bus_resets resets;
	char text[80] = "";

	bus_resets(bus_of(node), pcif_of(node), &resets);
	for (unsigned i = 0; i < resets.n; i++) {
		size_t n = strlen(text);

		snprintf(text + n, sizeof(text) - n, "%s%s", n ? " " : "",
			 bus_reset_names[resets.method[i]]);
	}
	return view_say(buf, size, "%s%s", text, text[0] ? "\n" : "");
}

/* Without white space around it. */
static char *trimmed(char *name)
{
	size_t n = strlen(name);

	while (n && isspace((unsigned char)name[n - 1]))
		name[--n] = 0;
	while (isspace((unsigned char)*name))
		name++;
	return name;
}

/* Methods of the list in @text, with spaces between them. */
static int parse_methods(char *text, unsigned supported, struct bus_resets *resets)
{
	char *name;

	resets->n = 0;
	while ((name = strsep(&text, " "))) {
		unsigned i = 0;

		name = trimmed(name);
		if (!*name)
			continue;
		while (i < BUS_RESETS && strcmp(bus_reset_names[i], name))
			i++;
		if (i == BUS_RESETS || !(supported & BIT(i)) || resets->n == BUS_RESETS_MAX)
			return -EINVAL;
		resets->method[resets->n++] = (uint8_t)i;
	}
	return 0;
}

/* Source: reset_method_store(). */
static int write_reset_method(struct view_node *node, const char *buf, size_t size)
{
	AUTO_FREE char *text = strndup(buf, size);
	struct bus_resets resets;
	int r;

	if (!text)
		return -ENOMEM;
	if (view_same(buf, size, "default"))
		return bus_resets_choose(bus_of(node), pcif_of(node), NULL);
	r = parse_methods(text, bus_resets_supported(bus_of(node), pcif_of(node)), &resets);
	return r ? r : bus_resets_choose(bus_of(node), pcif_of(node), &resets);
}

static int act_reset(struct view_node *node, const char *buf, size_t size,
		     const atomic_bool *cancel)
{
	unsigned long value;

	if (view_number(buf, size, &value) || value != 1)
		return -EINVAL;
	return bus_reset(bus_of(node), pcif_of(node), cancel);
}

/* ------------------------------------------------------------------ tables */

static const struct view_attr state_attrs[] = {
	{ "broken_parity_status", 0644, read_parity, write_parity },
	{ "consistent_dma_mask_bits", 0444, read_dma_mask_bits, NULL },
	{ "d3cold_allowed", 0644, read_d3cold, write_d3cold },
	{ "dma_mask_bits", 0444, read_dma_mask_bits, NULL },
	{ "driver_override", 0644, read_driver_override, write_driver_override },
	{ "enable", 0644, read_enable, write_enable },
	{ "irq", 0444, read_irq, NULL },
	{ "msi_bus", 0644, read_msi_bus, write_msi_bus },
	{ "power_state", 0444, read_power_state, NULL },
	{ "remove", 0220, NULL, NULL, act_remove },
	{ "rescan", 0200, NULL, NULL, view_act_rescan_fn },
};

static const struct view_attr reset_attrs[] = {
	{ "reset", 0200, NULL, NULL, act_reset },
	{ "reset_method", 0644, read_reset_method, write_reset_method },
};

void view_state_files(struct view_fn *fn)
{
	static const struct view_attr control = { "control", 0644, read_fn_control,
						  write_fn_control };
	struct view *v = fn->view;

	view_attrs(v, fn->dir, state_attrs, ARRAY_SIZE(state_attrs), NULL);
	if (bus_resets_supported(v->bus, fn->f))
		view_attrs(v, fn->dir, reset_attrs, ARRAY_SIZE(reset_attrs), NULL);
	power_files(v, fn->dir, &control);
}
