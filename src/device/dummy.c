// SPDX-License-Identifier: BSD-3-Clause
/*
 * dummy: a function that is there and does nothing, to fill a place in a topology: the host bridge,
 * the parts of a chipset, a graphics card. It has ids and a class, no BAR and no interrupt, so that
 * nothing in it can be used; what it does have is an isolation group.
 *
 * With the ids of a real machine's functions (lspci -nn) a machine file shows what that machine's
 * groups are, or would be if its ports had other services.
 */
#include <errno.h>

#include "device/device.h"

/* Names of lspci's for classes that stand on a board. */
static const struct class_name {
	const char *name;
	uint32_t code;
} classes[] = {
	{ "host-bridge", 0x060000 }, { "isa-bridge", 0x060100 }, { "sata", 0x010601 },
	{ "nvme", 0x010802 },	     { "ethernet", 0x020000 },	 { "wireless", 0x028000 },
	{ "vga", 0x030000 },	     { "display", 0x038000 },	 { "audio", 0x040300 },
	{ "serial", 0x070002 },	     { "usb", 0x0c0330 },	 { "smbus", 0x0c0500 },
	{ "signal", 0x118000 },
};

/* Exactly @digits hexadecimal digits, and nothing behind them but @end. */
static bool hex(const char *text, unsigned digits, char end, uint32_t *value)
{
	if (strspn(text, "0123456789abcdefABCDEF") != digits || text[digits] != end)
		return false;
	*value = (uint32_t)strtoul(text, NULL, 16);
	return true;
}

static int parse_class(const struct pcif_params *params, struct pcif_desc *desc,
		       struct pcif_reply_error *err)
{
	const char *text = pcif_param(params, "class");
	char names[192] = "";

	if (!text || hex(text, 6, 0, &desc->class_code))
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(classes); i++) {
		size_t n = strlen(names);

		if (!strcmp(classes[i].name, text)) {
			desc->class_code = classes[i].code;
			return 0;
		}
		snprintf(names + n, sizeof(names) - n, "%s%s", n ? ", " : "", classes[i].name);
	}
	return pcif_error(err, -EINVAL, "class=%.32s: give six hexadecimal digits, or one of %s",
			  text, names);
}

static int parse_ids(const struct pcif_params *params, const char *key, uint16_t *vendor,
		     uint16_t *device, struct pcif_reply_error *err)
{
	const char *text = pcif_param(params, key);
	uint32_t v, d;

	if (!text)
		return 0;
	if (!hex(text, 4, ':', &v) || !hex(text + 5, 4, 0, &d) || v == 0xffff)
		return pcif_error(err, -EINVAL,
				  "%s=%.32s: give vendor and device in hexadecimal, as lspci -nn "
				  "shows them: VVVV:DDDD",
				  key, text);
	*vendor = (uint16_t)v;
	*device = (uint16_t)d;
	return 0;
}

static int dummy_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
			void **state, struct pcif_reply_error *err)
{
	int rc;

	desc->vendor = 0x1234;
	desc->device = 0x5006;
	desc->class_code = 0xff0000;
	desc->pcie = true;
	desc->pm = true;
	rc = parse_class(params, desc, err);
	if (!rc)
		rc = parse_ids(params, "id", &desc->vendor, &desc->device, err);
	if (!rc)
		rc = parse_ids(params, "subsystem", &desc->subsystem_vendor,
			       &desc->subsystem_device, err);
	return rc;
}

static const struct pcif_option dummy_options[] = {
	{ "class", "NAME|CCSSPP  what it passes for: host-bridge, isa-bridge, sata, smbus, usb, "
		   "vga, ..., or a class code (default ff0000)" },
	{ "id", "VVVV:DDDD  vendor and device (default 1234:5006)" },
	{ "subsystem", "VVVV:DDDD  vendor and device of the board (default 0000:0000)" },
	{ NULL, NULL },
};

const struct pcif_model device_dummy = {
	.name = "dummy",
	.summary = "a function that does nothing and has a place, for topologies",
	.options = dummy_options,
	.create = dummy_create,
};
