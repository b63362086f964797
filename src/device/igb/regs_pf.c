/* SPDX-License-Identifier: BSD-3-Clause */
/* The registers of the physical function; docs/igb.md says what each block does. */
#include "device/igb/priv.h"

#define RW .kind = PCIF_REG_PLAIN, .wmask = 0xffffffffu
#define PLAIN .kind = PCIF_REG_PLAIN
#define RO .kind = PCIF_REG_STATUS
#define COMMAND .kind = PCIF_REG_MAILBOX
#define ARRAY(n, step) .count = n, .stride = step
#define QUEUE ARRAY(IGB_QUEUES, 0x40), .write = igb_write_queue
#define FILTER .write = igb_write_filter

/* Queues 0 to 3 are at 0x2800 and 0x3800 too, where the 82575 has them. */
#define ALIAS(reg) [IGB_R_ALIAS + (reg)-IGB_R_RDBAL]
#define FOUR ARRAY(4, 0x100), .write = igb_write_alias

static void write_ctrl(void *state, unsigned index, uint32_t value)
{
	struct igb_fn *fn = state;

	if (value & (IGB_CTRL_RST | IGB_CTRL_DEV_RST)) {
		igb_fn_reset(fn, true);
		return;
	}
	if (value & IGB_CTRL_PHY_RST)
		igb_phy_reset(fn->card);
	value &= ~IGB_CTRL_PHY_RST;
	igb_set(fn, IGB_R_CTRL, 0, value);
	igb_set(fn, IGB_R_CTRL_DUP, 0, value);
	igb_link_update(fn);
	igb_irq_update(fn);
}

/* Buffers of legacy descriptors have their size from here. */
static void write_rctl(void *state, unsigned index, uint32_t value)
{
	struct igb_fn *fn = state;

	for (unsigned i = 0; i < fn->n_queues; i++)
		igb_rx_changed(fn, i);
	igb_filter_update(fn);
}

/* What waited for the transmitter goes now. */
static void write_tctl(void *state, unsigned index, uint32_t value)
{
	struct igb_fn *fn = state;

	if (value & IGB_TCTL_EN && fn->tx_pending && !fn->in_worker)
		igb_kick(fn);
}

/* Reading takes the semaphore: the reader finds what was there before. */
static uint32_t read_swsm(void *state, unsigned index)
{
	uint32_t value = igb_get(state, IGB_R_SWSM, 0);

	igb_set(state, IGB_R_SWSM, 0, value | IGB_SWSM_SMBI);
	return value;
}

static uint32_t read_frtimer(void *state, unsigned index)
{
	return (uint32_t)(time_mono_ns() / 1000);
}

static uint32_t read_and_clear(struct igb_fn *fn, unsigned reg)
{
	uint32_t value = igb_get(fn, reg, 0);

	igb_set(fn, reg, 0, 0);
	return value;
}

static uint32_t read_wvbr(void *state, unsigned index)
{
	return read_and_clear(state, IGB_R_WVBR);
}

const struct pcif_reg igb_pf_regs[IGB_N_PF_REGS] = {
	[IGB_R_CTRL] = { "CTRL", 0x0, RW, .reset = 0x00000241, .write = write_ctrl },
	[IGB_R_CTRL_DUP] = { "CTRL_DUP", 0x4, RW, .reset = 0x00000241, .write = write_ctrl },
	[IGB_R_STATUS] = { "STATUS", 0x8, RO, .reset = 0x00280081 },
	[IGB_R_EECD] = { "EECD", 0x10, PLAIN, .wmask = 0x4f,
			 .reset = IGB_EECD_PRES | IGB_EECD_AUTO_RD | IGB_EECD_SIZE_1K_WORDS,
			 .write = igb_write_eecd },
	[IGB_R_EERD] = { "EERD", 0x14, RW, .reset = IGB_EERD_DONE, .write = igb_write_eerd },
	[IGB_R_CTRL_EXT] = { "CTRL_EXT", 0x18, RW, FILTER },
	[IGB_R_FLA] = { "FLA", 0x1c, RW },
	[IGB_R_MDIC] = { "MDIC", 0x20, RW, .reset = IGB_MDIC_READY, .write = igb_write_mdic },
	[IGB_R_SCTL] = { "SCTL", 0x24, RW },
	[IGB_R_FCAL] = { "FCAL", 0x28, RW, .reset = 0x00c28001 },
	[IGB_R_FCAH] = { "FCAH", 0x2c, PLAIN, .wmask = 0xffff, .reset = 0x0100 },
	[IGB_R_FCT] = { "FCT", 0x30, PLAIN, .wmask = 0xffff, .reset = 0x8808 },
	[IGB_R_CONNSW] = { "CONNSW", 0x34, RW },
	[IGB_R_VET] = { "VET", 0x38, RW, .reset = 0x81008100 },
	[IGB_R_TSSDP] = { "TSSDP", 0x3c, RW },
	[IGB_R_ICR] = { "ICR", 0xc0, COMMAND, .write = igb_write_icr, .read = igb_read_icr },
	[IGB_R_ITR] = { "ITR", 0xc4, RW },
	[IGB_R_ICS] = { "ICS", 0xc8, COMMAND, .write = igb_write_ics },
	[IGB_R_IMS] = { "IMS", 0xd0, COMMAND, .write = igb_write_ims, .read = igb_read_ims },
	[IGB_R_IMC] = { "IMC", 0xd8, COMMAND, .write = igb_write_imc },
	[IGB_R_IAM] = { "IAM", 0xe0, COMMAND, .write = igb_write_iam, .read = igb_read_iam },
	[IGB_R_ICR_B] = { "ICR", 0x1500, COMMAND, .write = igb_write_icr, .read = igb_read_icr },
	[IGB_R_ICS_B] = { "ICS", 0x1504, COMMAND, .write = igb_write_ics },
	[IGB_R_IMS_B] = { "IMS", 0x1508, COMMAND, .write = igb_write_ims, .read = igb_read_ims },
	[IGB_R_IMC_B] = { "IMC", 0x150c, COMMAND, .write = igb_write_imc },
	[IGB_R_IAM_B] = { "IAM", 0x1510, COMMAND, .write = igb_write_iam, .read = igb_read_iam },
	[IGB_R_GPIE] = { "GPIE", 0x1514, RW },
	[IGB_R_EICS] = { "EICS", 0x1520, COMMAND, .write = igb_write_eics },
	[IGB_R_EIMS] = { "EIMS", 0x1524, COMMAND, .write = igb_write_eims, .read = igb_read_eims },
	[IGB_R_EIMC] = { "EIMC", 0x1528, COMMAND, .write = igb_write_eimc },
	[IGB_R_EIAC] = { "EIAC", 0x152c, PLAIN, .wmask = IGB_EICR_MASK },
	[IGB_R_EIAM] = { "EIAM", 0x1530, RW },
	[IGB_R_EICR] = { "EICR", 0x1580, COMMAND, .write = igb_write_eicr, .read = igb_read_eicr },
	[IGB_R_MSIXBM] = { "MSIXBM", 0x1600, RW, ARRAY(10, 4) },
	[IGB_R_EITR] = { "EITR", 0x1680, RW, ARRAY(25, 4) },
	[IGB_R_IVAR] = { "IVAR", 0x1700, RW, ARRAY(8, 4) },
	[IGB_R_IVAR_MISC] = { "IVAR_MISC", 0x1740, RW },

	[IGB_R_RCTL] = { "RCTL", 0x100, PLAIN, .wmask = 0x07fff0fe, .write = write_rctl },
	[IGB_R_FCTTV] = { "FCTTV", 0x170, PLAIN, .wmask = 0xffff },
	[IGB_R_TXCW] = { "TXCW", 0x178, RW },
	[IGB_R_TCTL] = { "TCTL", 0x400, RW, .write = write_tctl },
	[IGB_R_TCTL_EXT] = { "TCTL_EXT", 0x404, RW },
	[IGB_R_TIPG] = { "TIPG", 0x410, PLAIN, .wmask = 0x3fffffff, .reset = 0x00602006 },
	[IGB_R_AIT] = { "AIT", 0x458, RW },

	[IGB_R_VMBMEM] = { "VMBMEM", 0x800, RW, ARRAY(8 * IGB_MAIL_WORDS, 4) },
	[IGB_R_P2VMAILBOX] = { "P2VMAILBOX", 0xc00, PLAIN, ARRAY(8, 4) },
	[IGB_R_MBVFICR] = { "MBVFICR", 0xc80, PLAIN, .w1c = 0x00ff00ff },
	[IGB_R_MBVFIMR] = { "MBVFIMR", 0xc84, PLAIN, .wmask = 0xff },
	[IGB_R_VFLRE] = { "VFLRE", 0xc88, PLAIN, .w1c = 0xff },
	[IGB_R_VFRE] = { "VFRE", 0xc8c, PLAIN, .wmask = 0xff, .reset = 0xff },
	[IGB_R_VFTE] = { "VFTE", 0xc90, PLAIN, .wmask = 0xff, .reset = 0xff },
	[IGB_R_LEDCTL] = { "LEDCTL", 0xe00, RW, .reset = 0x07068302 },

	[IGB_R_PBA] = { "PBA", 0x1000, RW },
	[IGB_R_PBS] = { "PBS", 0x1008, RW },
	[IGB_R_EEMNGCTL] = { "EEMNGCTL", 0x1010, PLAIN, .reset = 0x000c0000 },
	[IGB_R_EEARBC] = { "EEARBC", 0x1024, RW },
	[IGB_R_I2CCMD] = { "I2CCMD", 0x1028, RW, .reset = BIT(29) },
	[IGB_R_EEWR] = { "EEWR", 0x102c, RW, .reset = IGB_EERD_DONE },
	[IGB_R_FRTIMER] = { "FRTIMER", 0x1048, RO, .read = read_frtimer },
	[IGB_R_TCPTIMER] = { "TCPTIMER", 0x104c, RW },

	[IGB_R_FCRTL] = { "FCRTL", 0x2160, RW },
	[IGB_R_FCRTH] = { "FCRTH", 0x2168, PLAIN, .wmask = 0x8001fff0 },
	[IGB_R_RXPBS] = { "RXPBS", 0x2404, RW, .reset = 0x40 },
	[IGB_R_QDE] = { "QDE", 0x2408, RW },
	[IGB_R_FCRTV] = { "FCRTV", 0x2460, RW },
	[IGB_R_DMACR] = { "DMACR", 0x2508, RW },
	ALIAS(IGB_R_RDBAL) = { "RDBAL", 0x2800, PLAIN, .wmask = 0xffffff80, FOUR },
	ALIAS(IGB_R_RDBAH) = { "RDBAH", 0x2804, RW, FOUR },
	ALIAS(IGB_R_RDLEN) = { "RDLEN", 0x2808, PLAIN, .wmask = 0xfffff, FOUR },
	ALIAS(IGB_R_SRRCTL) = { "SRRCTL", 0x280c, RW, .reset = 0x400, FOUR },
	ALIAS(IGB_R_RDH) = { "RDH", 0x2810, RO, ARRAY(4, 0x100) },
	ALIAS(IGB_R_RXCTL) = { "RXCTL", 0x2814, RW, FOUR },
	ALIAS(IGB_R_RDT) = { "RDT", 0x2818, PLAIN, .wmask = 0xffff, FOUR },
	ALIAS(IGB_R_RXDCTL) = { "RXDCTL", 0x2828, RW, .reset = 0x00010000, FOUR },
	ALIAS(IGB_R_RQDPC) = { "RQDPC", 0x2830, RO, ARRAY(4, 0x100) },

	[IGB_R_TXPBS] = { "TXPBS", 0x3404, RW, .reset = 0x28 },
	[IGB_R_TDFH] = { "TDFH", 0x3410, RW, ARRAY(9, 4) },
	[IGB_R_DTXSWC] = { "DTXSWC", 0x3500, RW },
	[IGB_R_DTXTCPFLGL] = { "DTXTCPFLGL", 0x359c, RW, .reset = 0x0ff60ff6 },
	[IGB_R_DTXTCPFLGH] = { "DTXTCPFLGH", 0x35a0, RW, .reset = 0xf7f },
	[IGB_R_LVMMC] = { "LVMMC", 0x3548, RO },
	[IGB_R_WVBR] = { "WVBR", 0x3554, RO, .read = read_wvbr },
	[IGB_R_DTXCTL] = { "DTXCTL", 0x3590, RW },
	[IGB_R_RTTDQSEL] = { "RTTDQSEL", 0x3604, RW },
	[IGB_R_RTTBCNRM] = { "RTTBCNRM", 0x3690, RW },
	[IGB_R_RTTBCNRC] = { "RTTBCNRC", 0x36b0, RW },
	[IGB_R_VMVIR] = { "VMVIR", 0x3700, RW, ARRAY(8, 4) },
	ALIAS(IGB_R_TDBAL) = { "TDBAL", 0x3800, PLAIN, .wmask = 0xffffff80, FOUR },
	ALIAS(IGB_R_TDBAH) = { "TDBAH", 0x3804, RW, FOUR },
	ALIAS(IGB_R_TDLEN) = { "TDLEN", 0x3808, PLAIN, .wmask = 0xfffff, FOUR },
	ALIAS(IGB_R_TDH) = { "TDH", 0x3810, RO, ARRAY(4, 0x100) },
	ALIAS(IGB_R_TXCTL) = { "TXCTL", 0x3814, RW, FOUR },
	ALIAS(IGB_R_TDT) = { "TDT", 0x3818, PLAIN, .wmask = 0xffff, FOUR },
	ALIAS(IGB_R_TXDCTL) = { "TXDCTL", 0x3828, RW, FOUR },
	ALIAS(IGB_R_TDWBAL) = { "TDWBAL", 0x3838, RW, FOUR },
	ALIAS(IGB_R_TDWBAH) = { "TDWBAH", 0x383c, RW, FOUR },

	[IGB_R_STATS] = { "STATS", 0x4000, RO, ARRAY(IGB_STATS, 4), .read = igb_read_stats },
	[IGB_R_PCS_CFG] = { "PCS_CFG", 0x4200, RW },
	[IGB_R_PCS_LCTL] = { "PCS_LCTL", 0x4208, RW },
	[IGB_R_PCS_LSTS] = { "PCS_LSTS", 0x420c, RO, .reset = 0x1f },
	[IGB_R_PCS_ANADV] = { "PCS_ANADV", 0x4218, RW },
	[IGB_R_PCS_LPAB] = { "PCS_LPAB", 0x421c, RO },
	[IGB_R_PCS_NPTX] = { "PCS_NPTX", 0x4220, RW },
	[IGB_R_PCS_LPABNP] = { "PCS_LPABNP", 0x4224, RO },
	[IGB_R_SCVPC] = { "SCVPC", 0x4228, RO },

	[IGB_R_RXCSUM] = { "RXCSUM", 0x5000, RW },
	[IGB_R_RLPML] = { "RLPML", 0x5004, PLAIN, .wmask = 0x3fff, .reset = 0x2600, FILTER },
	[IGB_R_RFCTL] = { "RFCTL", 0x5008, RW },
	[IGB_R_MTA] = { "MTA", 0x5200, RW, ARRAY(128, 4), FILTER },
	[IGB_R_RAL] = { "RAL", 0x5400, RW, ARRAY(16, 8), FILTER },
	[IGB_R_RAH] = { "RAH", 0x5404, PLAIN, .wmask = 0x83ffffff, ARRAY(16, 8), FILTER },
	[IGB_R_PSRTYPE] = { "PSRTYPE", 0x5480, RW, ARRAY(8, 4) },
	[IGB_R_RAL2] = { "RAL", 0x54e0, RW, ARRAY(8, 8), FILTER },
	[IGB_R_RAH2] = { "RAH", 0x54e4, PLAIN, .wmask = 0x83ffffff, ARRAY(8, 8), FILTER },
	[IGB_R_VLAPQF] = { "VLAPQF", 0x55b0, RW },
	[IGB_R_SYNQF] = { "SYNQF", 0x55fc, RW },
	[IGB_R_VFTA] = { "VFTA", 0x5600, RW, ARRAY(128, 4), FILTER },
	[IGB_R_WUC] = { "WUC", 0x5800, RW },
	[IGB_R_WUFC] = { "WUFC", 0x5808, RW },
	[IGB_R_WUS] = { "WUS", 0x5810, PLAIN, .w1c = 0xffffffff },
	[IGB_R_MRQC] = { "MRQC", 0x5818, RW, FILTER },
	[IGB_R_VT_CTL] = { "VT_CTL", 0x581c, RW, FILTER },
	[IGB_R_MANC] = { "MANC", 0x5820, RW },
	[IGB_R_IPAV] = { "IPAV", 0x5838, RW },
	[IGB_R_IP4AT] = { "IP4AT", 0x5840, RW, ARRAY(4, 8) },
	[IGB_R_IP6AT] = { "IP6AT", 0x5880, RW, ARRAY(4, 4) },
	[IGB_R_WUPL] = { "WUPL", 0x5900, RO },
	[IGB_R_SAQF] = { "SAQF", 0x5980, RW, ARRAY(8, 4) },
	[IGB_R_DAQF] = { "DAQF", 0x59a0, RW, ARRAY(8, 4) },
	[IGB_R_SPQF] = { "SPQF", 0x59c0, RW, ARRAY(8, 4) },
	[IGB_R_FTQF] = { "FTQF", 0x59e0, RW, ARRAY(8, 4) },
	[IGB_R_WUPM] = { "WUPM", 0x5a00, RO, ARRAY(32, 4) },
	[IGB_R_IMIR] = { "IMIR", 0x5a80, RW, ARRAY(8, 4) },
	[IGB_R_IMIREXT] = { "IMIREXT", 0x5aa0, RW, ARRAY(8, 4) },
	[IGB_R_IMIRVP] = { "IMIRVP", 0x5ac0, RW },
	[IGB_R_TXSWC] = { "TXSWC", 0x5acc, RW },
	[IGB_R_VMOLR] = { "VMOLR", 0x5ad0, RW, ARRAY(8, 4), .reset = 0x2600, FILTER },
	[IGB_R_RPLOLR] = { "RPLOLR", 0x5af0, RW },
	[IGB_R_GCR] = { "GCR", 0x5b00, RW },
	[IGB_R_FACTPS] = { "FACTPS", 0x5b30, RO },
	[IGB_R_CCMCTL] = { "CCMCTL", 0x5b48, RW },
	[IGB_R_SWSM] = { "SWSM", 0x5b50, PLAIN, .wmask = 3, .read = read_swsm },
	[IGB_R_FWSM] = { "FWSM", 0x5b54, RO },
	[IGB_R_SW_FW_SYNC] = { "SW_FW_SYNC", 0x5b5c, RW },
	[IGB_R_PBACL] = { "PBACL", 0x5b68, RW },
	[IGB_R_DCA_CTRL] = { "DCA_CTRL", 0x5b74, RW },
	[IGB_R_PCIEMISC] = { "PCIEMISC", 0x5bb8, RW },
	[IGB_R_IOVCTL] = { "IOVCTL", 0x5bbc, RW },
	[IGB_R_RETA] = { "RETA", 0x5c00, RW, ARRAY(32, 4) },
	[IGB_R_RSSRK] = { "RSSRK", 0x5c80, RW, ARRAY(10, 4) },
	[IGB_R_ETQF] = { "ETQF", 0x5cb0, RW, ARRAY(8, 4) },
	[IGB_R_VLVF] = { "VLVF", 0x5d00, RW, ARRAY(32, 4), FILTER },
	[IGB_R_DMCRTRH] = { "DMCRTRH", 0x5dd0, RW, ARRAY(2, 4) },
	[IGB_R_FFLT] = { "FFLT", 0x5f00, RW, ARRAY(6, 8) },
	[IGB_R_TSYNCRXCFG] = { "TSYNCRXCFG", 0x5f50, RW },

	[IGB_R_FFMT] = { "FFMT", 0x9000, RW, ARRAY(128, 8) },
	[IGB_R_FFVT] = { "FFVT", 0x9800, RW, ARRAY(128, 8) },
	[IGB_R_UTA] = { "UTA", 0xa000, RW, ARRAY(128, 4), FILTER },

	[IGB_R_SYSTIML] = { "SYSTIML", 0xb600, RW, .write = igb_write_systim,
			    .read = igb_read_systiml },
	[IGB_R_SYSTIMH] = { "SYSTIMH", 0xb604, RW, .write = igb_write_systim },
	[IGB_R_TIMINCA] = { "TIMINCA", 0xb608, RW, .write = igb_write_timinca },
	[IGB_R_TIMADJL] = { "TIMADJL", 0xb60c, RW },
	[IGB_R_TIMADJH] = { "TIMADJH", 0xb610, RW },
	[IGB_R_TSYNCTXCTL] = { "TSYNCTXCTL", 0xb614, PLAIN, .wmask = 0x10 },
	[IGB_R_TXSTMPL] = { "TXSTMPL", 0xb618, RO },
	[IGB_R_TXSTMPH] = { "TXSTMPH", 0xb61c, RO },
	[IGB_R_TSYNCRXCTL] = { "TSYNCRXCTL", 0xb620, PLAIN, .wmask = 0x1e },
	[IGB_R_RXSTMPL] = { "RXSTMPL", 0xb624, RO },
	[IGB_R_RXSTMPH] = { "RXSTMPH", 0xb628, RO },
	[IGB_R_RXSATRL] = { "RXSATRL", 0xb62c, RO },
	[IGB_R_RXSATRH] = { "RXSATRH", 0xb630, RO },
	[IGB_R_TSAUXC] = { "TSAUXC", 0xb640, RW, ARRAY(10, 4) },

	[IGB_R_RDBAL] = { "RDBAL", 0xc000, PLAIN, .wmask = 0xffffff80, QUEUE },
	[IGB_R_RDBAH] = { "RDBAH", 0xc004, RW, QUEUE },
	[IGB_R_RDLEN] = { "RDLEN", 0xc008, PLAIN, .wmask = 0xfffff, QUEUE },
	[IGB_R_SRRCTL] = { "SRRCTL", 0xc00c, RW, .reset = 0x400, QUEUE },
	[IGB_R_RDH] = { "RDH", 0xc010, RO, ARRAY(IGB_QUEUES, 0x40) },
	[IGB_R_RXCTL] = { "RXCTL", 0xc014, RW, QUEUE },
	[IGB_R_RDT] = { "RDT", 0xc018, PLAIN, .wmask = 0xffff, QUEUE },
	[IGB_R_RXDCTL] = { "RXDCTL", 0xc028, RW, .reset = 0x00010000, QUEUE },
	[IGB_R_RQDPC] = { "RQDPC", 0xc030, RO, ARRAY(IGB_QUEUES, 0x40) },
	[IGB_R_TDBAL] = { "TDBAL", 0xe000, PLAIN, .wmask = 0xffffff80, QUEUE },
	[IGB_R_TDBAH] = { "TDBAH", 0xe004, RW, QUEUE },
	[IGB_R_TDLEN] = { "TDLEN", 0xe008, PLAIN, .wmask = 0xfffff, QUEUE },
	[IGB_R_TDH] = { "TDH", 0xe010, RO, ARRAY(IGB_QUEUES, 0x40) },
	[IGB_R_TXCTL] = { "TXCTL", 0xe014, RW, QUEUE },
	[IGB_R_TDT] = { "TDT", 0xe018, PLAIN, .wmask = 0xffff, QUEUE },
	[IGB_R_TXDCTL] = { "TXDCTL", 0xe028, RW, QUEUE },
	[IGB_R_TDWBAL] = { "TDWBAL", 0xe038, RW, QUEUE },
	[IGB_R_TDWBAH] = { "TDWBAH", 0xe03c, RW, QUEUE },
};
