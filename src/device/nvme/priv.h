/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller model's own declarations.
 *
 * Theory of operation. One worker thread per controller does everything that a host can see in
 * order: it watches registers and doorbells, fetches commands, runs the quick ones, posts
 * completions and raises interrupts. It owns struct nvmed_ctrl under @lock. Commands that may wait
 * for a disk run on a small pool; a pool thread touches only its request, the disk and client
 * memory, and hands the request back through the pool's list of finished requests.
 *
 * Trapped register writes never do work: register hooks (under pci's register lock) and doorbell
 * writes leave a note in an atomic and wake the worker.
 *
 * Lock order: nvmed_ctrl.lock, then pci's register lock (pcif_lock()), then nvmed_pool.lock or
 * nvmed_ctrl.wake_lock. Hooks run under the register lock and so must not take nvmed_ctrl.lock.
 *
 * External names begin with nvmed_: nvme_ is libnvme's.
 */
#ifndef UVFIO_DEVICE_NVME_PRIV_H
#define UVFIO_DEVICE_NVME_PRIV_H

#include <pthread.h>
#include <sys/uio.h>

#include "device/device.h"
#include "device/nvme/nvme.h"

#define NVMED_MAX_QUEUES 65 /* admin queue included */
#define NVMED_MAX_ENTRIES 1024
#define NVMED_MAX_AER 4
#define NVMED_MDTS 8 /* power of two of 4 KiB pages */
#define NVMED_MAX_TRANSFER (UVF_PAGE_SIZE << NVMED_MDTS)
#define NVMED_MPS_MAX 4 /* 64 KiB */
#define NVMED_ERROR_ENTRIES 64
#define NVMED_TEMPERATURE 310 /* kelvin, what we report */
#define NVMED_WCTEMP 343      /* warning, and default of the threshold */
#define NVMED_CCTEMP 353      /* critical */
#define NVMED_SENSORS 1	      /* besides the composite temperature */
#define NVMED_REQUESTS 256
#define NVMED_ADMIN_REQUESTS 16 /* of those, kept for the admin queue */
#define NVMED_SQ_INFLIGHT 64	/* commands of one queue in progress */
#define NVMED_BATCH 16		/* commands fetched, completions posted, at once */

/* Not a status: the handler keeps the request, or wants to run where it may wait. */
#define NVMED_PENDING 0xffffu
#define NVMED_RETRY_SLOW 0xfffeu

struct nvmed_ctrl;
struct nvmed_req;

/* ------------------------------------------------------------------ prp.c */

#define NVMED_MAX_RUNS (NVMED_MAX_TRANSFER / UVF_PAGE_SIZE + 1)

struct nvmed_run { /* bytes that are contiguous in I/O virtual addresses */
	uint64_t iova;
	uint32_t size;
};

/* Reads @size bytes of a PRP list at @iova; 0 or a negative errno. */
typedef int (*nvmed_prp_fetch)(void *data, uint64_t iova, void *buf, size_t size);

/**
 * nvmed_prp_walk() - the pieces of memory that a PRP pair describes, neighbours merged.
 * @size: 1 to NVMED_MAX_TRANSFER bytes
 * @page_shift: of CC.MPS, 12 to 16
 * @runs: room for NVMED_MAX_RUNS
 *
 * Pure: reads nothing but through @fetch. Returns NVMED_OK, NVMED_INVALID_PRP_OFFSET or
 * NVMED_DATA_TRANSFER_ERROR (a list could not be read, or an address would wrap).
 * Source: NVM Express 1.4, 4.3.
 */
uint16_t nvmed_prp_walk(uint64_t prp1, uint64_t prp2, uint32_t size, unsigned page_shift,
			nvmed_prp_fetch fetch, void *data, struct nvmed_run *runs,
			unsigned *n_runs);

/* ------------------------------------------------------------------ disk.c */

struct nvmed_disk;

enum nvmed_zero {
	NVMED_ZERO,	       /* reads as zero afterwards, space stays reserved */
	NVMED_ZERO_DEALLOCATE, /* reads as zero afterwards, space is given back if possible */
	NVMED_DISCARD,	       /* space is given back and reads as zero, or nothing happens */
};

/* Offsets and sizes lie inside the disk (the caller checked). 0 or a negative errno. */
struct nvmed_disk_ops {
	/* Changes @iov. With @nowait, -EAGAIN if it would have to wait for the medium. */
	int (*readv)(struct nvmed_disk *d, struct iovec *iov, unsigned n, uint64_t offset,
		     bool nowait);
	/* With @durable the data is on the medium when it returns. */
	int (*writev)(struct nvmed_disk *d, struct iovec *iov, unsigned n, uint64_t offset,
		      bool nowait, bool durable);
	int (*sync)(struct nvmed_disk *d);
	int (*zero)(struct nvmed_disk *d, uint64_t offset, uint64_t size, enum nvmed_zero how);
	void (*free)(struct nvmed_disk *d);
};

struct nvmed_disk {
	const struct nvmed_disk_ops *ops;
	uint64_t size; /* bytes, multiple of the block size */
	bool readonly;
	bool slow;	 /* operations may wait for a medium */
	uint8_t *memory; /* the bytes themselves, for a memory disk */
	uint64_t id;	 /* of the file: device and inode number; 0 for memory */
};

/* "disk=FILE"; takes the lock on the image. Errors say cause and remedy in @err. */
int nvmed_disk_open_file(const char *path, unsigned block, bool readonly, struct nvmed_disk **disk,
			 struct pcif_reply_error *err);
/* @key=@size: bytes, or with a suffix K, M, G or T. */
int nvmed_disk_open_memory(const char *key, const char *size, unsigned block,
			   struct nvmed_disk **disk, struct pcif_reply_error *err);
int nvmed_size_parse(const char *text, uint64_t *size); /* "512M"; -EINVAL */
void nvmed_disk_free(struct nvmed_disk *disk);		/* NULL is fine */

/* ------------------------------------------------------------------ requests */

/* Buffers of one thread that runs commands. */
#define NVMED_BOUNCE_SIZE KIB(128)
#define NVMED_PINS 32
struct nvmed_scratch {
	struct nvmed_run runs[NVMED_MAX_RUNS];
	unsigned n_runs;
	struct iommu_pin pins[NVMED_PINS];
	struct iovec iov[NVMED_PINS * 8];
	uint8_t *bounce;  /* NVMED_BOUNCE_SIZE, made on first use */
	uint8_t *bounce2; /* for comparing */
};
int nvmed_scratch_bounce(struct nvmed_scratch *s); /* 0 or -ENOMEM */
void nvmed_scratch_fini(struct nvmed_scratch *s);

#define NVMED_CMD_SLOW BIT(0)	/* waits for the medium: to the pool */
#define NVMED_CMD_DATA BIT(1)	/* moves blocks: inline if small and cached */
#define NVMED_CMD_NS BIT(2)	/* needs the namespace */
#define NVMED_CMD_NS_ALL BIT(3) /* NSID FFFFFFFFh is fine too */
#define NVMED_CMD_WRITES BIT(4) /* refused while write protected */
#define NVMED_CMD_LBA BIT(5)	/* dwords 10 and 11 are a logical block address */

struct nvmed_command {
	const char *name;
	/* NULL: no such command. Returns a status, NVMED_PENDING or NVMED_RETRY_SLOW. */
	uint16_t (*run)(struct nvmed_req *req, struct nvmed_scratch *s);
	unsigned flags;
	uint32_t effects;
};

struct nvmed_req {
	struct nvmed_req *next;
	struct nvmed_ctrl *ctrl;
	struct nvmed_sq *sq; /* NULL: our own (shutdown) */
	const struct nvmed_command *command;
	struct nvmed_sqe cmd;
	bool nowait;
	uint8_t page_shift;
	uint16_t status;
	uint16_t location; /* of the error in the command: byte | bit << 8; FFFFh unknown */
	uint32_t dw0;
};

/* DNR status, the byte of the command that caused it noted for the error log. */
uint16_t nvmed_fail(struct nvmed_req *req, uint16_t status, unsigned byte);

/* ------------------------------------------------------------------ pool.c */

struct nvmed_pool {
	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t work;  /* a request was queued, or quit */
	pthread_cond_t idle;  /* running fell to 0 */
	struct nvmed_req *head, **tail;
	struct nvmed_req *done, **done_tail;
	unsigned running, threads, waiting;
	bool quit;
	pthread_t thread[3];
};

int nvmed_pool_init(struct nvmed_pool *p);
void nvmed_pool_fini(struct nvmed_pool *p); /* drops what is queued, waits for what runs */
/* Runs it on a pool thread (or, on a manual controller, at once). */
void nvmed_pool_submit(struct nvmed_ctrl *c, struct nvmed_req *req);
struct nvmed_req *nvmed_pool_reap(struct nvmed_ctrl *c);   /* finished ones, linked by next */
struct nvmed_req *nvmed_pool_cancel(struct nvmed_ctrl *c); /* those not started */
/* The not yet started request of @sq with @cid, taken out, or NULL. */
struct nvmed_req *nvmed_pool_take(struct nvmed_ctrl *c, const struct nvmed_sq *sq, uint16_t cid);
void nvmed_pool_drain(struct nvmed_ctrl *c); /* waits until nothing runs */

/* ------------------------------------------------------------------ queues */

struct nvmed_cq {
	bool live, ien, phase;
	uint16_t id, vector;
	uint32_t size, head, tail; /* entries */
	uint64_t base;
	unsigned reserved; /* entries promised to commands in progress */
	unsigned sqs;	   /* submission queues that complete here */
	struct nvmed_cqe out[NVMED_BATCH];
	unsigned n_out; /* part of reserved until posted */
};

struct nvmed_sq {
	bool live;
	bool stopped; /* by an invalid tail */
	uint16_t id;
	uint32_t size, head, tail;
	uint64_t base;
	struct nvmed_cq *cq;
	unsigned inflight;
	struct nvmed_req *deleter; /* Delete I/O SQ that waits for inflight to become 0 */
};

enum nvmed_state {
	NVMED_DISABLED,
	NVMED_ENABLED,
	NVMED_FAILED,	/* could not be enabled: CFS until CC.EN is cleared */
	NVMED_STOPPING, /* CC.EN was cleared; commands in progress are waited for */
};

struct nvmed_threshold { /* kelvin; [NVMED_OVER], [NVMED_UNDER] */
	uint16_t at[2];
};
enum { NVMED_OVER, NVMED_UNDER };

struct nvmed_event {
	uint8_t type, info, log;
};

#define NVMED_FEATURES 0x0c

enum nvmed_mmio { NVMED_MMIO_SHARED, NVMED_MMIO_DOORBELL, NVMED_MMIO_TRAP };

/* Of a VF; all under nvmed_ctrl.lock. See limit.c. */
struct nvmed_limit {
	uint64_t iops, bandwidth; /* a second; 0: no limit */
	uint64_t next_command, next_byte;
	uint64_t resume_ns; /* commands wait until then; 0: none does */
};

/* Who looks for stores while the worker sleeps long; under a lock of watch.c. */
struct nvmed_watch {
	bool on;
	struct nvmed_ctrl *next;
	uint32_t cc, csts;
	unsigned n_doorbells;
};

struct nvmed_vfs;

struct nvmed_stats { /* added to from any thread */
	_Atomic uint64_t read_blocks, written_blocks, reads, writes, media_errors;
};

struct nvmed_ctrl {
	struct pcif *f;
	struct pcif_regs *regs;
	struct nvmed_disk *disk; /* its own, or (a VF's) the PF's */
	struct nvmed_ctrl *pf;	 /* of a VF; it outlives this */
	struct nvmed_vfs *vfs;	 /* of a PF, or NULL */
	unsigned block_shift;
	unsigned n_queues; /* I/O queue pairs */
	unsigned n_vectors;
	enum nvmed_mmio mmio;
	char serial[21];
	uint8_t uuid[16];
	bool manual; /* no threads: the owner calls nvmed_step() */

	/* Notes from hooks and trapped writes to the worker. */
	_Atomic uint64_t db_note[NVMED_MAX_QUEUES * 2]; /* value | 1 << 32 */
	_Atomic bool db_noted, db_invalid;
	_Atomic bool regs_noted; /* CC was written */
	_Atomic bool en_fell;	 /* CC.EN went to 0, be it only for a moment */
	_Atomic bool nssr;
	_Atomic uint32_t intm; /* INTMS/INTMC mask */
	_Atomic bool intm_noted;
	_Atomic uint32_t nssro; /* CSTS.NSSRO; changed under the register lock */
	_Atomic bool vwc;	/* volatile write cache enabled; read by pool threads */
	struct nvmed_stats stats;

	/* Sleeping and waking. wake_lock guards kicked and quit. */
	pthread_t worker;
	bool worker_started;
	pthread_mutex_t wake_lock;
	pthread_cond_t wake;
	bool kicked, quit;
	_Atomic bool asleep;
	_Atomic unsigned stop; /* somebody wants @lock: the worker lets it go */

	struct nvmed_pool pool;	  /* has its own lock */
	struct nvmed_watch watch; /* the same */

	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t resumed;
	bool shared;
	uint8_t *image;				/* of BAR 0 */
	uint32_t db_seen[NVMED_MAX_QUEUES * 2]; /* last value taken from the image */
	enum nvmed_state state;
	bool fatal;
	unsigned shst; /* CSTS field: 0, BUSY or DONE */
	unsigned page_shift;
	struct nvmed_sq sq[NVMED_MAX_QUEUES];
	struct nvmed_cq cq[NVMED_MAX_QUEUES];
	unsigned last_queue; /* highest id of a queue that is live */
	unsigned next_sq;    /* round robin */
	struct nvmed_req *free_reqs;
	unsigned n_free;
	struct nvmed_req *reqs;
	unsigned slow_inflight; /* requests given to the pool and not reaped yet */
	struct nvmed_req shutdown_req;
	bool shutdown_submitted;
	bool intx;	   /* level of the pin as we left it */
	uint32_t msi_held; /* MSI vectors with a message held back by the mask */
	struct nvmed_req *aer[NVMED_MAX_AER];
	unsigned n_aer;
	struct nvmed_event events[8];
	unsigned n_events;
	bool event_masked[NVMED_EVENT_TYPES];
	uint32_t features[NVMED_FEATURES];
	struct nvmed_threshold threshold[NVMED_SENSORS + 1]; /* [0]: composite temperature */
	uint16_t vector_config[NVMED_MAX_QUEUES];
	struct nvmed_error_entry errors[NVMED_ERROR_ENTRIES];
	uint64_t n_errors;
	uint64_t created_ns;
	struct nvmed_limit limit;
	uint64_t n_io;	  /* I/O commands fetched */
	uint64_t busy_ns; /* there was one in progress; counted by the worker */
	uint64_t power_cycles;
	struct nvmed_scratch scratch;
};

/* ------------------------------------------------------------------ ctrl.c */

enum nvmed_reg {
	NVMED_R_CAPL,
	NVMED_R_CAPH,
	NVMED_R_VS,
	NVMED_R_INTMS,
	NVMED_R_INTMC,
	NVMED_R_CC,
	NVMED_R_CSTS,
	NVMED_R_NSSR,
	NVMED_R_AQA,
	NVMED_R_ASQL,
	NVMED_R_ASQH,
	NVMED_R_ACQL,
	NVMED_R_ACQH,
	NVMED_R_COUNT,
};

/*
 * What device_nvme.create() does, with or without threads. A manual controller is for tests that
 * want to decide when the worker's steps happen.
 */
int nvmed_create(struct pcif *f, const struct pcif_params *params, struct pcif_desc *desc,
		 bool manual, struct nvmed_ctrl **ctrl, struct pcif_reply_error *err);
/* Register events: enable, disable, shutdown, subsystem reset. Under @lock; true: something was
 * done. */
bool nvmed_ctrl_registers(struct nvmed_ctrl *c);
void nvmed_ctrl_fatal(struct nvmed_ctrl *c, const char *why); /* CSTS.CFS until reset */
void nvmed_ctrl_publish(struct nvmed_ctrl *c);		      /* CSTS */

/* ------------------------------------------------------------------ queue.c */

/* Notes a trapped doorbell write. Any thread. */
void nvmed_doorbell_write(struct nvmed_ctrl *c, uint64_t offset, uint32_t value);
uint32_t nvmed_doorbell_read(struct nvmed_ctrl *c, uint64_t offset);
/* Under @lock from here on. */
void nvmed_queue_open_sq(struct nvmed_ctrl *c, unsigned id, uint64_t base, uint32_t size,
			 struct nvmed_cq *cq);
void nvmed_queue_open_cq(struct nvmed_ctrl *c, unsigned id, uint64_t base, uint32_t size, bool ien,
			 uint16_t vector);
void nvmed_queue_close_sq(struct nvmed_ctrl *c, struct nvmed_sq *sq);
void nvmed_queue_close_cq(struct nvmed_ctrl *c, struct nvmed_cq *cq);
void nvmed_queue_reset(struct nvmed_ctrl *c);	  /* no queue is left, no request, no doorbell */
void nvmed_req_free(struct nvmed_req *req);	  /* without a completion */
void nvmed_req_cancel(struct nvmed_ctrl *c);	  /* drops those that wait in the pool */
void nvmed_reap(struct nvmed_ctrl *c, bool *any); /* completes what the pool has finished */
bool nvmed_doorbell_scan(struct nvmed_ctrl *c, bool all);
/* Commands that the host has stored a doorbell for and that are not fetched yet. Takes none in. */
unsigned nvmed_doorbell_count(const struct nvmed_ctrl *c);
bool nvmed_queue_run(struct nvmed_ctrl *c); /* fetch and run */
void nvmed_complete(struct nvmed_req *req, uint16_t status);
bool nvmed_cq_has_room(const struct nvmed_cq *cq);
bool nvmed_cq_flush_all(struct nvmed_ctrl *c);
void nvmed_irq_update(struct nvmed_ctrl *c); /* the pin, and messages that a mask held back */

/* ------------------------------------------------------------------ worker.c */

/* One round of everything. Under @lock. True: there was work. @slow_scan: look at all registers. */
bool nvmed_step(struct nvmed_ctrl *c, bool slow_scan);
void nvmed_kick(struct nvmed_ctrl *c); /* any thread */
int nvmed_worker_start(struct nvmed_ctrl *c);
void nvmed_worker_stop(struct nvmed_ctrl *c);
/* Takes @lock away from the worker, between two of its steps. */
void nvmed_pause(struct nvmed_ctrl *c);
void nvmed_resume(struct nvmed_ctrl *c);

/* ------------------------------------------------------------------ limit.c, watch.c, vf.c */

unsigned nvmed_limit_allows(struct nvmed_ctrl *c, unsigned n);
void nvmed_limit_spend(struct nvmed_ctrl *c, uint64_t bytes);

bool nvmed_watch_add(struct nvmed_ctrl *c);
void nvmed_watch_remove(struct nvmed_ctrl *c);

#define NVMED_DEVICE 0x5010
#define NVMED_VF_DEVICE 0x5011
int nvmed_vfs_parse(struct nvmed_ctrl *c, const struct pcif_params *params,
		    struct pcif_reply_error *err);
void nvmed_vfs_free(struct nvmed_vfs *v); /* NULL is fine */
void nvmed_vfs_describe(const struct nvmed_ctrl *c, struct pcif_desc *desc);
unsigned nvmed_vfs_total(const struct nvmed_ctrl *c);
void nvmed_vf_inherit(struct nvmed_ctrl *c, struct nvmed_ctrl *pf, unsigned index);

/* ------------------------------------------------------------------ commands */

extern const struct nvmed_command nvmed_admin_commands[256]; /* admin.c */
extern const struct nvmed_command nvmed_io_commands[256];    /* io.c */
extern const struct nvmed_command nvmed_shutdown_command;    /* io.c */

/* data.c: between a command's PRPs and a buffer, or the disk. A status. */
uint16_t nvmed_data_map(struct nvmed_req *req, struct nvmed_scratch *s, uint32_t size);
uint16_t nvmed_data_copy(struct nvmed_req *req, struct nvmed_scratch *s, uint32_t skip, void *buf,
			 uint32_t size, bool to_host);
uint16_t nvmed_data_to_host(struct nvmed_req *req, struct nvmed_scratch *s, void *buf,
			    uint32_t size);
uint16_t nvmed_data_from_host(struct nvmed_req *req, struct nvmed_scratch *s, void *buf,
			      uint32_t size);
uint16_t nvmed_data_disk(struct nvmed_req *req, struct nvmed_scratch *s, uint64_t offset,
			 uint32_t size, bool to_host, bool durable);
uint16_t nvmed_disk_status(struct nvmed_ctrl *c, int err, bool write);

uint16_t nvmed_identify(struct nvmed_req *req, struct nvmed_scratch *s); /* identify.c */
void nvmed_identify_init(struct nvmed_ctrl *c, const char *serial);
uint64_t nvmed_identify_hash(const char *text);
uint16_t nvmed_get_log(struct nvmed_req *req, struct nvmed_scratch *s); /* log.c */
/* An entry of the error log; @req NULL: not of a command. */
void nvmed_log_error(struct nvmed_ctrl *c, const struct nvmed_req *req, uint16_t status);
uint8_t nvmed_critical_warning(const struct nvmed_ctrl *c);
uint16_t nvmed_set_features(struct nvmed_req *req, struct nvmed_scratch *s); /* feature.c */
uint16_t nvmed_get_features(struct nvmed_req *req, struct nvmed_scratch *s);
void nvmed_feature_reset(struct nvmed_ctrl *c);
/* admin.c. False: the same event waits already. */
bool nvmed_event(struct nvmed_ctrl *c, unsigned type, unsigned info, unsigned log);
void nvmed_event_clear(struct nvmed_ctrl *c, unsigned type);
bool nvmed_event_pump(struct nvmed_ctrl *c);

#endif
