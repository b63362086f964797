/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the machine's owner says of a card. What a VF may do is what an administrator tells the
 * driver of a PF by `ip link set DEV vf N`: one value for all VFs, or one for each.
 */
#include <errno.h>

#include "device/igb/priv.h"

const struct pcif_option igb_options[] = {
	{ "mac", "XX:XX:XX:XX:XX:XX  address of the PF; VFs have the next ones (default: made from "
		 "the bus address)" },
	{ "mmio", "trap|queues|shared  what clients may map: nothing, the queues' registers (the "
		  "default), all" },
	{ "vfs", "N  virtual functions that it can have, 0 to 7 (default 0)" },
	{ "vf_mac", "MAC[/MAC...]  address of each VF, which it cannot change then" },
	{ "vf_vlan",
	  "N[/N...]  VLAN that all VFs are on, or each, 1 to 4094; they do not see it (default 0: "
	  "none)" },
	{ "vf_rate", "N[/N...]  megabits a second that a VF may send (default 0: no limit)" },
	{ "vf_spoof_check",
	  "on|off[/...]  whether a VF may send from its own addresses and VLANs only (on)" },
	{ "vf_trust",
	  "on|off[/...]  whether a VF may listen to everything and change its address (off)" },
	{ "uplink",
	  "none|user|socket:PATH|tap:NAME|pcap:FILE  where frames for nobody on the card go "
	  "(none)" },
	{ "pcap", "FILE  record what the switch carries" },
	{ NULL, NULL },
};

/* ------------------------------------------------------------------ values */

static bool read_mac(const char *text, uint8_t mac[6])
{
	unsigned m[6];
	int end = 0;

	if (strlen(text) != 17 || strspn(text, "0123456789abcdefABCDEF:") != 17 ||
	    sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5],
		   &end) != 6 ||
	    end != 17)
		return false;
	for (unsigned i = 0; i < 6; i++)
		mac[i] = (uint8_t)m[i];
	return true;
}

static int parse_mac(const char *key, const char *text, uint8_t mac[6],
		     struct pcif_reply_error *err)
{
	if (!read_mac(text, mac))
		return pcif_error(err, -EINVAL, "%s=%s: give six bytes, like 52:54:00:12:34:56",
				  key, text);
	if (mac[0] & 1 || !memcmp(mac, "\0\0\0\0\0\0", 6))
		return pcif_error(err, -EINVAL,
				  "%s=%s: a card's address is not zero, nor a group's (the first "
				  "byte is even)",
				  key, text);
	return 0;
}

static int parse_number(const char *key, const char *text, unsigned max, unsigned *value,
			struct pcif_reply_error *err)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || n > max)
		return pcif_error(err, -EINVAL, "%s=%s: give a number from 0 to %u", key, text,
				  max);
	*value = (unsigned)n;
	return 0;
}

static int parse_switch(const char *key, const char *text, bool *on, struct pcif_reply_error *err)
{
	*on = !strcmp(text, "on");
	if (!*on && strcmp(text, "off"))
		return pcif_error(err, -EINVAL, "%s=%s: give on or off", key, text);
	return 0;
}

/* ------------------------------------------------------------------ of a VF */

static int vf_mac(struct igb_policy *p, const char *text, struct pcif_reply_error *err)
{
	p->set_mac = true;
	return parse_mac("vf_mac", text, p->mac, err);
}

static int vf_vlan(struct igb_policy *p, const char *text, struct pcif_reply_error *err)
{
	unsigned vlan = 0;
	int ret = parse_number("vf_vlan", text, 4094, &vlan, err);

	p->vlan = (uint16_t)vlan;
	return ret;
}

static int vf_rate(struct igb_policy *p, const char *text, struct pcif_reply_error *err)
{
	unsigned rate = 0;
	int ret = parse_number("vf_rate", text, 100000, &rate, err);

	p->rate = rate * 125000ull;
	return ret;
}

static int vf_spoof_check(struct igb_policy *p, const char *text, struct pcif_reply_error *err)
{
	return parse_switch("vf_spoof_check", text, &p->spoof_check, err);
}

static int vf_trust(struct igb_policy *p, const char *text, struct pcif_reply_error *err)
{
	return parse_switch("vf_trust", text, &p->trust, err);
}

static const struct vf_option {
	const char *key;
	bool own; /* no two VFs have the same */
	int (*set)(struct igb_policy *p, const char *text, struct pcif_reply_error *err);
} vf_options[] = {
	{ "vf_mac", true, vf_mac },	 { "vf_vlan", false, vf_vlan },
	{ "vf_rate", false, vf_rate },	 { "vf_spoof_check", false, vf_spoof_check },
	{ "vf_trust", false, vf_trust },
};

static unsigned count_pieces(const char *value)
{
	unsigned n = 1;

	for (; *value; value++)
		n += *value == '/';
	return n;
}

static int set_each(struct igb_card *card, const struct vf_option *o, const char *value,
		    struct pcif_reply_error *err)
{
	unsigned n = count_pieces(value);
	const char *p = value;
	int ret = 0;

	if (n != card->n_vfs && (n > 1 || o->own))
		return pcif_error(err, -EINVAL,
				  "%s=%s: give %sone for each of the %u VFs (vfs=), with / "
				  "between them",
				  o->key, value, o->own ? "" : "one value, or ", card->n_vfs);
	for (unsigned i = 0; i < IGB_VFS && !ret; i++) {
		char piece[64];
		size_t len = strcspn(p, "/");

		snprintf(piece, sizeof(piece), "%.*s", (int)len, p);
		ret = o->set(&card->vf_policies[i], piece, err);
		if (n > 1 && p[len])
			p += len + 1;
	}
	return ret;
}

/* As the driver of the PF has it at first. The addresses are those after the PF's, locally
 * administered. */
static void vf_defaults(struct igb_card *card)
{
	for (unsigned i = 0; i < IGB_VFS; i++) {
		struct igb_policy *p = &card->vf_policies[i];

		*p = (struct igb_policy){ .spoof_check = true };
		memcpy(p->mac, card->mac, 6);
		p->mac[0] |= 2;
		p->mac[5] = (uint8_t)(card->mac[5] + i + 1);
	}
}

/* ------------------------------------------------------------------ of the card */

/* Locally administered, and the same for the same address on the bus. */
static void default_mac(struct igb_card *card, struct pcif *f)
{
	struct pci_bdf bdf = pcif_bdf(f);

	card->mac[0] = 0x02;
	card->mac[1] = 0x75;
	card->mac[2] = (uint8_t)(bdf.domain ^ 0x66);
	card->mac[3] = bdf.bus;
	card->mac[4] = (uint8_t)(bdf.dev << 3 | bdf.fn);
	card->mac[5] = 0;
}

int igb_options_parse(struct igb_card *card, struct pcif *f, const struct pcif_params *params,
		      struct pcif_reply_error *err)
{
	static const char *const ways[] = { "trap", "queues", "shared", NULL };
	unsigned mmio = IGB_MMIO_QUEUES;
	const char *mac = pcif_param(params, "mac");
	int ret;

	default_mac(card, f);
	ret = mac ? parse_mac("mac", mac, card->mac, err) : 0;
	if (ret || (ret = pcif_param_choice(params, "mmio", ways, &mmio, err)) ||
	    (ret = pcif_param_number(params, "vfs", 0, IGB_VFS, &card->n_vfs, err)))
		return ret;
	card->mmio = mmio;
	vf_defaults(card);
	for (unsigned i = 0; i < ARRAY_SIZE(vf_options) && !ret; i++) {
		const char *value = pcif_param(params, vf_options[i].key);

		if (value)
			ret = set_each(card, &vf_options[i], value, err);
	}
	return ret;
}
