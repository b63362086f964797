/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The wire of the Intel 82576: bits of registers, descriptors, mailbox messages. Everything here is
 * what a driver reads or writes; nothing of the model's own state. Offsets of registers are in the
 * tables (regs_pf.c, regs_vf.c).
 *
 * Names are those of Intel's 82576 Gigabit Ethernet Controller Datasheet.
 */
#ifndef UVFIO_DEVICE_IGB_IGB_H
#define UVFIO_DEVICE_IGB_IGB_H

#include "base/base.h"

#define IGB_VENDOR 0x8086
#define IGB_DEVICE 0x10c9
#define IGB_VF_DEVICE 0x10ca

/* ------------------------------------------------------------------ device control (8.2) */

#define IGB_CTRL_FD BIT(0)
#define IGB_CTRL_GIO_MASTER_DISABLE BIT(2)
#define IGB_CTRL_SLU BIT(6)
#define IGB_CTRL_SPEED_1000 BIT(9)
#define IGB_CTRL_RST BIT(26)
#define IGB_CTRL_DEV_RST BIT(29)
#define IGB_CTRL_VME BIT(30)
#define IGB_CTRL_PHY_RST BIT(31)

#define IGB_STATUS_FD BIT(0)
#define IGB_STATUS_LU BIT(1)
#define IGB_STATUS_SPEED_1000 BIT(7)
#define IGB_STATUS_GIO_MASTER BIT(19)
#define IGB_STATUS_PF_RST_DONE BIT(21)

#define IGB_CTRL_EXT_PFRSTD BIT(14)
#define IGB_CTRL_EXT_IAME BIT(27)
#define IGB_CTRL_EXT_DRV_LOAD BIT(28)

#define IGB_EECD_REQ BIT(6)
#define IGB_EECD_GNT BIT(7)
#define IGB_EECD_PRES BIT(8)
#define IGB_EECD_AUTO_RD BIT(9)
#define IGB_EECD_SIZE_1K_WORDS (4u << 11)
#define IGB_EERD_START BIT(0)
#define IGB_EERD_DONE BIT(1)
#define IGB_NVM_WORDS 1024u

#define IGB_MDIC_REG(v) ((v) >> 16 & 31)
#define IGB_MDIC_PHY(v) ((v) >> 21 & 31)
#define IGB_MDIC_WRITE BIT(26)
#define IGB_MDIC_READ BIT(27)
#define IGB_MDIC_READY BIT(28)
#define IGB_MDIC_INT_EN BIT(29)
#define IGB_MDIC_ERROR BIT(30)

#define IGB_SWSM_SMBI BIT(0)

/* ------------------------------------------------------------------ interrupts (8.8) */

#define IGB_ICR_TXDW BIT(0)
#define IGB_ICR_LSC BIT(2)
#define IGB_ICR_RXDMT0 BIT(4)
#define IGB_ICR_RXMISS BIT(6)
#define IGB_ICR_RXDW BIT(7)
#define IGB_ICR_VMMB BIT(8)
#define IGB_ICR_MDAC BIT(9)
#define IGB_ICR_DRSTA BIT(30)
#define IGB_ICR_INTA BIT(31)

#define IGB_EICR_OTHER BIT(31)
#define IGB_EICR_MASK 0x01ffffffu /* bits of MSI-X vectors */

#define IGB_GPIE_NSICR BIT(0)
#define IGB_GPIE_MULTIPLE_MSIX BIT(4)
#define IGB_GPIE_EIAME BIT(30)

#define IGB_IVAR_VALID 0x80u
#define IGB_EITR_INTERVAL(v) ((v) >> 2 & 0x1fff) /* microseconds */

/* ------------------------------------------------------------------ receive (8.10) */

#define IGB_RCTL_EN BIT(1)
#define IGB_RCTL_UPE BIT(3)
#define IGB_RCTL_MPE BIT(4)
#define IGB_RCTL_LPE BIT(5)
#define IGB_RCTL_LBM(v) ((v) >> 6 & 3)
#define IGB_RCTL_MO(v) ((v) >> 12 & 3)
#define IGB_RCTL_BAM BIT(15)
#define IGB_RCTL_BSIZE(v) ((v) >> 16 & 3)
#define IGB_RCTL_VFE BIT(18)
#define IGB_RCTL_SECRC BIT(26)

#define IGB_SRRCTL_BSIZEPACKET(v) (((v)&0x7f) << 10)
#define IGB_SRRCTL_BSIZEHEADER(v) (((v) >> 8 & 0x3f) << 6)
#define IGB_SRRCTL_DESCTYPE(v) ((v) >> 25 & 7)
enum igb_desctype {
	IGB_DESC_LEGACY = 0,
	IGB_DESC_ONE_BUFFER = 1,
	IGB_DESC_SPLIT = 2,
	IGB_DESC_SPLIT_ALWAYS = 5,
};

#define IGB_QUEUE_ENABLE BIT(25) /* RXDCTL, TXDCTL */

#define IGB_RXCSUM_PCSS(v) ((v)&0xff)
#define IGB_RXCSUM_IPOFL BIT(8)
#define IGB_RXCSUM_TUOFL BIT(9)
#define IGB_RXCSUM_PCSD BIT(13)

#define IGB_MRQC_MODE(v) ((v)&7)
#define IGB_MRQC_RSS 2
#define IGB_MRQC_VMDQ 3
#define IGB_MRQC_VMDQ_RSS 5
#define IGB_MRQC_DEFAULT_QUEUE(v) ((v) >> 3 & 7)
enum igb_rss_field { /* bits of MRQC */
		     IGB_RSS_TCP4 = 16,
		     IGB_RSS_IP4 = 17,
		     IGB_RSS_TCP6_EX = 18,
		     IGB_RSS_IP6_EX = 19,
		     IGB_RSS_IP6 = 20,
		     IGB_RSS_TCP6 = 21,
		     IGB_RSS_UDP4 = 22,
		     IGB_RSS_UDP6 = 23,
		     IGB_RSS_UDP6_EX = 24,
};

#define IGB_RAH_AV BIT(31)
#define IGB_RAH_POOLS(v) ((v) >> 18 & 0xff)

#define IGB_VT_CTL_DEFAULT_POOL(v) ((v) >> 7 & 7)
#define IGB_VT_CTL_NO_DEFAULT BIT(29)
#define IGB_VT_CTL_REPLICATE BIT(30)

#define IGB_VMOLR_RLPML(v) ((v)&0x3fff)
#define IGB_VMOLR_LPE BIT(16)
#define IGB_VMOLR_RSSE BIT(17)
#define IGB_VMOLR_AUPE BIT(24)
#define IGB_VMOLR_ROMPE BIT(25)
#define IGB_VMOLR_ROPE BIT(26)
#define IGB_VMOLR_BAM BIT(27)
#define IGB_VMOLR_MPME BIT(28)
#define IGB_VMOLR_STRVLAN BIT(30)

#define IGB_VLVF_ID(v) ((v)&0xfff)
#define IGB_VLVF_POOLS(v) ((v) >> 12 & 0xff)
#define IGB_VLVF_ENABLE BIT(31)

#define IGB_VMVIR_ALWAYS BIT(30)
#define IGB_VMVIR_NEVER BIT(31)

#define IGB_DTXSWC_LOOPBACK BIT(31)

struct igb_rx_desc { /* legacy and advanced, as software and as hardware writes it */
	le64 lo, hi;
};
_Static_assert(sizeof(struct igb_rx_desc) == 16, "receive descriptor");

/* Status of both kinds; in the advanced one, of status_error. */
#define IGB_RXD_DD BIT(0)
#define IGB_RXD_EOP BIT(1)
#define IGB_RXD_VP BIT(3)
#define IGB_RXD_UDPCS BIT(4)
#define IGB_RXD_L4CS BIT(5)
#define IGB_RXD_IPCS BIT(6)
#define IGB_RXD_PIF BIT(7)
#define IGB_RXD_LB BIT(18) /* came from a function of this card */
#define IGB_RXD_L4E BIT(29)
#define IGB_RXD_IPE BIT(30)
/* Errors of the legacy descriptor. */
#define IGB_RXD_LEGACY_L4E BIT(5)
#define IGB_RXD_LEGACY_IPE BIT(6)
/* Packet types of the advanced one. */
#define IGB_RXD_TYPE_IP4 BIT(4)
#define IGB_RXD_TYPE_IP4E BIT(5)
#define IGB_RXD_TYPE_IP6 BIT(6)
#define IGB_RXD_TYPE_IP6E BIT(7)
#define IGB_RXD_TYPE_TCP BIT(8)
#define IGB_RXD_TYPE_UDP BIT(9)
#define IGB_RXD_TYPE_SCTP BIT(10)
#define IGB_RXD_SPH BIT(15) /* of hdr_info: the header was split */

/* ------------------------------------------------------------------ transmit (7.2.2, 8.12) */

#define IGB_TCTL_EN BIT(1)
#define IGB_TDWBA_EN BIT(0)

struct igb_tx_desc {
	le64 addr;
	le32 cmd; /* length, type and command */
	le32 olinfo;
};
_Static_assert(sizeof(struct igb_tx_desc) == 16, "transmit descriptor");

#define IGB_TXD_LEN(cmd) ((cmd)&0xffff)
#define IGB_TXD_EOP BIT(24)
#define IGB_TXD_IFCS BIT(25)
#define IGB_TXD_IC BIT(26) /* legacy: insert a checksum */
#define IGB_TXD_RS BIT(27)
#define IGB_TXD_DEXT BIT(29)
#define IGB_TXD_VLE BIT(30)
#define IGB_TXD_TSE BIT(31) /* advanced */
#define IGB_TXD_DTYP(cmd) ((cmd) >> 20 & 15)
#define IGB_TXD_DTYP_MASK (15u << 20)
#define IGB_TXD_DTYP_DATA (3u << 20)
#define IGB_TXD_CONTEXT 2
#define IGB_TXD_DATA 3
#define IGB_TXD_LEGACY_CSO(cmd) ((cmd) >> 16 & 0xff)
#define IGB_TXD_LEGACY_CSS(ol) ((ol) >> 8 & 0xff)
#define IGB_TXD_LEGACY_VLAN(ol) ((ol) >> 16)
#define IGB_TXD_DD BIT(0)
#define IGB_TXD_IDX(ol) ((ol) >> 4 & 7)
#define IGB_TXD_CC BIT(7)
#define IGB_TXD_IXSM BIT(8)
#define IGB_TXD_TXSM BIT(9)
#define IGB_TXD_PAYLEN(ol) ((ol) >> 14)

struct igb_tx_context {
	le32 lens; /* IPLEN 8:0, MACLEN 15:9, VLAN 31:16 */
	le32 seed;
	le32 type; /* TUCMD from bit 9 */
	le32 mss;  /* IDX 6:4, L4LEN 15:8, MSS 31:16 */
};
_Static_assert(sizeof(struct igb_tx_context) == 16, "context descriptor");

#define IGB_CTXT_IPLEN(v) ((v)&0x1ff)
#define IGB_CTXT_MACLEN(v) ((v) >> 9 & 0x7f)
#define IGB_CTXT_VLAN(v) ((v) >> 16)
#define IGB_CTXT_IP4 BIT(10)
#define IGB_CTXT_L4T(v) ((v) >> 11 & 3) /* 0 UDP, 1 TCP, 2 SCTP */
#define IGB_CTXT_IDX(v) ((v) >> 4 & 7)
#define IGB_CTXT_L4LEN(v) ((v) >> 8 & 0xff)
#define IGB_CTXT_MSS(v) ((v) >> 16)
#define IGB_L4T_UDP 0
#define IGB_L4T_TCP 1
#define IGB_L4T_SCTP 2

/* ------------------------------------------------------------------ mailbox (8.14) */

#define IGB_V2P_REQ BIT(0)
#define IGB_V2P_ACK BIT(1)
#define IGB_V2P_VFU BIT(2)
#define IGB_V2P_PFU BIT(3)
#define IGB_V2P_PFSTS BIT(4)
#define IGB_V2P_PFACK BIT(5)
#define IGB_V2P_RSTI BIT(6)
#define IGB_V2P_RSTD BIT(7)
#define IGB_V2P_READ_CLEARS (IGB_V2P_PFSTS | IGB_V2P_PFACK | IGB_V2P_RSTD)

#define IGB_P2V_STS BIT(0)
#define IGB_P2V_ACK BIT(1)
#define IGB_P2V_VFU BIT(2)
#define IGB_P2V_PFU BIT(3)
#define IGB_P2V_RVFU BIT(4)

#define IGB_MAIL_WORDS 16
/* A VF's message: what it asks in bits 15:0, an argument in 23:16; the PF's answer adds these. */
#define IGB_MSG_ACK BIT(31)
#define IGB_MSG_NACK BIT(30)
#define IGB_MSG_CTS BIT(29) /* clear to send: the PF knows the VF */
#define IGB_MSG_INFO(v) ((v) >> 16 & 0xff)
enum igb_message {
	IGB_MSG_RESET = 1,
	IGB_MSG_SET_MAC = 2,
	IGB_MSG_SET_MULTICAST = 3,
	IGB_MSG_SET_VLAN = 4,
	IGB_MSG_SET_LPE = 5,
	IGB_MSG_SET_PROMISC = 6,
	IGB_MSG_CONTROL = 0x100, /* the PF's own */
};
#define IGB_MSG_MAC_CLEAR 1 /* infos of SET_MAC */
#define IGB_MSG_MAC_ADD 2
#define IGB_MSG_PROMISC_MULTICAST 2 /* info of SET_PROMISC */

#endif
