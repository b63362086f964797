/* SPDX-License-Identifier: BSD-3-Clause */
/* The registers of a virtual function; docs/igb.md says what each block does. */
#include "device/igb/priv.h"

#define RW .kind = PCIF_REG_PLAIN, .wmask = 0xffffffffu
#define PLAIN .kind = PCIF_REG_PLAIN
#define RO .kind = PCIF_REG_STATUS
#define COMMAND .kind = PCIF_REG_MAILBOX
#define ARRAY(n, step) .count = n, .stride = step
#define QUEUE ARRAY(IGB_VF_QUEUES, 0x100), .write = igb_write_queue

static void write_ctrl(void *state, unsigned index, uint32_t value)
{
	struct igb_fn *fn = state;

	if (value & IGB_CTRL_RST)
		igb_fn_reset(fn, true);
}

static uint32_t read_frtimer(void *state, unsigned index)
{
	return (uint32_t)(time_mono_ns() / 1000);
}

const struct pcif_reg igb_vf_regs[IGB_N_VF_REGS] = {
	[IGB_R_CTRL] = { "VTCTRL", 0x0, RW, .write = write_ctrl },
	[IGB_R_STATUS] = { "VTSTATUS", 0x8, RO,
			   .reset = IGB_STATUS_FD | IGB_STATUS_LU | IGB_STATUS_SPEED_1000 },
	[IGB_R_FRTIMER_VF] = { "VTFRTIMER", 0x1048, RO, .read = read_frtimer },
	[IGB_R_EICS] = { "VTEICS", 0x1520, COMMAND, .write = igb_write_eics },
	[IGB_R_EIMS] = { "VTEIMS", 0x1524, COMMAND, .write = igb_write_eims,
			 .read = igb_read_eims },
	[IGB_R_EIMC] = { "VTEIMC", 0x1528, COMMAND, .write = igb_write_eimc },
	[IGB_R_EIAC] = { "VTEIAC", 0x152c, PLAIN, .wmask = 7 },
	[IGB_R_EIAM] = { "VTEIAM", 0x1530, PLAIN, .wmask = 7 },
	[IGB_R_EICR] = { "VTEICR", 0x1580, COMMAND, .write = igb_write_eicr,
			 .read = igb_read_eicr },
	[IGB_R_EITR] = { "VTEITR", 0x1680, RW, ARRAY(IGB_VF_VECTORS, 4) },
	[IGB_R_IVAR] = { "VTIVAR", 0x1700, RW, ARRAY(1, 4) },
	[IGB_R_IVAR_MISC] = { "VTIVAR_MISC", 0x1740, RW },
	[IGB_R_VMBMEM] = { "VMBMEM", 0x800, RW, ARRAY(IGB_MAIL_WORDS, 4) },
	[IGB_R_V2PMAILBOX] = { "V2PMAILBOX", 0xc40, PLAIN, .wmask = 0x7, .write = igb_write_v2p,
			       .read = igb_read_v2p },
	[IGB_R_PSRTYPE] = { "VFPSRTYPE", 0xf0c, RW },
	[IGB_R_VFSTATS] = { "VFSTATS", 0xf10, RO, ARRAY(IGB_VF_STATS, 4),
			    .read = igb_read_vf_stats },
	[IGB_R_RDBAL] = { "RDBAL", 0x2800, PLAIN, .wmask = 0xffffff80, QUEUE },
	[IGB_R_RDBAH] = { "RDBAH", 0x2804, RW, QUEUE },
	[IGB_R_RDLEN] = { "RDLEN", 0x2808, PLAIN, .wmask = 0xfffff, QUEUE },
	[IGB_R_SRRCTL] = { "SRRCTL", 0x280c, RW, .reset = 0x400, QUEUE },
	[IGB_R_RDH] = { "RDH", 0x2810, RO, ARRAY(IGB_VF_QUEUES, 0x100) },
	[IGB_R_RXCTL] = { "RXCTL", 0x2814, RW, QUEUE },
	[IGB_R_RDT] = { "RDT", 0x2818, PLAIN, .wmask = 0xffff, QUEUE },
	[IGB_R_RXDCTL] = { "RXDCTL", 0x2828, RW, .reset = 0x00010000, QUEUE },
	[IGB_R_RQDPC] = { "RQDPC", 0x2830, RO, ARRAY(IGB_VF_QUEUES, 0x100) },
	[IGB_R_TDBAL] = { "TDBAL", 0x3800, PLAIN, .wmask = 0xffffff80, QUEUE },
	[IGB_R_TDBAH] = { "TDBAH", 0x3804, RW, QUEUE },
	[IGB_R_TDLEN] = { "TDLEN", 0x3808, PLAIN, .wmask = 0xfffff, QUEUE },
	[IGB_R_TDH] = { "TDH", 0x3810, RO, ARRAY(IGB_VF_QUEUES, 0x100) },
	[IGB_R_TXCTL] = { "TXCTL", 0x3814, RW, QUEUE },
	[IGB_R_TDT] = { "TDT", 0x3818, PLAIN, .wmask = 0xffff, QUEUE },
	[IGB_R_TXDCTL] = { "TXDCTL", 0x3828, RW, QUEUE },
	[IGB_R_TDWBAL] = { "TDWBAL", 0x3838, RW, QUEUE },
	[IGB_R_TDWBAH] = { "TDWBAH", 0x383c, RW, QUEUE },
};
