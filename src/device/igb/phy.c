/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a driver asks before it sends anything: the NVM with the MAC address, the PHY behind MDIC,
 * and the link.
 */
#include "device/igb/priv.h"

#define PHY_ADDRESS 1u
/* Registers of every PHY, and of this one (page 0). */
enum { PHY_CONTROL, PHY_STATUS, PHY_ID1, PHY_ID2, PHY_ADV, PHY_LPA, PHY_EXPANSION };
enum { PHY_1000_CONTROL = 9, PHY_1000_STATUS = 10, PHY_EXT_STATUS = 15 };
enum { PHY_PORT_STATUS = 17, PHY_PORT_CONTROL, PHY_LINK_HEALTH, PHY_PAGE = 31 };
#define CONTROL_RESET 0x8000u
#define CONTROL_LOOPBACK 0x4000u
#define CONTROL_POWER_DOWN 0x0800u
#define CONTROL_RESTART 0x0200u
#define STATUS_LINK 0x0004u
#define STATUS_NEGOTIATED 0x0020u
#define PORT_STATUS_1000 0xc000u
#define PORT_STATUS_LINK 0x0400u
#define PORT_STATUS_FD 0x0200u
/* Pages of the cable's gain, of which drivers make its length; register 17 of each. */
#define AGC_REG 17u
#define AGC_VALUE (10u << 9)

#define NVM_MAC 0x00
#define NVM_COMPAT 0x03
#define NVM_ID_LED 0x04
#define NVM_VERSION 0x05
#define NVM_PBA 0x08
#define NVM_CONTROL2 0x0f
#define NVM_DEVICE 0x0d
#define NVM_CONTROL3 0x24
#define NVM_ALT_MAC 0x37
#define NVM_CHECKSUM 0x3f
#define NVM_SUM 0xbaba

void igb_nvm_init(struct igb_card *card)
{
	uint16_t sum = 0;

	memset(card->nvm, 0xff, sizeof(card->nvm));
	memset(card->nvm, 0, (NVM_CHECKSUM + 1) * sizeof(card->nvm[0]));
	for (unsigned i = 0; i < 3; i++)
		card->nvm[NVM_MAC + i] = (uint16_t)(card->mac[2 * i] | card->mac[2 * i + 1] << 8);
	card->nvm[NVM_VERSION] = 0x1082;
	card->nvm[NVM_PBA] = 0xffff;
	card->nvm[NVM_PBA + 1] = 0xffff;
	card->nvm[NVM_DEVICE] = IGB_DEVICE;
	card->nvm[NVM_DEVICE + 1] = IGB_VENDOR;
	card->nvm[NVM_ALT_MAC] = 0xffff;
	for (unsigned i = 0; i < NVM_CHECKSUM; i++)
		sum = (uint16_t)(sum + card->nvm[i]);
	card->nvm[NVM_CHECKSUM] = (uint16_t)(NVM_SUM - sum);
}

/* Whoever asks for the pins of the NVM has them at once. There is nothing behind them. */
void igb_write_eecd(void *state, unsigned index, uint32_t value)
{
	value &= ~IGB_EECD_GNT;
	if (value & IGB_EECD_REQ)
		value |= IGB_EECD_GNT;
	igb_set(state, IGB_R_EECD, 0, value);
}

void igb_write_eerd(void *state, unsigned index, uint32_t value)
{
	struct igb_fn *fn = state;
	uint32_t word = value >> 2 & 0x3fff;

	if (!(value & IGB_EERD_START))
		return;
	igb_set(fn, IGB_R_EERD, 0,
		(uint32_t)fn->card->nvm[word % IGB_NVM_WORDS] << 16 | word << 2 | IGB_EERD_DONE);
}

/* ------------------------------------------------------------------ the PHY */

void igb_phy_reset(struct igb_card *card)
{
	memset(card->phy, 0, sizeof(card->phy));
	card->phy_page = 0;
	card->phy[PHY_CONTROL] = 0x1140; /* negotiates, 1000 Mb/s, full duplex */
	card->phy[PHY_STATUS] = 0x7949;
	card->phy[PHY_ID1] = 0x02a8; /* the 82576's own PHY */
	card->phy[PHY_ID2] = 0x0391;
	card->phy[PHY_ADV] = 0x0de1;
	card->phy[PHY_LPA] = 0x45e1;
	card->phy[PHY_EXPANSION] = 0x000f;
	card->phy[PHY_1000_CONTROL] = 0x0e00;
	card->phy[PHY_1000_STATUS] = 0x3c00;
	card->phy[PHY_EXT_STATUS] = 0x3000;
}

bool igb_phy_loopback(const struct igb_card *card)
{
	return card->phy[PHY_CONTROL] & CONTROL_LOOPBACK;
}

/* Takes the link up or down as CTRL, the PHY and the uplink say, and tells the driver if it
 * changed. */
void igb_link_update(struct igb_fn *pf)
{
	struct igb_card *card = pf->card;
	bool up = igb_get(pf, IGB_R_CTRL, 0) & IGB_CTRL_SLU &&
		  !(card->phy[PHY_CONTROL] & CONTROL_POWER_DOWN) && netup_link(card->uplink);
	uint32_t status = igb_get(pf, IGB_R_STATUS, 0) & ~(IGB_STATUS_LU | IGB_STATUS_GIO_MASTER);

	if (!(igb_get(pf, IGB_R_CTRL, 0) & IGB_CTRL_GIO_MASTER_DISABLE))
		status |= IGB_STATUS_GIO_MASTER;
	igb_set(pf, IGB_R_STATUS, 0, status | (up ? IGB_STATUS_LU : 0));
	if (up == card->link)
		return;
	card->link = up;
	igb_filter_update(pf);
	igb_irq_cause(pf, IGB_ICR_LSC);
}

static uint16_t phy_read(const struct igb_card *card, unsigned reg)
{
	uint16_t link = card->link ? 0xffff : 0;

	if (card->phy_page && reg >= 16 && reg != PHY_PAGE)
		return reg == AGC_REG ? AGC_VALUE : 0;
	switch (reg) {
	case PHY_STATUS:
		return (uint16_t)(card->phy[reg] | ((STATUS_LINK | STATUS_NEGOTIATED) & link));
	case PHY_PORT_STATUS:
		return (PORT_STATUS_1000 | PORT_STATUS_LINK | PORT_STATUS_FD) & link;
	case PHY_PAGE:
		return card->phy_page;
	default:
		return card->phy[reg];
	}
}

static void phy_write(struct igb_fn *pf, unsigned reg, uint16_t value)
{
	struct igb_card *card = pf->card;

	if (reg == PHY_PAGE) {
		card->phy_page = value;
		return;
	}
	if (reg == PHY_STATUS || reg == PHY_ID1 || reg == PHY_ID2 || reg == PHY_LPA ||
	    reg == PHY_1000_STATUS || reg == PHY_EXT_STATUS || (card->phy_page && reg >= 16))
		return;
	if (reg == PHY_CONTROL && value & CONTROL_RESET) {
		igb_phy_reset(card);
	} else if (reg == PHY_CONTROL && value & CONTROL_RESTART && card->link) {
		/* The link goes and comes back. */
		card->phy[reg] = value & (uint16_t)~CONTROL_RESTART;
		igb_irq_cause(pf, IGB_ICR_LSC);
	} else {
		card->phy[reg] = value & (uint16_t) ~(reg == PHY_CONTROL ? CONTROL_RESTART : 0);
	}
	igb_link_update(pf);
}

void igb_write_mdic(void *state, unsigned index, uint32_t value)
{
	struct igb_fn *pf = state;
	unsigned reg = IGB_MDIC_REG(value);

	value &= ~(IGB_MDIC_READY | IGB_MDIC_ERROR);
	if (IGB_MDIC_PHY(value) != PHY_ADDRESS || !(value & (IGB_MDIC_READ | IGB_MDIC_WRITE)))
		value |= IGB_MDIC_ERROR;
	else if (value & IGB_MDIC_WRITE)
		phy_write(pf, reg, (uint16_t)value);
	else
		value = (value & ~0xffffu) | phy_read(pf->card, reg);
	igb_set(pf, IGB_R_MDIC, 0, value | IGB_MDIC_READY);
	if (value & IGB_MDIC_INT_EN)
		igb_irq_cause(pf, IGB_ICR_MDAC);
	igb_irq_update(pf);
}
