/* SPDX-License-Identifier: BSD-3-Clause */
/* Configuration space, BAR access, resets and power states of a function, as the hardware has them.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>

#include "pci_test.h"

#define CMD_ALL (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)

static void header_and_lists(void **state)
{
	static const uint8_t caps[] = { PCI_CAP_ID_PM, PCI_CAP_ID_MSI, PCI_CAP_ID_EXP,
					PCI_CAP_ID_MSIX };
	struct pcim *m;
	struct pcif *f = tm_machine(&m);
	unsigned at = pcif_config_read(f, PCI_CAPABILITY_LIST, 1);

	assert_int_equal(pcif_config_size(f), 4096);
	assert_int_equal(pcif_config_read(f, 0, 4), 0x50021234);
	assert_int_equal(pcif_config_read(f, PCI_CLASS_REVISION, 4), 0xff000002);
	assert_int_equal(pcif_config_read(f, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x00011234);
	assert_int_equal(pcif_config_read(f, PCI_HEADER_TYPE, 1), 0);
	assert_int_equal(pcif_config_read(f, PCI_INTERRUPT_PIN, 1), 1);
	assert_int_equal(pcif_config_read(f, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
	for (unsigned i = 0; i < ARRAY_SIZE(caps); i++) {
		assert_int_equal(pcif_config_read(f, at, 1), caps[i]);
		assert_int_equal(pcif_find_cap(f, caps[i]), at);
		at = pcif_config_read(f, at + 1, 1);
	}
	assert_int_equal(at, 0);
	assert_int_equal(pcif_find_cap(f, PCI_CAP_ID_AF), 0);
	assert_int_equal(pcif_find_ext_cap(f, PCI_EXT_CAP_ID_ERR), 0x100);
	at = pcif_find_ext_cap(f, PCI_EXT_CAP_ID_DSN);
	assert_int_not_equal(at, 0);
	assert_int_equal(pcif_config_read(f, at + 4, 4), 0x89abcdef);
	assert_int_equal(pcif_config_read(f, at + 8, 4), 0x01234567);
	assert_int_equal(pcif_find_ext_cap(f, PCI_EXT_CAP_ID_ACS), 0);
	assert_true(pcif_config_read(f, pcif_find_cap(f, PCI_CAP_ID_EXP) + PCI_EXP_DEVCAP, 4) &
		    PCI_EXP_DEVCAP_FLR);
	assert_int_equal(pcif_config_read(f, pcif_find_cap(f, PCI_CAP_ID_MSIX) + 2, 2), 69);
	assert_int_equal(pcif_config_read(f, pcif_find_cap(f, PCI_CAP_ID_MSI) + 2, 2),
			 PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT | 3 << 1);
	pcim_free(m);
}

static void bad_accesses(void **state)
{
	struct pcim *m;
	struct pcif *f = tm_machine(&m);

	assert_int_equal(pcif_config_read(f, 4096, 4), UINT32_MAX);
	assert_int_equal(pcif_config_read(f, 4096, 1), 0xff);
	assert_int_equal(pcif_config_read(f, UINT32_MAX - 3, 4), UINT32_MAX);
	assert_int_equal(pcif_config_read(f, 1, 2), 0xffff);
	assert_int_equal(pcif_config_read(f, 0, 3), UINT32_MAX);
	assert_int_equal(pcif_config_read(f, 0, 0), UINT32_MAX);
	pcif_config_write(f, 4096, 4, 1);
	pcif_config_write(f, 2, 4, 1);
	pcif_config_write(f, 0, 8, 1);
	/* Read-only registers stay. */
	pcif_config_write(f, 0, 4, 0);
	pcif_config_write(f, PCI_CLASS_REVISION, 4, 0);
	pcif_config_write(f, PCI_CAPABILITY_LIST, 1, 0);
	assert_int_equal(pcif_config_read(f, 0, 4), 0x50021234);
	assert_int_equal(pcif_config_read(f, PCI_CLASS_REVISION, 4), 0xff000002);
	assert_int_not_equal(pcif_config_read(f, PCI_CAPABILITY_LIST, 1), 0);
	pcim_free(m);
}

static void command_masks(void **state)
{
	struct pcim *m;
	struct pcif *f = tm_machine(&m);

	assert_int_equal(pcif_config_read(f, PCI_COMMAND, 2), 0);
	pcif_config_write(f, PCI_COMMAND, 2, 0xffff);
	assert_int_equal(pcif_config_read(f, PCI_COMMAND, 2), 0x0547);
	pcif_config_write(f, PCI_COMMAND + 1, 1, 0);
	assert_int_equal(pcif_config_read(f, PCI_COMMAND, 2), 0x0047);
	pcif_config_write(f, PCI_COMMAND, 4, 0xffff0000);
	assert_int_equal(pcif_config_read(f, PCI_COMMAND, 4), PCI_STATUS_CAP_LIST << 16);
	pcif_config_write(f, PCI_INTERRUPT_LINE, 4, 0xffffff2a);
	assert_int_equal(pcif_config_read(f, PCI_INTERRUPT_LINE, 4), 0x012a);
	pcim_free(m);
}

static void bar_sizing(void **state)
{
	static const uint32_t want[] = { 0xffffc000, 0, 0xffff800c, 0xffffffff, 0xffffffe1, 0 };
	struct pcim *m;
	struct pcif *f = tm_machine(&m);

	for (unsigned i = 0; i < 6; i++) {
		unsigned at = PCI_BASE_ADDRESS_0 + 4 * i;
		uint32_t before = pcif_config_read(f, at, 4);

		pcif_config_write(f, at, 4, UINT32_MAX);
		assert_int_equal(pcif_config_read(f, at, 4), want[i]);
		pcif_config_write(f, at, 4, before);
		assert_int_equal(pcif_config_read(f, at, 4), before);
	}
	pcif_config_write(f, PCI_ROM_ADDRESS, 4, UINT32_MAX);
	assert_int_equal(pcif_config_read(f, PCI_ROM_ADDRESS, 4), 0);
	pcim_free(m);
}

static void conventional(void **state)
{
	struct pcim *m;
	struct pcif *f;

	tm_desc.pcie = tm_desc.aer = false;
	tm_desc.dsn = 0;
	f = tm_machine(&m);
	assert_int_equal(pcif_config_size(f), 256);
	assert_int_equal(pcif_config_read(f, 256, 4), UINT32_MAX);
	pcif_config_write(f, 256, 4, 0);
	assert_int_equal(pcif_find_cap(f, PCI_CAP_ID_EXP), 0);
	assert_int_equal(pcif_find_ext_cap(f, PCI_EXT_CAP_ID_ERR), 0);
	pcif_config_write(f, PCI_LATENCY_TIMER, 1, 0xff);
	assert_int_equal(pcif_config_read(f, PCI_LATENCY_TIMER, 1), 0xf8);
	pcim_free(m);
}

/* A serial number alone: the list still starts at 100. */
static void extended_without_aer(void **state)
{
	struct pcim *m;
	struct pcif *f;

	tm_desc.aer = false;
	f = tm_machine(&m);
	assert_int_equal(pcif_find_ext_cap(f, PCI_EXT_CAP_ID_ERR), 0);
	assert_int_not_equal(pcif_find_ext_cap(f, PCI_EXT_CAP_ID_DSN), 0);
	pcim_free(m);

	tm_desc.dsn = 0;
	f = tm_machine(&m);
	assert_int_equal(pcif_config_read(f, 0x100, 4), 0);
	pcim_free(m);
}

/* ------------------------------------------------------------------ BAR access */

static void bar_pieces(void **state)
{
	static const struct access want[] = {
		{ false, 0, 1, 0x0d, 0 }, { false, 0, 2, 0x0e, 0 }, { false, 0, 8, 0x10, 0 },
		{ false, 0, 4, 0x18, 0 }, { false, 0, 2, 0x1c, 0 }, { false, 0, 1, 0x1e, 0 },
	};
	uint8_t buf[64];
	struct pcim *m;
	struct pcif *f = tm_machine(&m);

	assert_int_equal(pcif_bar_read(f, 0, 0, buf, 4, false), -EIO);
	pcif_config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(pcif_bar_read(f, 0, 0x0d, buf, 18, false), 0);
	for (unsigned i = 0; i < 18; i++)
		assert_int_equal(buf[i], 0x0d + i);
	assert_int_equal(tm_last->n_log, ARRAY_SIZE(want));
	assert_memory_equal(tm_last->log, want, sizeof(want));
	tm_last->n_log = 0;
	assert_int_equal(pcif_bar_write(f, 0, 0x3ffc, "\1\2\3\4", 4, false), 0);
	assert_int_equal(tm_last->n_log, 1);
	assert_int_equal(tm_last->log[0].value, 0x04030201);
	/* I/O is cut into 4 bytes at most, and has a decode bit of its own. */
	assert_int_equal(pcif_bar_read(f, 4, 0, buf, 8, false), -EIO);
	pcif_config_write(f, PCI_COMMAND, 2, PCI_COMMAND_IO);
	tm_last->n_log = 0;
	assert_int_equal(pcif_bar_read(f, 4, 0, buf, 8, false), 0);
	assert_int_equal(tm_last->n_log, 2);
	assert_int_equal(pcif_bar_read(f, 0, 0, buf, 4, false), -EIO);
	/* Bounds. */
	pcif_config_write(f, PCI_COMMAND, 2, CMD_ALL);
	assert_int_equal(pcif_bar_read(f, 0, 0x4000, buf, 0, false), 0);
	assert_int_equal(pcif_bar_read(f, 0, 0x4000, buf, 1, false), -EINVAL);
	assert_int_equal(pcif_bar_read(f, 0, 0x3ffd, buf, 4, false), -EINVAL);
	assert_int_equal(pcif_bar_read(f, 0, UINT64_MAX, buf, 2, false), -EINVAL);
	assert_int_equal(pcif_bar_read(f, 1, 0, buf, 1, false), -EINVAL);
	assert_int_equal(pcif_bar_read(f, 3, 0, buf, 1, false), -EINVAL);
	assert_int_equal(pcif_bar_read(f, 6, 0, buf, 1, false), -EINVAL);
	assert_int_equal(pcif_bar_write(f, 99, 0, buf, 1, false), -EINVAL);
	pcim_free(m);
}

static void bar_images(void **state)
{
	uint64_t off0, off2;
	uint32_t v;
	uint8_t in[4096], out[4096];
	struct pcim *m;
	struct pcif *f = tm_machine(&m);
	int fd = pcif_bar_memfd(f, 0, &off0);
	uint8_t *p;

	assert_true(fd >= 0);
	assert_int_equal(pcif_bar_memfd(f, 2, &off2), fd);
	assert_int_equal(pcif_bar_memfd(f, 4, &off2), -1);
	assert_int_equal(pcif_bar_memfd(f, 9, &off2), -1);
	assert_null(pcif_bar_image(f, 4));
	assert_null(pcif_bar_image(f, 9));
	assert_int_equal(pcif_bar_policy(f, 0, 0), PCIF_PAGE_TRAP);
	assert_int_equal(pcif_bar_policy(f, 0, 0x1fff), PCIF_PAGE_SHARED);
	assert_int_equal(pcif_bar_policy(f, 0, 0x2000), PCIF_PAGE_RAM);
	assert_int_equal(pcif_bar_policy(f, 0, 0x3000), PCIF_PAGE_TRAP);
	assert_int_equal(pcif_bar_policy(f, 7, 0), PCIF_PAGE_TRAP);

	/* RAM: trapped accesses and the memfd are the same bytes, no hook. */
	pcif_config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	for (unsigned i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7);
	assert_int_equal(pcif_bar_write(f, 0, 0x2003, in, 4000, false), 0);
	assert_int_equal(pcif_bar_read(f, 0, 0x2003, out, 4000, false), 0);
	assert_memory_equal(in, out, 4000);
	assert_int_equal(pread(fd, out, 4000, (off_t)off0 + 0x2003), 4000);
	assert_memory_equal(in, out, 4000);
	assert_int_equal(tm_last->n_log, 0);
	/* An access across policies. */
	assert_int_equal(pcif_bar_write(f, 0, 0x1ff8, in, 16, false), 0);
	assert_int_equal(tm_last->n_log, 1);
	assert_int_equal(pread(fd, out, 8, (off_t)off0 + 0x2000), 8);
	assert_memory_equal(in + 8, out, 8);

	/* Another mapping of the same bytes takes over, one that can vanish. */
	p = mmap(NULL, 0x4000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)off0);
	assert_ptr_not_equal(p, MAP_FAILED);
	pcif_bar_set_image(f, 0, p);
	assert_ptr_equal(pcif_bar_image(f, 0), p);
	pcif_bar_set_image(f, 4, p);
	assert_null(pcif_bar_image(f, 4));
	pcif_bar_set_image(f, 0, NULL);
	assert_ptr_not_equal(pcif_bar_image(f, 0), p);
	munmap(p, 0x4000);
	assert_int_equal(pcif_image_store32((uint8_t *)pcif_bar_image(f, 0) + 0x1000, 5), 0);
	assert_int_equal(pcif_image_load32((uint8_t *)pcif_bar_image(f, 0) + 0x1000, &v), 0);
	assert_int_equal(v, 5);
	pcim_free(m);
}

struct ram_user {
	struct pcif *f;
	_Atomic bool stop;
	_Atomic unsigned rounds, failed;
};

static void *use_ram(void *data)
{
	struct ram_user *u = data;
	uint8_t page[UVF_PAGE_SIZE] = { 1 };

	while (!u->stop) {
		u->failed += pcif_bar_write(u->f, 0, 0x2000, page, sizeof(page), false) != 0;
		u->failed += pcif_bar_read(u->f, 0, 0x2001, page, 64, false) != 0;
		u->rounds++;
	}
	return NULL;
}

/* Whoever has taken an image away may unmap it, though an eventfd's writes go on meanwhile. */
static void image_taken_away(void **state)
{
	struct pcim *m;
	struct ram_user user = { .f = tm_machine(&m) };
	uint64_t off;
	int fd = pcif_bar_memfd(user.f, 0, &off);
	pthread_t thread;

	pcif_config_write(user.f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(pthread_create(&thread, NULL, use_ram, &user), 0);
	for (unsigned i = 0; i < 500; i++) {
		unsigned before;
		void *p = mmap(NULL, 0x4000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)off);

		assert_ptr_not_equal(p, MAP_FAILED);
		pcif_bar_set_image(user.f, 0, p);
		for (before = user.rounds; user.rounds == before;)
			sched_yield();
		pcif_bar_set_image(user.f, 0, NULL);
		munmap(p, 0x4000);
	}
	user.stop = true;
	pthread_join(thread, NULL);
	assert_int_equal(user.failed, 0);
	pcim_free(m);
}

/* The image moves to other memory and back, with what is on pages that clients may map. */
static void moved_image(void **state)
{
	enum { ELSEWHERE = 0x10000, SIZE = 0x4000 };
	struct pcim *m;
	struct pcif *f = tm_machine(&m);
	int fd = memfd_create("elsewhere", MFD_CLOEXEC);
	uint8_t *image, *was = pcif_bar_image(f, 0);
	uint32_t v = 0x5a5a5a5a;

	assert_int_equal(ftruncate(fd, ELSEWHERE + SIZE), 0);
	image = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, ELSEWHERE);
	assert_ptr_not_equal(image, MAP_FAILED);
	/* Left over from somebody else; and page 3 has nothing. */
	memset(image, 0xff, SIZE);
	assert_int_equal(pcif_image_store32(was + 0x1004, 17), 0);
	assert_int_equal(pcif_image_store32(was + 0x2ffc, 18), 0);
	assert_int_equal(pcif_bar_move_image(f, 0, image, fd, ELSEWHERE), 0);
	assert_ptr_equal(pcif_bar_image(f, 0), image);
	assert_int_equal(*(uint32_t *)(image + 0x1004), 17);
	assert_int_equal(*(uint32_t *)(image + 0x2ffc), 18);
	assert_int_equal(*(uint32_t *)(image + 0x2000), 0);
	/* Pages that nobody may map stay out of it. */
	assert_int_equal(*(uint32_t *)image, 0xffffffff);
	/* A page that the other side took away is zeros afterwards; what was written comes back. */
	*(uint32_t *)(image + 0x1008) = 19;
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   ELSEWHERE + 0x2000, 0x1000),
			 0);
	assert_int_equal(pcif_bar_move_image(f, 0, NULL, -1, 0), 0);
	assert_ptr_equal(pcif_bar_image(f, 0), was);
	assert_int_equal(pcif_image_load32(was + 0x1008, &v), 0);
	assert_int_equal(v, 19);
	assert_int_equal(pcif_image_load32(was + 0x2ffc, &v), 0);
	assert_int_equal(v, 0);
	/* Where nothing can be copied to, nothing moves. */
	assert_int_equal(pcif_bar_move_image(f, 0, image, -1, 0), -EBADF);
	assert_ptr_equal(pcif_bar_image(f, 0), was);
	/* A BAR without an image has nothing to move. */
	assert_int_equal(pcif_bar_move_image(f, 4, image, fd, 0), 0);
	assert_null(pcif_bar_image(f, 4));
	munmap(image, SIZE);
	close(fd);
	pcim_free(m);
}

/* The memory behind the image goes away: an error, not a signal. */
static void image_sigbus_body(void)
{
	struct pcim *m;
	struct pcif *f = tm_machine(&m);
	int fd = memfd_create("gone", MFD_CLOEXEC);
	uint32_t v = 7;
	bool done = false;
	void *p = mmap(NULL, 0x4000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	pcif_bar_set_image(f, 0, p);
	assert_int_equal(pcif_image_load32(p, &v), -EFAULT);
	assert_int_equal(pcif_image_store32(p, 1), -EFAULT);
	assert_int_equal(pcif_image_xchg32(p, 1, &v), -EFAULT);
	assert_int_equal(pcif_image_cas32(p, 0, 1, &done), -EFAULT);
	assert_int_equal(v, 7);
	pcif_config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(pcif_bar_read(f, 0, 0x2000, &v, 4, false), -EIO);
	pcif_bar_set_image(f, 0, NULL);
	munmap(p, 0x4000);
	close(fd);
	pcim_free(m);
}

static void image_sigbus(void **state)
{
	if (guard_restore())
		image_sigbus_body();
}

static void msix_hidden(void **state)
{
	uint32_t v;
	struct pcim *m;
	struct pcif *f = tm_machine(&m);

	pcif_config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(pcif_bar_read(f, 2, 0x1000, &v, 4, true), 0);
	assert_int_equal(v, UINT32_MAX);
	/* Not so the pending bits. */
	assert_int_equal(pcif_bar_read(f, 2, 0x2000, &v, 4, true), 0);
	assert_int_equal(v, 0);
	v = 0xfee00000;
	assert_int_equal(pcif_bar_write(f, 2, 0x1000, &v, 4, true), 0);
	assert_int_equal(pcif_bar_read(f, 2, 0x1000, &v, 4, false), 0);
	assert_int_equal(v, 0);
	/* Seen as it is, it is a table: masked after reset, writable. */
	assert_int_equal(pcif_bar_read(f, 2, 0x100c, &v, 4, false), 0);
	assert_int_equal(v, 1);
	v = 0xfee00003;
	assert_int_equal(pcif_bar_write(f, 2, 0x1000, &v, 4, false), 0);
	assert_int_equal(pcif_bar_read(f, 2, 0x1000, &v, 4, false), 0);
	assert_int_equal(v, 0xfee00000);
	assert_int_equal(tm_last->n_log, 0);
	/* Right after the table, the model is asked again. */
	assert_int_equal(pcif_bar_read(f, 2, 0x1000 + 70 * 16, &v, 4, true), 0);
	assert_int_equal(tm_last->n_log, 1);
	pcim_free(m);
}

/* ------------------------------------------------------------------ resets and power */

static unsigned resets_seen;

static void on_reset_cb(void *data, struct pcif *f)
{
	resets_seen++;
}

static void flr(void **state)
{
	struct pcim *m;
	struct pcif *f = tm_machine(&m);
	unsigned exp = pcif_find_cap(f, PCI_CAP_ID_EXP), aer = 0x100;
	uint64_t address = pcif_bar_address(f, 0);

	resets_seen = 0;
	pcim_set_reset_cb(m, on_reset_cb, NULL);
	assert_int_equal(pcif_config_read(f, PCI_BASE_ADDRESS_0, 4), address);
	pcif_config_write(f, PCI_COMMAND, 2, CMD_ALL);
	pcif_config_write(f, aer + PCI_ERR_UNCOR_MASK, 4, 0x00100000);
	pcif_config_write(f, exp + PCI_EXP_DEVCTL, 2, 0x282f);
	pcif_config_write(f, exp + PCI_EXP_DEVCTL, 2, 0x282f | PCI_EXP_DEVCTL_BCR_FLR);
	assert_int_equal(resets_seen, 1);
	assert_int_equal(pcif_reset_count(f), 1);
	assert_int_equal(tm_last->resets, 2);
	assert_int_equal(pcif_config_read(f, PCI_COMMAND, 2), 0);
	assert_int_equal(pcif_config_read(f, PCI_BASE_ADDRESS_0, 4), 0);
	assert_int_equal(pcif_bar_address(f, 0), address);
	/* Sticky bits stay, the payload size too; bit 15 never reads as set. */
	assert_int_equal(pcif_config_read(f, aer + PCI_ERR_UNCOR_MASK, 4), 0x00100000);
	assert_int_equal(pcif_config_read(f, exp + PCI_EXP_DEVCTL, 2), 0x2830);
	assert_int_equal(pcif_config_read(f, exp + PCI_EXP_DEVSTA, 2), 0);
	pcif_reset(f);
	assert_int_equal(resets_seen, 2);
	pcim_free(m);
}

static void power_states(void **state)
{
	uint32_t v;
	struct pcim *m;
	struct pcif *f = tm_machine(&m);
	unsigned pm = pcif_find_cap(f, PCI_CAP_ID_PM) + PCI_PM_CTRL;

	pcif_config_write(f, PCI_COMMAND, 2, CMD_ALL);
	assert_int_equal(pcif_bar_read(f, 0, 0, &v, 4, false), 0);
	pcif_config_write(f, pm, 2, 1);
	pcif_config_write(f, pm, 2, 2);
	assert_int_equal(pcif_config_read(f, pm, 2), 0);
	pcif_config_write(f, pm, 2, 3);
	assert_int_equal(pcif_config_read(f, pm, 2), 3);
	assert_int_equal(pcif_bar_read(f, 0, 0, &v, 4, false), -EIO);
	assert_int_equal(pcif_dma_read(f, 0x1000, &v, 4), -EFAULT);
	/* Configuration space answers in D3hot. */
	assert_int_equal(pcif_config_read(f, PCI_COMMAND, 2), CMD_ALL);
	assert_int_equal(pcif_reset_count(f), 0);
	pcif_config_write(f, pm, 1, 0);
	assert_int_equal(pcif_reset_count(f), 1);
	assert_int_equal(pcif_config_read(f, pm, 2), 0);
	assert_int_equal(pcif_config_read(f, PCI_COMMAND, 2), 0);
	/* D0 to D0 is nothing. */
	pcif_config_write(f, pm, 2, 0);
	assert_int_equal(pcif_reset_count(f), 1);
	pcim_free(m);
}

static enum iommu_reason last_reason;
static unsigned faults;

static void on_fault(void *data, const struct iommu_fault *fault)
{
	assert_string_equal(fault->port, "0000:65:00.0");
	last_reason = fault->reason;
	faults++;
}

static void bus_master(void **state)
{
	struct iommu_space *space;
	struct iommu_mem *mem;
	static uint8_t client[8192] __attribute__((aligned(4096)));
	uint32_t v = 0;
	struct pcim *m;
	struct pcif *f;

	assert_int_equal(pcim_new(&m), 0);
	pcim_set_fault_cb(m, on_fault, NULL);
	assert_int_equal(pcim_add(m, tm_bdf, &tm_model, NULL, NULL), 0);
	assert_int_equal(pcim_enumerate(m), 0);
	f = pcim_find(m, tm_bdf);
	assert_int_equal(iommu_space_new(&space), 0);
	assert_int_equal(iommu_mem_buffer(client, sizeof(client), &mem), 0);
	assert_int_equal(
		iommu_space_map(space, 0x10000, sizeof(client), IOMMU_READ | IOMMU_WRITE, mem, 0),
		0);
	iommu_port_attach(pcif_iommu_port(f), space);
	faults = 0;
	memcpy(client + 16, "abcd", 4);
	assert_int_equal(pcif_dma_read(f, 0x10010, &v, 4), -EFAULT);
	assert_int_equal(last_reason, IOMMU_FAULT_BUS_MASTER);
	assert_int_equal(v, 0);
	pcif_config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_int_equal(pcif_dma_read(f, 0x10010, &v, 4), 0);
	assert_memory_equal(&v, "abcd", 4);
	assert_int_equal(pcif_dma_write(f, 0x10020, "efgh", 4), 0);
	assert_memory_equal(client + 32, "efgh", 4);
	pcif_reset(f);
	assert_int_equal(pcif_dma_write(f, 0x10020, "ijkl", 4), -EFAULT);
	assert_memory_equal(client + 32, "efgh", 4);
	assert_int_equal(faults, 2);
	iommu_port_attach(pcif_iommu_port(f), NULL);
	pcim_free(m);
	iommu_space_put(space);
	iommu_mem_put(mem);
}

static void shared_hook(void **state)
{
	struct pcim *m;
	struct pcif *f = tm_machine(&m);
	uint64_t off;
	int fd = pcif_bar_memfd(f, 0, &off);
	void *own, *other = mmap(NULL, 0x4000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)off);

	assert_ptr_not_equal(other, MAP_FAILED);
	pcif_set_shared(f, false);
	assert_int_equal(tm_last->shared_off, 0);
	pcif_set_shared(f, true);
	pcif_set_shared(f, true);
	assert_int_equal(tm_last->shared_on, 1);
	pcif_set_shared(f, false);
	assert_int_equal(tm_last->shared_off, 1);
	/* The model hears of it when it has its own image again: what it keeps may not go away. */
	own = pcif_bar_image(f, 0);
	pcif_bar_set_image(f, 0, other);
	pcif_set_shared(f, true);
	pcif_set_shared(f, false);
	assert_ptr_equal(tm_last->image_off, own);
	assert_ptr_equal(pcif_bar_image(f, 0), own);
	pcif_bar_set_image(f, 0, NULL);
	assert_int_equal(pcif_bar_move_image(f, 0, NULL, -1, 0), 0);
	munmap(other, 0x4000);
	pcim_free(m);
}

/* ------------------------------------------------------------------ descriptions */

static void break_size(struct pcif_desc *d)
{
	d->bars[0].size = 0x3000;
}
static void break_small(struct pcif_desc *d)
{
	d->bars[0].size = 0x800;
	d->bars[0].n_areas = 0;
}
static void break_zero(struct pcif_desc *d)
{
	d->bars[0].size = 0;
}
static void break_io(struct pcif_desc *d)
{
	d->bars[4].size = 512;
}
static void break_io_area(struct pcif_desc *d)
{
	d->bars[4].n_areas = 1;
}
static void break_64(struct pcif_desc *d)
{
	d->bars[3] = d->bars[0];
}
static void break_last(struct pcif_desc *d)
{
	d->bars[5] = d->bars[2];
}
static void break_32(struct pcif_desc *d)
{
	d->bars[0].size = GIB(2);
}
static void break_area(struct pcif_desc *d)
{
	d->bars[0].areas[0].size = 0x4000;
}
static void break_area0(struct pcif_desc *d)
{
	d->bars[0].areas[0].size = 0;
}
static void break_align(struct pcif_desc *d)
{
	d->bars[0].areas[0].offset = 0x800;
}
static void break_count(struct pcif_desc *d)
{
	d->bars[0].n_areas = 5;
}
static void break_class(struct pcif_desc *d)
{
	d->class_code = 0x1000000;
}
static void break_pin(struct pcif_desc *d)
{
	d->intx_pin = 5;
}
static void break_msi(struct pcif_desc *d)
{
	d->msi_vectors = 3;
}
static void break_msi64(struct pcif_desc *d)
{
	d->msi_vectors = 64;
}
static void break_msix(struct pcif_desc *d)
{
	d->msix_vectors = 2049;
}
static void break_msix_bar(struct pcif_desc *d)
{
	d->msix_bar = 3;
}
static void break_msix_bar9(struct pcif_desc *d)
{
	d->msix_bar = 9;
}
static void break_msix_io(struct pcif_desc *d)
{
	d->msix_bar = 4;
}
static void break_msix_end(struct pcif_desc *d)
{
	d->msix_table_offset = 0x7ff8;
}
static void break_msix_over(struct pcif_desc *d)
{
	d->msix_pba_offset = 0x1008;
}
static void break_msix_map(struct pcif_desc *d)
{
	d->msix_pba_offset = 0x4000;
}
static void break_pcie(struct pcif_desc *d)
{
	d->pcie = false;
}

static void bad_descriptions(void **state)
{
	static void (*const cases[])(struct pcif_desc *) = {
		break_size,	break_small,	 break_zero,	 break_io,	  break_io_area,
		break_64,	break_last,	 break_32,	 break_area,	  break_area0,
		break_align,	break_count,	 break_class,	 break_pin,	  break_msi,
		break_msi64,	break_msix,	 break_msix_bar, break_msix_bar9, break_msix_io,
		break_msix_end, break_msix_over, break_msix_map, break_pcie,
	};
	struct pcim *m;

	assert_int_equal(pcim_new(&m), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct pcif_reply_error err = { "" };

		tm_desc = tm_full_desc();
		cases[i](&tm_desc);
		assert_int_equal(pcim_add(m, tm_bdf, &tm_model, NULL, &err), -EINVAL);
		assert_int_not_equal(err.text[0], 0);
		assert_int_equal(tm_alive, 0);
	}
	assert_int_equal(pcim_count(m), 0);
	assert_int_equal(pcim_enumerate(m), 0);
	pcim_free(m);
}

static void bdf_text(void **state)
{
	static const char *const bad[] = { "",
					   "0000:65:00.8",
					   "0000:65:20.0",
					   "0000:65:00.0 ",
					   "65:00",
					   "0000:65:00,0",
					   "00000:65:00.0",
					   "g5:00.0",
					   "0000-65:00.0",
					   "0000:65:00.00" };
	char text[PCI_BDF_STRLEN];
	struct pci_bdf bdf;

	assert_int_equal(pcif_bdf_parse("abCd:E5:1f.7", &bdf), 0);
	assert_string_equal(pcif_bdf_format(bdf, text), "abcd:e5:1f.7");
	assert_int_equal(pcif_bdf_parse("65:00.1", &bdf), 0);
	assert_string_equal(pcif_bdf_format(bdf, text), "0000:65:00.1");
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(pcif_bdf_parse(bad[i], &bdf), -EINVAL);
	assert_string_equal(pcif_bdf_format(bdf, text), "0000:65:00.1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tm_test(header_and_lists),
		tm_test(bad_accesses),
		tm_test(command_masks),
		tm_test(bar_sizing),
		tm_test(conventional),
		tm_test(extended_without_aer),
		tm_test(bar_pieces),
		tm_test(bar_images),
		tm_test(moved_image),
		tm_test(image_taken_away),
		tm_test(image_sigbus),
		tm_test(msix_hidden),
		tm_test(flr),
		tm_test(power_states),
		tm_test(bus_master),
		tm_test(shared_hook),
		tm_test(bad_descriptions),
		tm_test(bdf_text),
	};

	guard_remember();
	return cmocka_run_group_tests_name("pci_config", tests, NULL, NULL);
}
