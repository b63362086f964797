/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Machine files and SPECs made of any bytes. An input that begins with '{', '[' or white space is
 * a machine file, any other a SPEC; lines of a SPEC input are devices of one machine.
 *
 * A machine that starts is then moved: each bridge resets what is below it, one function leaves
 * with all below and is found again.
 *
 * Inputs that name a disk are left out, as they would open whatever file their bytes name; so are
 * those of many devices, which would spend the fuzzer's time on making them.
 */
#include <linux/pci_regs.h>

#include "machine/machine.h"

#define MAX_SPECS 12
#define MAX_SIZE 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool harmless(const char *text, size_t size)
{
	unsigned models = 0;

	if (memmem(text, size, "disk", 4) || memmem(text, size, "\\u", 2))
		return false;
	for (const char *p = text; (p = memmem(p, (size_t)(text + size - p), "model", 5)); p++)
		models++;
	return models <= MAX_SPECS;
}

static void add_specs(struct machine *m, char *text)
{
	struct machine_error err;
	char *spec;

	for (unsigned i = 0; i < MAX_SPECS && (spec = strsep(&text, "\n")); i++)
		machine_add_spec(m, spec, &err);
}

static void move(struct machine *m, unsigned choice)
{
	struct pcim_list list;

	if (pcim_list(machine_pci(m), &list))
		return;
	for (unsigned i = 0; i < list.n; i++)
		if (pcif_is_bridge(list.f[i]))
			pcif_config_write(list.f[i], PCI_BRIDGE_CONTROL, 2,
					  PCI_BRIDGE_CTL_BUS_RESET);
	if (list.n && !bus_remove(machine_bus(m), list.f[choice % list.n], NULL) &&
	    bus_rescan(machine_bus(m), NULL, NULL) < 1)
		abort();
	pcim_list_free(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_FREE char *text = NULL;
	struct machine_error err;
	struct machine *m;
	int r = 0;

	if (!data || !size || size > MAX_SIZE || !harmless((const char *)data, size))
		return 0;
	text = malloc(size + 1);
	if (!text || machine_new(&m))
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	if (memchr("{[ \t\r\n", text[0], 6))
		r = machine_add_json(m, "input", text, size, &err);
	else
		add_specs(m, text);
	if (!r && !machine_start(m, &err))
		move(m, data[size - 1]);
	machine_free(m);
	return 0;
}
