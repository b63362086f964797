/* SPDX-License-Identifier: BSD-3-Clause */
/* What the machine's owner lets the VFs of a card do: all the same, or each its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "igb_client.h"

static const uint8_t stranger[6] = { 0x52, 0x54, 0, 9, 9, 9 };
static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static void options(void **state)
{
	static const struct {
		const char *key, *value, *word;
	} bad[] = {
		{ "vf_vlan", "4095", "vf_vlan=4095: give a number from 0 to 4094" },
		{ "vf_vlan", "1/2", "one for each of the 3" },
		{ "vf_vlan", "1/2/3/4", "one for each of the 3" },
		{ "vf_vlan", "1/2/", "vf_vlan=: give a number" },
		{ "vf_vlan", "1//3", "vf_vlan=: give a number" },
		{ "vf_vlan", "", "give a number" },
		{ "vf_vlan", "1/-2/3", "vf_vlan=-2: give a number" },
		{ "vf_vlan", "1/18446744073709551617/3", "give a number" },
		{ "vf_rate", "100001", "from 0 to 100000" },
		{ "vf_rate", "1/2/fast", "vf_rate=fast" },
		{ "vf_spoof_check", "on/off/maybe", "vf_spoof_check=maybe: give on or off" },
		{ "vf_trust", "yes", "give on or off" },
		{ "vf_mac", "52:54:00:12:34:56", "one for each of the 3" },
		{ "vf_mac", "52:54:00:12:34:56/52:54:00:12:34/52:54:00:12:34:58", "six bytes" },
		{ "vf_mac", "52:54:00:12:34:56/01:00:5e:00:00:01/52:54:00:12:34:58", "group" },
	};
	struct pci_bdf bdf = { 0, 0x65, 0, 0 };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct pcif_reply_error err = { "" };
		struct pcif_params *params;
		struct pcim *m;

		pcim_params_new(&params);
		pcim_params_set(params, "vfs", "3");
		pcim_params_set(params, bad[i].key, bad[i].value);
		pcim_new(&m);
		assert_int_equal(pcim_add(m, bdf, &device_igb, params, &err), -EINVAL);
		if (!strstr(err.text, bad[i].word))
			fail_msg("%s=%s: %s", bad[i].key, bad[i].value, err.text);
		pcim_free(m);
		pcim_params_free(params);
	}
}

static void start_all(struct card *c)
{
	for (unsigned i = 0; i < c->n_vfs; i++)
		nic_start(&c->vfs[i]);
	nic_start(&c->pf);
}

static uint32_t ask(struct nic *n, uint32_t message, uint32_t word1, uint32_t word2)
{
	reg_write(n, 0x800, message);
	reg_write(n, 0x804, word1);
	reg_write(n, 0x808, word2);
	reg_write(n, 0xc40, IGB_V2P_REQ);
	return reg_read(n, 0x800) & ~message;
}

#define YES (IGB_MSG_CTS | IGB_MSG_ACK)
#define NO (IGB_MSG_CTS | IGB_MSG_NACK)

/* A frame of @size bytes from @from, as @as; whether it came. */
static bool arrives(struct card *c, struct nic *from, struct nic *to, const uint8_t *dest,
		    const uint8_t *as)
{
	uint8_t frame[100], in[IGB_FRAME_MAX];

	frame_make(frame, sizeof(frame), dest, as, 0x88b5);
	nic_send(c, from, frame, sizeof(frame));
	return nic_receive(to, in, NULL) > 0;
}

static void addresses(void **state)
{
	static const uint8_t first[6] = { 0x02, 0, 0, 0, 0, 1 },
			     second[6] = { 0x02, 0, 0, 0, 0, 9 };
	struct card *c = card_new("vfs=2,vf_mac=02:00:00:00:00:01/02:00:00:00:00:09,"
				  "vf_trust=off/on",
				  2);
	struct nic *a = &c->vfs[0], *b = &c->vfs[1];

	start_all(c);
	assert_memory_equal(a->mac, first, 6);
	assert_memory_equal(b->mac, second, 6);
	assert_true(arrives(c, a, b, second, first));
	/* It is given: the VF keeps it, unless it is trusted. */
	assert_int_equal(ask(a, IGB_MSG_SET_MAC, 0x00005452, 0x0909), NO);
	assert_int_equal(ask(a, IGB_MSG_SET_MAC | IGB_MSG_MAC_ADD << 16, 0x00005452, 0x0909), NO);
	assert_int_equal(ask(a, IGB_MSG_SET_MAC, 0x00000002, 0x0100), YES);
	assert_false(arrives(c, b, a, stranger, second));
	assert_int_equal(ask(b, IGB_MSG_SET_MAC, 0x09005452, 0x0909), YES);
	assert_true(arrives(c, a, b, stranger, first));
	assert_false(arrives(c, a, b, second, first));
	card_free(c);
}

static void vlans_of_ports(void **state)
{
	struct card *c = card_new("vfs=4,vf_vlan=5/5/6/0", 4);
	struct nic *v = c->vfs;
	uint8_t in[IGB_FRAME_MAX];

	start_all(c);
	assert_true(arrives(c, &v[0], &v[1], v[1].mac, v[0].mac));
	assert_false(arrives(c, &v[0], &v[2], v[2].mac, v[0].mac));
	assert_false(arrives(c, &v[0], &v[3], v[3].mac, v[0].mac));
	assert_true(arrives(c, &v[3], &c->pf, c->pf.mac, v[3].mac));
	while (nic_receive(&c->pf, in, NULL))
		;
	assert_true(arrives(c, &v[0], &v[1], broadcast, v[0].mac));
	assert_int_equal(nic_receive(&v[2], in, NULL), 0);
	assert_int_equal(nic_receive(&v[3], in, NULL), 0);
	/* A VF cannot choose another; one without asks for what it likes. */
	assert_int_equal(ask(&v[0], IGB_MSG_SET_VLAN | 1 << 16, 6, 0), NO);
	assert_int_equal(ask(&v[3], IGB_MSG_SET_VLAN | 1 << 16, 6, 0), YES);
	assert_true(arrives(c, &v[2], &v[3], v[3].mac, v[2].mac));
	card_free(c);
}

/* A tag in the frame, or one that the card puts in. */
static bool tagged_arrives(struct card *c, struct nic *from, struct nic *to, unsigned vlan,
			   bool by_card)
{
	uint8_t frame[100], in[IGB_FRAME_MAX];

	frame_make(frame, sizeof(frame), to->mac, from->mac, by_card ? 0x88b5 : 0x8100);
	frame[14] = (uint8_t)(0xe0 | vlan >> 8);
	frame[15] = (uint8_t)vlan;
	if (by_card) {
		tx_context(from, vlan << 16 | 14 << 9, 0, 0);
		tx_desc(from, tx_buf(from, frame, 100), TX_DATA | IGB_TXD_EOP | IGB_TXD_VLE | 100,
			100 << 14);
		tx_ring_bell(from);
		card_pump(c);
	} else {
		nic_send(c, from, frame, sizeof(frame));
	}
	return nic_receive(to, in, NULL) > 0;
}

/* A VF sends on VLANs that it is on, as it sends from addresses that it has. */
static void spoof_check(void **state)
{
	struct card *c = card_new("vfs=3,vf_spoof_check=on/off/on", 3);
	struct nic *a = &c->vfs[0], *b = &c->vfs[1], *d = &c->vfs[2];

	start_all(c);
	assert_false(arrives(c, a, d, d->mac, stranger));
	assert_true(arrives(c, b, d, d->mac, stranger));
	assert_int_equal(a->fn->spoofed, 1);
	assert_int_equal(ask(d, IGB_MSG_SET_VLAN | 1 << 16, 0x107, 0), YES);
	assert_false(tagged_arrives(c, a, d, 0x107, false));
	assert_false(tagged_arrives(c, a, d, 0x107, true));
	assert_int_equal(a->fn->spoofed, 3);
	assert_true(tagged_arrives(c, b, d, 0x107, false));
	assert_true(tagged_arrives(c, b, d, 0x107, true));
	assert_int_equal(ask(a, IGB_MSG_SET_VLAN | 1 << 16, 0x107, 0), YES);
	assert_true(tagged_arrives(c, a, d, 0x107, false));
	assert_true(tagged_arrives(c, a, d, 0x107, true));
	assert_int_equal(ask(a, IGB_MSG_SET_VLAN, 0x107, 0), YES);
	assert_false(tagged_arrives(c, a, d, 0x107, true));
	/* 0 says a priority only. */
	assert_int_equal(ask(d, IGB_MSG_SET_VLAN | 1 << 16, 0, 0), YES);
	assert_true(tagged_arrives(c, a, d, 0, false));
	assert_int_equal(a->fn->spoofed, 4);
	assert_int_equal(b->fn->spoofed, 0);
	card_free(c);
}

static unsigned sent_at_once(struct card *c, struct nic *from, struct nic *to)
{
	uint8_t frame[1000], in[IGB_FRAME_MAX];
	uint64_t resume;
	unsigned n = 0;

	frame_make(frame, sizeof(frame), to->mac, from->mac, 0x88b5);
	for (unsigned i = 0; i < 60; i++)
		tx_desc(from, tx_buf(from, frame, 1000), TX_DATA | IGB_TXD_EOP | 1000, 1000 << 14);
	tx_ring_bell(from);
	for (unsigned i = 0; i < 20; i++)
		igb_step(&c->card->worker, true, &resume);
	while (nic_receive(to, in, NULL))
		n++;
	return n;
}

static void rates(void **state)
{
	struct card *c = card_new("vfs=3,vf_rate=1/0/100000", 3);

	start_all(c);
	assert_int_equal(sent_at_once(c, &c->vfs[1], &c->pf), 60);
	assert_int_equal(sent_at_once(c, &c->vfs[2], &c->vfs[1]), 60);
	assert_in_range(sent_at_once(c, &c->vfs[0], &c->vfs[1]), 1, 20);
	card_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options),	  cmocka_unit_test(addresses),
		cmocka_unit_test(vlans_of_ports), cmocka_unit_test(spoof_check),
		cmocka_unit_test(rates),
	};

	return cmocka_run_group_tests_name("igb_policy", tests, NULL, NULL);
}
