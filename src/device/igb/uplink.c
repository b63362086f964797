/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between the switch and what is outside: frames to and from an uplink (device/net), its link, and
 * the record of what the switch carries.
 */
#include <errno.h>

#include "device/igb/priv.h"

_Static_assert(NETUP_FRAME_MAX == IGB_FRAME_MAX, "frames of an uplink");

static void receive(void *data, const struct netup_frame *frames, unsigned n)
{
	struct igb_frame in[NETUP_BATCH];

	for (unsigned i = 0; i < n; i++)
		in[i] = (struct igb_frame){ .data = frames[i].data, .len = frames[i].len };
	igb_switch(data, IGB_UPLINK, in, n, NULL);
}

static bool ready(void *data)
{
	return igb_backlogs_ready(data);
}

/* The cable of the PF's port. VFs are ports of the switch, which carries their frames anyway. */
static void link_changed(void *data, bool up)
{
	struct igb_card *card = data;

	pcif_lock(card->pf->f);
	igb_link_update(card->pf);
	igb_irq_update(card->pf);
	pcif_unlock(card->pf->f);
}

int igb_uplink_new(struct igb_card *card, const struct pcif_params *params,
		   struct pcif_reply_error *err)
{
	const struct netup_owner owner = { card, receive, link_changed, ready };
	const char *how = pcif_param(params, "uplink"), *pcap = pcif_param(params, "pcap");
	int ret = 0;

	if (how)
		ret = netup_new(how, &owner, &card->uplink, err);
	if (!ret && pcap)
		ret = netpcap_new(pcap, &card->pcap, err);
	return ret;
}

void igb_uplink_start(struct igb_card *card)
{
	char name[PCI_BDF_STRLEN];
	int ret = netpcap_start(card->pcap);

	if (!ret)
		ret = netup_start(card->uplink);
	if (ret)
		log_error("%s: the uplink's thread: %s; there is no network",
			  pcif_bdf_format(pcif_bdf(card->pf->f), name), strerror(-ret));
}

void igb_uplink_stop(struct igb_card *card)
{
	netup_stop(card->uplink);
}

void igb_uplink_free(struct igb_card *card)
{
	netup_free(card->uplink);
	netpcap_free(card->pcap);
}

void igb_uplink_send(struct igb_card *card, struct igb_frame *frames, unsigned n)
{
	bool any = false;

	for (unsigned i = 0; card->pcap && i < n; i++)
		if (!frames[i].own) {
			igb_frame_whole(&frames[i]);
			netpcap_record(card->pcap, frames[i].data, frames[i].len);
		}
	for (unsigned i = 0; card->uplink && i < n; i++) {
		if (!frames[i].to_uplink)
			continue;
		igb_frame_whole(&frames[i]);
		netup_send(card->uplink, frames[i].data, frames[i].len);
		any = true;
	}
	if (any)
		netup_flush(card->uplink);
}
