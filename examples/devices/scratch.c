// SPDX-License-Identifier: BSD-3-Clause
/*
 * scratch: a device of one page. It has registers, memory that clients map, and a doorbell: a write
 * to RING copies LENGTH bytes of the client's memory at ADDRESS into the device's memory, counts
 * them in DONE, and sends an interrupt.
 *
 *   cc scratch.c $(pkg-config --cflags --libs uvfio) -o scratch
 *   ./scratch run --device scratch,bdf=0000:65:00.0 -- COMMAND
 *   ./scratch serve --device scratch --socket-dir DIR
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <uvfio/uvfio.h>

enum { REGISTERS, MEMORY }; /* BARs */
enum { ID, ADDRESS_LO, ADDRESS_HI, LENGTH, RING, DONE, ERRORS };
#define MEMORY_SIZE 4096u

struct scratch {
	struct uvfio_function *f;
	uint8_t memory[MEMORY_SIZE];
};

static uint32_t get(struct scratch *s, unsigned reg)
{
	return uvfio_reg_get(s->f, REGISTERS, reg, 0);
}

static void ring(void *state, unsigned index, uint32_t value)
{
	struct scratch *s = state;
	uint64_t address = (uint64_t)get(s, ADDRESS_HI) << 32 | get(s, ADDRESS_LO);
	uint32_t length = get(s, LENGTH);
	int ret = length > MEMORY_SIZE ? -EINVAL : uvfio_dma_read(s->f, address, s->memory, length);

	if (ret)
		uvfio_reg_set(s->f, REGISTERS, ERRORS, 0, get(s, ERRORS) + 1);
	else
		uvfio_reg_set(s->f, REGISTERS, DONE, 0, get(s, DONE) + length);
	uvfio_irq_raise(s->f, 0);
}

static const struct uvfio_reg registers[] = {
	[ID] = { "ID", 0x00, UVFIO_REG_STATUS, .reset = 0x73637261 },
	[ADDRESS_LO] = { "ADDRESS_LO", 0x10, UVFIO_REG_PLAIN, .wmask = 0xffffffff },
	[ADDRESS_HI] = { "ADDRESS_HI", 0x14, UVFIO_REG_PLAIN, .wmask = 0xffffffff },
	[LENGTH] = { "LENGTH", 0x18, UVFIO_REG_PLAIN, .wmask = 0xffffffff },
	[RING] = { "RING", 0x1c, UVFIO_REG_MAILBOX, .write = ring },
	[DONE] = { "DONE", 0x20, UVFIO_REG_STATUS },
	[ERRORS] = { "ERRORS", 0x24, UVFIO_REG_STATUS },
};

/* The memory's BAR has no table: each access comes here. */
static uint64_t bar_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, ((struct scratch *)state)->memory + offset, size);
	return value;
}

static void bar_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	memcpy(((struct scratch *)state)->memory + offset, &value, size);
}

static void reset(void *state)
{
	struct scratch *s = state;

	uvfio_lock(s->f);
	memset(s->memory, 0, MEMORY_SIZE);
	uvfio_unlock(s->f);
}

static int create(struct uvfio_function *f, const struct uvfio_params *params,
		  struct uvfio_description *d, void **state, struct uvfio_error *err)
{
	struct scratch *s = calloc(1, sizeof(*s));

	if (!s)
		return uvfio_error(err, -ENOMEM, "out of memory");
	s->f = f;
	*state = s;
	d->vendor = d->subsystem_vendor = 0x1234;
	d->device = d->subsystem_device = 0x5020;
	d->class_code = 0xff0000;
	d->bars[REGISTERS] = (struct uvfio_bar){ UVFIO_BAR_MEM32, .size = 4096, .regs = registers,
						 .n_regs = sizeof(registers) / sizeof(*registers) };
	d->bars[MEMORY] = (struct uvfio_bar){ UVFIO_BAR_MEM32, .size = MEMORY_SIZE };
	d->pcie = d->pm = true;
	d->msi_vectors = 1;
	return 0;
}

static const struct uvfio_model scratch = {
	.name = "scratch",
	.summary = "an example of a device, with a doorbell",
	.create = create,
	.destroy = free,
	.reset = reset,
	.bar_read = bar_read,
	.bar_write = bar_write,
};

int main(int argc, char **argv)
{
	return uvfio_main(argc, argv, (const struct uvfio_model *const[]){ &scratch, NULL });
}
