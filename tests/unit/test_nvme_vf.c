/* SPDX-License-Identifier: BSD-3-Clause */
/* Virtual functions of the NVMe controller: what each has for itself, and what it cannot reach. */
#include "nvme_test.h"

#define ELSEWHERE 0x90000000ull /* mapped for one VF only */

static struct client *pf_with(const char *options, bool manual, unsigned vfs)
{
	struct client *pf = open_client(options, manual);

	assert_int_equal(pcim_sriov_enable(pf->f, vfs), 0);
	return pf;
}

static void fill(struct client *cl, uint64_t iova, uint8_t seed)
{
	uint8_t *p = client_ptr(cl, iova);

	for (unsigned i = 0; i < 4096; i++)
		p[i] = (uint8_t)(seed + i * 3);
}

static bool is_filled(struct client *cl, uint64_t iova, uint8_t seed)
{
	const uint8_t *p = client_ptr(cl, iova);

	for (unsigned i = 0; i < 4096; i++)
		if (p[i] != (uint8_t)(seed + i * 3))
			return false;
	return true;
}

static uint16_t move(struct client *cl, uint8_t opcode, uint64_t lba, uint64_t iova)
{
	return client_do(cl, 1, rw_cmd(opcode, lba, 8, iova, 0), NULL);
}

static void refuse(const char *options, const char *word)
{
	struct pcif_reply_error err = { "" };
	struct client *cl = client_new(options, true, &err);

	assert_null(cl);
	if (!strstr(err.text, word))
		fail_msg("%s: \"%s\" does not name %s", options, err.text, word);
}

static void options(void **state)
{
	refuse("mem=1M,vfs=2", "vf_mem");
	refuse("mem=1M,vfs=257,vf_mem=1M", "256");
	refuse("mem=1M,vf_mem=1M", "vfs=N");
	refuse("mem=1M,vf_iops=5", "vfs=N");
	refuse("mem=1M,vfs=2,vf_mem=banana", "vf_mem=banana");
	refuse("mem=1M,vfs=2,vf_mem=1M,vf_disk=x%d", "not both");
	refuse("mem=1M,vfs=2,vf_disk=/tmp/same.img", "%d once");
	refuse("mem=1M,vfs=2,vf_disk=/tmp/%d-%d.img", "%d once");
	refuse("mem=1M,vfs=2,vf_disk=/nonexistent/%d.img", "/nonexistent/0.img");
	refuse("mem=1M,vfs=2,vf_mem=1M,vf_queues=65", "vf_queues");
	refuse("mem=1M,vfs=2,vf_mem=1M,vf_iops=0", "vf_iops");
	refuse("mem=1M,vfs=2,vf_mem=1M,vf_bandwidth=fast", "vf_bandwidth");
}

/* Identities, sizes, resources. */
static void identity(void **state)
{
	struct client *pf = pf_with("mem=1M,vfs=3,vf_mem=2M,vf_queues=2", true, 3);
	struct client *vf[2] = { client_vf(pf, 0, 64), client_vf(pf, 2, 64) };
	const struct pcif_desc *d = pcif_desc(vf[0]->f);

	assert_int_equal(d->sriov.total_vfs, 0);
	assert_int_equal(d->msix_vectors, 3);
	assert_int_equal(d->class_code, 0x010802);
	assert_string_not_equal(vf[0]->ctrl->serial, vf[1]->ctrl->serial);
	assert_string_not_equal(vf[0]->ctrl->serial, pf->ctrl->serial);
	assert_memory_not_equal(vf[0]->ctrl->uuid, vf[1]->ctrl->uuid, 16);
	assert_int_equal(vf[1]->ctrl->disk->size, MIB(2));
	assert_int_equal(client_create_queue(vf[0], 2, 16), NVMED_OK);
	assert_int_equal(client_create_queue(vf[0], 3, 16) & 0xff, NVMED_INVALID_QUEUE_ID & 0xff);
	client_vf_free(vf[0]);
	client_vf_free(vf[1]);
	pcim_sriov_disable(pf->f);
	client_free(pf);
}

/* Two owners write the same blocks, each of its own namespace. */
static void namespaces(void **state)
{
	struct client *pf = pf_with("mem=1M,vfs=2,vf_mem=2M", false, 2);
	struct client *a = client_vf(pf, 0, 64), *b = client_vf(pf, 1, 64);

	fill(a, DATA, 11);
	fill(b, DATA, 22);
	assert_int_equal(move(a, NVMED_IO_WRITE, 8, DATA), NVMED_OK);
	assert_int_equal(move(b, NVMED_IO_WRITE, 8, DATA), NVMED_OK);
	assert_int_equal(move(a, NVMED_IO_READ, 8, DATA + 4096), NVMED_OK);
	assert_int_equal(move(b, NVMED_IO_READ, 8, DATA + 4096), NVMED_OK);
	assert_true(is_filled(a, DATA + 4096, 11));
	assert_true(is_filled(b, DATA + 4096, 22));
	/* One is reset: the other does not notice, and the data stays. */
	pcif_reset(a->f);
	assert_int_equal(move(b, NVMED_IO_READ, 8, DATA + 8192), NVMED_OK);
	assert_true(is_filled(b, DATA + 8192, 22));
	client_vf_free(a);
	client_vf_free(b);
	/* The VFs go, and come again. */
	pcim_sriov_disable(pf->f);
	assert_int_equal(pcim_sriov_enable(pf->f, 1), 0);
	a = client_vf(pf, 0, 64);
	assert_int_equal(move(a, NVMED_IO_READ, 8, DATA), NVMED_OK);
	assert_true(is_filled(a, DATA, 11));
	client_vf_free(a);
	pcim_sriov_disable(pf->f);
	client_free(pf);
}

/* Memory that is mapped for one VF is nowhere for another. */
static void isolation(void **state)
{
	struct client *pf = pf_with("mem=1M,vfs=2,vf_mem=2M", true, 2);
	struct client *a = client_vf(pf, 0, 64), *b = client_vf(pf, 1, 64);
	struct iommu_port_stats before, after;
	uint8_t *canary = client_ptr(b, DATA);

	fill(b, DATA, 33);
	assert_int_equal(iommu_space_map(b->space, ELSEWHERE, 4096, IOMMU_READ | IOMMU_WRITE,
					 b->mem, (uintptr_t)b->device + QUEUE_AREA),
			 0);
	assert_int_equal(move(b, NVMED_IO_WRITE, 0, ELSEWHERE), NVMED_OK);
	iommu_port_get_stats(pcif_iommu_port(a->f), &before);
	assert_int_equal(move(a, NVMED_IO_READ, 0, ELSEWHERE), NVMED_DATA_TRANSFER_ERROR);
	assert_int_equal(move(a, NVMED_IO_WRITE, 0, ELSEWHERE), NVMED_DATA_TRANSFER_ERROR);
	iommu_port_get_stats(pcif_iommu_port(a->f), &after);
	assert_int_equal(after.faults - before.faults, 2);
	/* Two commands and two completions, nothing else. */
	assert_int_equal(after.read_bytes - before.read_bytes, 2 * sizeof(struct nvmed_sqe));
	assert_int_equal(after.write_bytes - before.write_bytes, 2 * sizeof(struct nvmed_cqe));
	assert_true(is_filled(b, DATA, 33));
	assert_non_null(canary);
	client_vf_free(a);
	client_vf_free(b);
	pcim_sriov_disable(pf->f);
	client_free(pf);
}

/* A limit holds one VF back, and only that: at least the time that its commands are worth passes.
 */
static void limited(void **state)
{
	struct client *pf = pf_with("mem=1M,vfs=1,vf_mem=2M,vf_iops=1000", false, 1);
	struct client *vf = client_vf(pf, 0, 64);
	uint64_t before = time_mono_ns();

	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(move(vf, NVMED_IO_READ, i % 64, DATA), NVMED_OK);
	assert_true(time_mono_ns() - before >= 180000000u);
	client_vf_free(vf);
	pcim_sriov_disable(pf->f);
	client_free(pf);

	pf = pf_with("mem=1M,vfs=1,vf_mem=2M,vf_bandwidth=4M,mmio=trap", false, 1);
	vf = client_vf(pf, 0, 64);
	before = time_mono_ns();
	for (unsigned i = 0; i < 256; i++) /* a MiB */
		assert_int_equal(move(vf, NVMED_IO_READ, i % 64, DATA), NVMED_OK);
	assert_true(time_mono_ns() - before >= 230000000u);
	client_vf_free(vf);
	pcim_sriov_disable(pf->f);
	client_free(pf);
}

/* What is queued at once is no way around it: one large command may go ahead of its time, not all.
 */
static void limited_at_once(void **state)
{
	struct client *pf = pf_with("mem=1M,vfs=1,vf_mem=2M,vf_bandwidth=256K", false, 1);
	struct client *vf = client_vf(pf, 0, 64);
	uint64_t before = time_mono_ns();
	struct nvmed_cqe cqe;

	for (unsigned i = 0; i < 12; i++)
		client_queue_cmd(vf, 1, rw_cmd(NVMED_IO_READ, 0, 8, DATA, 0));
	client_ring(vf, 1);
	for (unsigned i = 0; i < 12; i++) {
		assert_true(client_wait(vf, 1, &cqe));
		assert_int_equal(le16_get(cqe.status) >> 1, NVMED_OK);
	}
	/* Each is worth 15.6 ms, of which the first needs none. */
	assert_true(time_mono_ns() - before >= 160000000u);
	client_vf_free(vf);
	pcim_sriov_disable(pf->f);
	client_free(pf);
}

/* A worker that sleeps for long wakes for a store that nobody told it of. */
static void idle_and_woken(void **state)
{
	struct client *pf = pf_with("mem=1M,vfs=2,vf_mem=2M", false, 2);
	struct client *a = client_vf(pf, 0, 64), *b = client_vf(pf, 1, 64);

	client_map_bar(a);
	client_map_bar(b);
	for (unsigned i = 0; i < 3; i++) {
		usleep(150000);
		fill(a, DATA, (uint8_t)(40 + i));
		assert_int_equal(move(a, NVMED_IO_WRITE, 0, DATA), NVMED_OK);
		assert_int_equal(move(b, NVMED_IO_READ, 0, DATA), NVMED_OK);
	}
	usleep(150000);
	assert_true(client_disable(a));
	usleep(150000);
	assert_true(client_enable(a, 32));
	/* Reset and the end of sharing while it sleeps. */
	usleep(150000);
	pcif_reset(a->f);
	pcif_config_write(a->f, 4, 2, 6);
	assert_true(client_enable(a, 32));
	usleep(150000);
	client_vf_free(a);
	client_vf_free(b);
	pcim_sriov_disable(pf->f);
	client_free(pf);
}

static void many(void **state)
{
	struct client *pf = open_client("mem=1M,vfs=256,vf_mem=1M,vf_queues=1", false);
	unsigned fds = open_fds();

	for (unsigned round = 0; round < 2; round++) {
		struct client *vf;

		assert_int_equal(pcim_sriov_enable(pf->f, 256), 0);
		vf = client_vf(pf, 255, 64);
		assert_int_equal(move(vf, NVMED_IO_READ, 0, DATA), NVMED_OK);
		client_vf_free(vf);
		pcim_sriov_disable(pf->f);
		assert_int_equal(open_fds(), fds);
	}
	client_free(pf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options),	  cmocka_unit_test(identity),
		cmocka_unit_test(namespaces),	  cmocka_unit_test(isolation),
		cmocka_unit_test(limited),	  cmocka_unit_test(limited_at_once),
		cmocka_unit_test(idle_and_woken), cmocka_unit_test(many),
	};

	return cmocka_run_group_tests_name("nvme_vf", tests, NULL, NULL);
}
