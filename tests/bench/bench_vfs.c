/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What many virtual functions cost, in one process: making them, their memory, their idle time,
 * what 255 others with an address space of their own do to the maps and the DMA of one; and how two
 * under load share the device. One JSON object a line.
 */
#include <pthread.h>
#include <sys/resource.h>

#include "bus/bus.h"
#include "../unit/nvme_client.h"

#define VFS 256u
#define ROUNDS 7
#define DATA (RAM_IOVA + QUEUE_AREA)
#define DEPTH 32u

static void row(const char *name, double value, const char *unit)
{
	printf("{\"row\": \"%s\", \"value\": %.2f, \"unit\": \"%s\"}\n", name, value, unit);
	fflush(stdout);
}

static void must(int good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "bench_vfs: %s failed\n", what);
	exit(1);
}

static double resident_kib(void)
{
	char *text, *p;
	size_t size;
	double kib;

	must(!file_read_all("/proc/self/status", KIB(64), &text, &size), "/proc/self/status");
	p = strstr(text, "VmRSS:");
	kib = p ? strtod(p + 6, NULL) : 0;
	free(text);
	return kib;
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* ------------------------------------------------------------------ many, idle */

static double best(void (*fn)(struct client *cl), struct client *cl, unsigned n)
{
	double least = 1e18;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t before = time_mono_ns();
		double each;

		for (unsigned k = 0; k < n; k++)
			fn(cl);
		each = (double)(time_mono_ns() - before) / n;
		least = MIN(least, each);
	}
	return least;
}

static void map_unmap(struct client *cl)
{
	uint64_t removed;

	iommu_space_map(cl->space, 0x80000000, 4096, IOMMU_READ | IOMMU_WRITE, cl->mem,
			(uintptr_t)cl->device);
	iommu_space_unmap(cl->space, IOMMU_UNMAP_EXACT, 0x80000000, 4096, &removed);
}

static void dma(struct client *cl)
{
	uint8_t buf[64];

	iommu_read(pcif_iommu_port(cl->f), DATA, buf, sizeof(buf));
}

static void bench_many(void)
{
	static struct client *vf[VFS];
	struct pcif_reply_error err;
	struct client *pf = client_new("mem=1M,vfs=256,vf_mem=1M,vf_queues=1", false, &err);
	double before = resident_kib(), alone[2], many[2], cpu;
	uint64_t t0 = time_mono_ns();

	must(pf && !pcim_sriov_enable(pf->f, VFS), "256 VFs");
	row("vfs_make_256", (double)(time_mono_ns() - t0) / 1e6, "ms");
	row("vfs_memory_each", (resident_kib() - before) / VFS, "KiB");
	vf[0] = client_vf(pf, 0, 64);
	must(vf[0] != NULL, "VF 0");
	alone[0] = best(map_unmap, vf[0], 20000);
	alone[1] = best(dma, vf[0], 200000);
	for (unsigned i = 1; i < VFS; i++) {
		vf[i] = client_vf(pf, i, 64);
		must(vf[i] != NULL, "a VF");
	}
	many[0] = best(map_unmap, vf[0], 20000);
	many[1] = best(dma, vf[0], 200000);
	row("vfs_map_unmap_1", alone[0], "ns");
	row("vfs_map_unmap_256", many[0], "ns");
	row("vfs_dma_1", alone[1], "ns");
	row("vfs_dma_256", many[1], "ns");
	for (unsigned i = 0; i < VFS; i++)
		client_map_bar(vf[i]);
	usleep(1000000);
	cpu = cpu_seconds();
	usleep(3000000);
	row("vfs_idle_256", (cpu_seconds() - cpu) / 3 * 100, "%");
	for (unsigned i = 0; i < VFS; i++)
		client_vf_free(vf[i]);
	pcim_sriov_disable(pf->f);
	client_free(pf);
}

/* ------------------------------------------------------------------ two under load */

struct load {
	struct client *cl;
	pthread_t thread;
	uint64_t end_ns, done;
};

static void *load_main(void *data)
{
	struct load *l = data;
	unsigned inflight = 0;
	uint64_t lba = 0;

	while (time_mono_ns() < l->end_ns) {
		struct nvmed_cqe cqe;
		bool any = false;

		for (; inflight < DEPTH; inflight++, lba = (lba + 8) % 1024) {
			struct nvmed_sqe cmd = { .opcode = NVMED_IO_READ,
						 .nsid = le32_make(1),
						 .prp1 = le64_make(DATA + inflight * 4096),
						 .cdw10 = le32_make((uint32_t)lba),
						 .cdw12 = le32_make(7) };

			client_queue_cmd(l->cl, 1, cmd);
			any = true;
		}
		if (any)
			client_ring(l->cl, 1);
		for (any = false; client_poll(l->cl, 1, &cqe); inflight--, l->done++)
			any = true;
		if (any)
			client_ack(l->cl, 1);
		else
			sched_yield();
	}
	return NULL;
}

static void run_load(struct load *l, unsigned n, double seconds)
{
	uint64_t end = time_mono_ns() + (uint64_t)(seconds * 1e9);

	for (unsigned i = 0; i < n; i++) {
		l[i].end_ns = end;
		l[i].done = 0;
		must(!pthread_create(&l[i].thread, NULL, load_main, &l[i]), "a thread");
	}
	for (unsigned i = 0; i < n; i++)
		pthread_join(l[i].thread, NULL);
	/* What is on its way is taken in, so that the next round begins with nothing. */
	for (unsigned i = 0; i < n; i++) {
		struct nvmed_cqe cqe;

		usleep(20000);
		while (client_poll(l[i].cl, 1, &cqe))
			;
		client_ack(l[i].cl, 1);
	}
}

static void bench_two(void)
{
	struct pcif_reply_error err;
	struct client *pf = client_new("mem=1M,vfs=2,vf_mem=64M", false, &err);
	struct load l[2] = { 0 };
	double one = 0, both = 0, least = 1e18, most = 0;

	must(pf && !pcim_sriov_enable(pf->f, 2), "two VFs");
	for (unsigned i = 0; i < 2; i++) {
		l[i].cl = client_vf(pf, i, 64);
		must(l[i].cl != NULL, "a VF");
		client_map_bar(l[i].cl);
	}
	for (unsigned r = 0; r < 3; r++) {
		run_load(l, 1, 0.7);
		one += (double)l[0].done / 0.7 / 3;
		run_load(l, 2, 0.7);
		both += (double)(l[0].done + l[1].done) / 0.7 / 3;
		least = MIN(least, (double)MIN(l[0].done, l[1].done));
		most = MAX(most, (double)MAX(l[0].done, l[1].done) /
					 (double)MAX(MIN(l[0].done, l[1].done), 1));
	}
	row("vfs_one", one / 1000, "kIOPS");
	row("vfs_two", both / 1000, "kIOPS");
	row("vfs_uneven", most, "x");
	for (unsigned i = 0; i < 2; i++)
		client_vf_free(l[i].cl);
	pcim_sriov_disable(pf->f);
	client_free(pf);
}

int main(void)
{
	fd_limit_raise();
	bench_many();
	bench_two();
	return 0;
}
