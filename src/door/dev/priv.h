/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the dev door share. See docs/door-dev.md for the theory of operation.
 *
 * Locks, outermost first; none is held while a client is waited for:
 *   door_func.lock   set-up and end of a device session (may wait for our own FUSE threads)
 *   door_dev.look_lock   the socket by which the looker passes descriptors on; the same
 *   door_dev.owners_lock   whose the files of /dev/vfio are
 *   view.lock        the tree of /sys
 *   door_dev.lock    the lists: free handles, counters
 *   door_dev.notify.lock   who answers notifications; innermost, short
 *   acts.lock        writes to /sys that may wait; nothing is allocated under it
 *   door_dev.pool_lock   what the FUSE threads share; nothing is allocated under it
 * The page path (page fills and write-back of device files) takes neither, allocates nothing and
 * touches no memory that could be cold: it is what every other thread may be waiting for.
 */
#ifndef UVFIO_DOOR_DEV_PRIV_H
#define UVFIO_DOOR_DEV_PRIV_H

#include <pthread.h>
#include <semaphore.h>
#include <sys/stat.h>

#include "door/dev/fuse_abi.h"
#include "door/dev/view.h"
#include "door/door.h"
#include "door/pages.h"

/* ------------------------------------------------------------------ inode numbers */

/*
 * A node id is class << 56 | number; the root is 1 as FUSE has it. None is ever used again for
 * something else.
 */
enum {
	NODE_FIXED = 0,
	NODE_GROUP = 1,	  /* id of the isolation group, see view_group_id() */
	NODE_VIEW = 2,	  /* ino of the view node */
	NODE_SESSION = 3, /* number of the device session */
	NODE_CDEV = 4,	  /* a device's own file, see CDEV_NODE() */
};
#define NODE_SHIFT 56
#define NODE_ID(class, number) ((uint64_t)(class) << NODE_SHIFT | (uint64_t)(number))
#define NODE_CLASS(id) ((uint32_t)((id) >> NODE_SHIFT))
#define NODE_NUMBER(id) ((id) & (BIT64(NODE_SHIFT) - 1))

#define NODE_ROOT FUSE_ROOT_ID
#define NODE_VFIO_DIR NODE_ID(NODE_FIXED, 2)
#define NODE_DEV_DIR NODE_ID(NODE_FIXED, 3) /* ".dev": of our own threads only */
#define NODE_CONTAINER NODE_ID(NODE_FIXED, 4)
#define NODE_DEVICES_DIR NODE_ID(NODE_FIXED, 5)
#define NODE_IOMMU NODE_ID(NODE_FIXED, 6)

/*
 * Each lookup of /dev/vfio/devices/vfioX leads to an inode of its own, as each open has pages of
 * its own: who has not bound the device is not to see what others have mapped.
 */
#define CDEV_SERIAL_BITS 24
#define CDEV_NODE(id, serial)                                                                      \
	NODE_ID(NODE_CDEV,                                                                         \
		((id) << CDEV_SERIAL_BITS | ((serial) & (BIT64(CDEV_SERIAL_BITS) - 1))) &          \
			(BIT64(NODE_SHIFT) - 1))
#define CDEV_OF_NODE(nodeid) (NODE_NUMBER(nodeid) >> CDEV_SERIAL_BITS)

/* What stat says of a device file: more than any region's end, so that every page can be mapped. */
#define DEVICE_FILE_SIZE ((uint64_t)64 << VFIO_REGION_SHIFT)

/* ------------------------------------------------------------------ open files */

enum handle_kind { HANDLE_VFIO, HANDLE_OWN, HANDLE_VIEW };

/* What makes others busy and is on its way out, of all doors; see handle.c. */
struct leaving {
	uint64_t age; /* 0: it is not */
	struct leaving *older, *younger;
	int group; /* of a device's file; -1 */
};

void leaving_begin(struct leaving *l);
void leaving_end(struct leaving *l);

/*
 * An open file. Slots are never freed while the door exists, and a client's number is checked
 * against the generation: a bad one is -EBADF, never a bad pointer.
 */
struct handle {
	_Atomic uint64_t state; /* generation << 32 | references */
	uint32_t index;
	atomic_bool closed; /* no descriptor of it is left */
	enum handle_kind kind;
	int group; /* of a group's file: its number */
	struct leaving leaving;
	struct vfio_obj *obj; /* HANDLE_VFIO */
	uint64_t cdev_node;   /* of a device's own file: its inode; else 0 */
	struct handle *next_cdev;
	_Atomic(struct session *) session; /* HANDLE_OWN, and devices (their own: once bound) */
	struct view_node *node;		   /* HANDLE_VIEW; a reference */
	pthread_mutex_t text_lock;
	char *text; /* what the last read from offset 0 saw */
	size_t text_size;
	struct handle *next_free;
};

#define HANDLES_PER_BLOCK 64
#define HANDLE_BLOCKS 1024

int handles_new(struct door_dev *d, enum handle_kind kind, struct handle **h, uint64_t *fh);
void handle_publish(struct handle *h);
int handle_take_node(struct door_dev *d, struct handle *h, uint64_t nodeid);
struct handle *handle_get(struct door_dev *d, uint64_t fh); /* NULL: no such open file */
void handle_put(struct door_dev *d, struct handle *h);
bool handle_put_not_last(struct handle *h); /* false, and nothing done: it is the last reference */
void handle_close(struct door_dev *d, struct handle *h); /* its last descriptor is gone; once */
void handles_close_all(struct door_dev *d);
void handles_free(struct door_dev *d);
/* Releases are told to us late; see handle.c. */
void handles_settle(struct door_dev *d, int group);
void files_opened(void);
void files_closed(void);

/* ------------------------------------------------------------------ device sessions */

/* From the first open of a function's device file to its last close. */
struct session {
	struct door_func *func; /* a reference */
	uint64_t nodeid;
	_Atomic uint32_t refs;	    /* handles, and one while it is func->session */
	unsigned clients;	    /* device files of clients; under func->lock */
	void *image[PCIF_NUM_BARS]; /* our own mapping, or NULL */
};

struct memdev;

/* A function whose device file somebody of this door opens or has open. */
struct door_func {
	struct door_func *next; /* under door_dev.lock */
	_Atomic unsigned refs;	/* sessions, and threads that open or close one */
	bool stopped;		/* memdevs_stop() has seen it; under door_dev.lock */
	struct pcif *f;		/* a reference */
	struct door_dev *door;
	pthread_mutex_t lock;
	struct session *session; /* under lock */
	struct memdev *mem;	 /* the same where device files are memfds; under lock */
};

struct door_func *door_func_get(struct door_dev *d, struct pcif *f); /* NULL: no memory */
struct door_func *door_func_ref(struct door_func *func);
/* Not with its lock, but where there is another reference. */
void door_func_put(struct door_func *func);

/* A device file that the opener is opening. Everything is prepared: FUSE's answer waits for
 * nothing. */
struct opening {
	struct session *session;
	struct handle *h;
	uint64_t fh;
	bool reached; /* the kernel knows @fh */
};
uint64_t opening_node(struct door_dev *d);
int opening_reach(struct door_dev *d, uint64_t nodeid, uint64_t *fh);

int session_bind(struct door_dev *d, struct handle *h);
int session_give(struct door_dev *d, struct vfio_obj *obj, uint64_t notification);
void session_client_gone(struct session *s);
void session_put(struct session *s);

/* ------------------------------------------------------------------ device files that are memfds
 */

/* What device files are. */
enum device_files {
	DEVICES_AUTO, /* as the kernel can: known after the handshake */
	DEVICES_FUSE,
	DEVICES_MEMFD
};

/* Offset 0 is where any file begins, so region 0 lies behind all others; 32-bit programs can map
 * up to 16 TiB. */
#define MEMDEV_REGION0 ((uint64_t)15 << VFIO_REGION_SHIFT)
#define MEMDEV_SIZE ((uint64_t)16 << VFIO_REGION_SHIFT)
static inline uint64_t memdev_region_offset(unsigned index)
{
	return index ? (uint64_t)index << VFIO_REGION_SHIFT : MEMDEV_REGION0;
}

struct memfile;

/* From the first open of a function's device file to the last close. */
struct memdev {
	struct memdev *next; /* under memdev.c's lock, as all up to @round */
	unsigned refs;	     /* requests, and one while it is in the list */
	bool listed;	     /* some file is open; changes under func->lock too */
	bool dirty;	     /* some file was closed, and it is not known which */
	uint32_t round;	     /* when it was looked at */

	struct door_func *func; /* a reference */
	struct door_pages pages;
	int wd; /* of the memfd */
	uint32_t major, minor;
	uint64_t ino;
	struct vfio_obj *obj;  /* what requests are made to: the first file's, until the end */
	struct memfile *files; /* under func->lock */
	off_t next_byte;       /* the same */
};

int memdevs_start(struct door_dev *d, struct door_error *err);
void memdevs_stop(struct door_dev *d);
int memdev_open(struct door_dev *d, struct vfio_obj *obj, int *fd);
struct memdev *memdev_find(struct door_dev *d, uint32_t major, uint32_t minor, uint64_t ino);
void memdev_put(struct memdev *m);
bool memdevs_any(void);
bool memdevs_reap(void);
void memdevs_settle(void);
void memdevs_closing(bool done);
bool memdevs_mark(int wd);
void memdevs_reap_marked(bool last);
int reaper_start(void);
void reaper_stop(void);
int reaper_watch(int fd);
void reaper_unwatch(int wd);
void reaper_hint(void);
bool reaper_looks(void);

/* ------------------------------------------------------------------ FUSE threads */

#define FUSE_MAX_DATA (64u << 10)
#define FUSE_IN_SIZE (FUSE_MAX_DATA + 4096u)
#define FUSE_OUT_SIZE (FUSE_MAX_DATA + 4096u)
#define POOL_START 2
#define POOL_KEEP 4	   /* parked threads that stay */
#define GUARD_STILL_MAX 5u /* milliseconds without a request until the guard sleeps */
#define POOL_MAX 256

struct helper { /* a thread that sleeps until it is woken */
	pthread_t thread;
	bool started;
	int event;
};

struct fuse_worker {
	struct door_dev *door;
	uint8_t *in, *out; /* populated, see fuse.c */
	bool quick;	   /* nobody else reads: what it does may not wait */
};

struct fuse_req {
	struct door_dev *door;
	struct fuse_worker *worker;
	const struct fuse_in_header *h;
	const void *arg;
	size_t arg_size;
};

/* A request, or the end of a handle, that the only reader may not wait for. */
struct deferred {
	struct deferred *next;
	struct handle *put; /* a reference; or NULL: the request */
	size_t size;
	uint8_t *data;
	uint8_t space[488];
};
#define DEFERRED_SLOTS 128

int fuse_pool_init(struct door_dev *d);
int fuse_pool_start(struct door_dev *d);
void fuse_pool_stop(struct door_dev *d);
void fuse_pool_fini(struct door_dev *d);
void helper_wake(struct helper *h);
void fuse_step_aside(struct door_dev *d);
void fuse_put_handle(struct fuse_worker *w, struct handle *h);
struct fuse_worker *fuse_worker_new(struct door_dev *d);
void fuse_worker_free(struct fuse_worker *w);
bool fuse_is_quick(struct door_dev *d, const struct fuse_in_header *h, const void *arg,
		   size_t size);
void fuse_run(struct fuse_worker *w, const void *data, size_t size);
int fuse_handshake(struct door_dev *d, struct door_error *err);
/* All three return what the kernel said of the answer: 0, or -ENOENT if nobody waits for it. */
int fuse_reply(struct fuse_req *r, int error);
int fuse_reply_data(struct fuse_req *r, const void *data, size_t size);
int fuse_reply_out(struct fuse_req *r, size_t size); /* data is at fuse_out() already */
static inline void *fuse_out(struct fuse_req *r)
{
	return r->worker->out + sizeof(struct fuse_out_header);
}
int door_thread(void *(*fn)(void *), void *data, pthread_t *thread);

/* Requests, by what they are about. Each answers. */
void fs_lookup(struct fuse_req *r);
void fs_getattr(struct fuse_req *r);
void fs_setattr(struct fuse_req *r);
void fs_readlink(struct fuse_req *r);
void fs_readdir(struct fuse_req *r);
void fs_statfs(struct fuse_req *r);
int fs_group_open(struct door_dev *d, uint64_t nodeid, unsigned *group);
void fs_view_read(struct fuse_req *r, struct handle *h, const struct fuse_read_in *in);
void fs_view_write(struct fuse_req *r, struct handle *h, const struct fuse_write_in *in);
void fs_init(struct door_dev *d);
void fs_fini(struct door_dev *d);
void file_open(struct fuse_req *r);
void file_read(struct fuse_req *r);
void file_write(struct fuse_req *r);
void file_release(struct fuse_req *r);
void file_release_read(struct fuse_req *r);
void file_ioctl(struct fuse_req *r);

/* ------------------------------------------------------------------ requests */

/* One request of a client to one of our files, whichever way it came. */
struct door_call {
	struct door_dev *door;
	struct vfio_obj *obj; /* borrowed */
	pid_t tid;	      /* waits for the answer */
	uint32_t request;
	uint64_t arg; /* the client's pointer or number */
	void *buffer; /* for the argument block; a larger one is allocated */
	size_t buffer_size;
	uint64_t region0;		   /* offset of region 0 in the file */
	const __u64 *notif;		   /* the notification that it came by, or NULL */
	void (*waits)(struct door_dev *d); /* called before what takes its time */
};

int call_run(struct door_call *c);

/* ------------------------------------------------------------------ the client's side of a call */

/* Asks one of our files for its handle; answered to the looker only. */
#define DOOR_IOC_HANDLE _IOR(0xf5, 1, uint64_t)

int client_read(pid_t tid, uint64_t addr, void *buf, size_t size);
int client_write(pid_t tid, uint64_t addr, const void *buf, size_t size);
int client_read_string(pid_t tid, uint64_t addr, char *buf, size_t max);
int client_pidfd(pid_t tid);
int client_getfd(int pidfd, int number);
int client_look(struct door_dev *d, pid_t tid, const uint64_t *notification, const int *numbers,
		unsigned n, struct vfio_fd *fds, struct handle **handles);

/* ------------------------------------------------------------------ the filter */

struct filter {
	void *bpf; /* malloc'ed */
	size_t size;
};

int filter_make(enum device_files kind, bool char_devices, struct filter *f,
		struct door_error *err);
int filter_install(const struct filter *f, bool *restarts);

/* ------------------------------------------------------------------ notifications */

#define NOTIFY_PEEKS 4
#define NOTIFY_BUFFER (64u << 10)

struct notify_worker {
	struct door_dev *door;
	struct peek { /* descriptors of a client's thread; tid 0: none */
		pid_t tid;
		int dir;
	} peeks[NOTIFY_PEEKS];
	unsigned next_peek;
	uint8_t buffer[NOTIFY_BUFFER];
};

struct notify { /* all but @event and @guard under lock */
	pthread_mutex_t lock;
	pthread_cond_t turn; /* parked threads */
	pthread_cond_t tick; /* the guard */
	pthread_cond_t gone; /* who waits for the end of all */
	pthread_t leader;    /* receives; with @has_leader */
	bool has_leader;
	bool serving;  /* the leader is at a request */
	bool watching; /* the guard looks every millisecond */
	bool stop;
	uint32_t moves; /* counts requests */
	unsigned parked, threads;
	int event;
	pthread_t guard;
	bool guard_started;
};

/* What a client gets for its system call. */
struct notify_answer {
	int64_t result; /* a number or -errno */
	bool go_on;	/* nothing of this: its system call goes on */
	bool again;	/* if it cannot be given it is not to be kept; see replay.c */
	uint32_t size;	/* bytes of @data that go to @addr of the client with it */
	uint64_t addr;
	uint8_t data[64];
};

#define REPLAYS 64
struct replay {
	enum { REPLAY_FREE, REPLAY_RUNNING, REPLAY_KEPT } state;
	uint32_t tid;
	struct seccomp_data call;
	struct notify_answer answer;
	uint64_t until_ns;
};

void notify_init(struct door_dev *d);
int notify_start(struct door_dev *d);
void notify_stop(struct door_dev *d);
void notify_fini(struct door_dev *d);
void notify_step_aside(struct door_dev *d);
bool notify_alive(struct door_dev *d, uint64_t id);
void trap_serve(struct notify_worker *w, const struct seccomp_notif *n, struct notify_answer *a);
bool trap_is_ioctl(const struct seccomp_data *s);
int trap_look(struct notify_worker *w, const struct seccomp_notif *n, int fd, struct statx *st);
bool stat_is(const struct seccomp_data *s);
int64_t stat_serve(struct notify_worker *w, const struct seccomp_notif *n, bool *go_on);
unsigned trap_args(const struct seccomp_data *s);
void trap_forget(struct notify_worker *w);
bool replay_begin(struct door_dev *d, const struct seccomp_notif *n, struct notify_answer *a);
void replay_end(struct door_dev *d, const struct seccomp_notif *n, const struct notify_answer *a);

/* ------------------------------------------------------------------ launching */

#define LIFELINES 2

/*
 * Between a machine's process and one that becomes a command, over a socket that keeps messages
 * apart: START, with the lifelines; then from the other side FUSE with the descriptor; FILTER,
 * which says what there is to filter; from the other side WATCHER with a pidfd of it, READY with
 * the root of the file system and the filter's listener; one byte that says go; the end of the
 * socket by exec. ERROR instead of any of the child's.
 */
enum launch_kind {
	LAUNCH_START = 1,
	LAUNCH_FUSE,
	LAUNCH_WATCHER,
	LAUNCH_FILTER,
	LAUNCH_READY,
	LAUNCH_ERROR
};

struct launch_msg {
	int32_t kind, errnum;
	int32_t number;	  /* READY: a descriptor that is open in the child */
	int32_t devices;  /* FUSE, FILTER: what device files are to be, are: enum device_files */
	int32_t restarts; /* READY: see filter_install() */
	int32_t userns;	  /* READY: the child is in a user namespace */
	uint64_t address; /* READY: of a pid_t in the child's memory */
	char text[sizeof(((struct door_error *)0)->text)];
};

/* In the child's mount namespace. 0 or -errno, with @path named in the log at debug level. */
int graft_ensure_dir(const char *path);
int graft_ensure_file(const char *path);
int graft_clone(int dirfd, const char *path);
int graft_attach(int tree, const char *path);

/* Texts that name what is missing and the remedy; return @errnum. */
int explain_nested(struct door_error *err);
int explain_fuse_open(struct door_error *err, int errnum);
int explain_fuse_mount(struct door_error *err, int errnum, bool userns);
int explain_old_kernel(struct door_error *err, const char *what, const char *remedy);
int explain_userns(struct door_error *err, int errnum);
int explain_mount(struct door_error *err, int errnum, const char *what, bool userns);
int explain_seccomp(struct door_error *err, int errnum);
int explain_process(struct door_error *err, int errnum);
int explain_own_use(struct door_error *err, int errnum);
int explain_reach(struct door_error *err, int errnum, const char *call, bool child);
int explain_text(struct door_error *err, int errnum, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool door_is_nested(void);

/* ------------------------------------------------------------------ the end by SIGKILL */

struct lifeline {
	pthread_t thread;
	bool started;
	sem_t ready;
	int line, stop, error;
};
int lifelines_start(struct door_dev *d);
void lifelines_close_fds(struct door_dev *d);
void lifelines_stop(struct door_dev *d);
bool anchor_is(const struct fuse_req *r);
int anchor_start(struct door_dev *d);
void anchor_stop(struct door_dev *d);
int watcher_start(const int *lines, int dir, int *pidfd);

/* ------------------------------------------------------------------ our own file system's client
 */

struct own_thread { /* has a table of descriptors of its own; see own.c */
	pthread_t thread;
	atomic_bool started;
	int error;
	sem_t ready;
	int keep[3];
	unsigned n_keep;
	_Atomic uint32_t tid; /* 0: none */
	struct door_dev *door;
	pthread_mutex_t lock; /* guards what follows; leaf */
	pthread_cond_t wake, done;
	struct own_job *jobs;
	bool stop;
};

int table_own(const int *keep, unsigned n);
void table_close(int fd);
int table_ioctl(int fd, unsigned long cmd, void *arg);
void *table_map(void *at, size_t size, int fd, off_t offset); /* over @at; or MAP_FAILED */
void table_cleanup_close(int *fd);
#define TABLE_AUTO_CLOSE __attribute__((cleanup(table_cleanup_close)))
void own_init(struct door_dev *d);
int own_start(struct door_dev *d);
int own_call(struct own_thread *t, int (*fn)(struct door_dev *d, void *data), void *data);
void own_sync(struct door_dev *d);
void own_sync_all(void);
int own_ask_root(struct door_dev *d);
int own_try(struct door_dev *d);
void own_stop(struct door_dev *d);
void own_fini(struct door_dev *d);
/* Whether a request comes from @t; the kernel gives none the number 0. */
static inline bool own_is(struct own_thread *t, const struct fuse_in_header *h)
{
	return h->pid && h->pid == atomic_load_explicit(&t->tid, memory_order_relaxed);
}

/* ------------------------------------------------------------------ the door */

/* Whose a file in /dev/vfio is. Groups and devices have one once somebody has changed it. */
struct node_owner {
	struct node_owner *next;
	uint64_t id; /* node id of the group, of the device's first file */
	uint32_t uid, gid, mode;
};

/* A write to the view that may wait for others; see act.c. */
struct act {
	struct act *next;
	uint64_t unique; /* the request's */
	pid_t tid;
	bool signalled; /* its thread got some signal */
	atomic_bool cancel;
};
#define ACTS_MAX 64u   /* so that they never are all FUSE threads */
#define ACTS_EARLY 16u /* interrupts that came before what they are about */

struct acts {
	pthread_mutex_t start; /* around the start of the watcher; outside of @lock */
	pthread_t watcher;
	int event;
	pthread_mutex_t lock; /* guards what follows; nothing is allocated under it */
	bool watching, stop, closing;
	struct act *list;
	unsigned n, next_early;
	uint64_t early[ACTS_EARLY];
};

void acts_init(struct acts *acts);
void acts_close(struct acts *acts);
void acts_fini(struct acts *acts);
int act_run(struct fuse_req *r, struct view_node *node, const char *text, size_t size);
void act_interrupt(struct fuse_req *r);

struct door_dev {
	struct pcim *pci;
	struct vfio *vfio;
	struct view *view;
	unsigned client; /* number in events */
	uid_t uid;
	gid_t gid;
	pid_t child;	 /* the command, as this process sees it */
	bool child_ours; /* a child of this process, and so is the watcher */
	int watcher;	 /* pidfd */
	struct lifeline lifelines[LIFELINES];
	int lifeline_fds[LIFELINES], lifeline_stop;
	pthread_t anchor;
	bool anchor_started;
	int anchor_error;
	sem_t anchor_ready;
	_Atomic uint32_t anchor_tid; /* 0: none */

	int fuse_fd; /* closed by the last FUSE thread once stopping */
	int root_fd; /* O_PATH root of our file system */
	/* Known only when door threads already serve, and before the first client runs. */
	_Atomic uint32_t dev_major, dev_minor;
	atomic_bool closing; /* requests are refused */

	pthread_mutex_t lock;

	/* handles */
	_Atomic(struct handle *) blocks[HANDLE_BLOCKS];
	unsigned n_blocks;
	struct handle *free;
	struct handle *cdevs; /* devices' own files */

	/* sessions */
	struct door_func *funcs;
	uint32_t next_session;
	struct own_thread opener, looker;
	struct door_dev *own_next;    /* of all doors that have them */
	pthread_mutex_t opening_lock; /* innermost; nothing under it waits */
	struct opening *opening;      /* what the opener is at */
	pthread_mutex_t look_lock;    /* one at a time uses @look_sock */
	int look_sock[2];	      /* [1] is in the looker's table alone */

	/* FUSE threads, see pool.c */
	atomic_bool reading;	 /* a thread is in read() on the FUSE fd, or about to be */
	_Atomic uint32_t parked; /* threads that wait for @spare and were not sent */
	_Atomic uint32_t moves;	 /* counts requests */
	atomic_bool watching;	 /* the guard looks every millisecond */
	atomic_bool ended;	 /* the connection is over */
	atomic_bool stopping;
	sem_t spare;
	pthread_mutex_t pool_lock; /* innermost; nothing is allocated under it */
	unsigned n_threads;
	bool pool_stop;
	struct deferred *slots, *free_slots; /* populated memory */
	struct deferred *deferred, **deferred_tail;
	_Atomic uint32_t n_deferred;
	struct helper guard, spawner;

	/* notifications, and device files that are memfds */
	enum device_files devices;
	int listener;
	bool restarts; /* a signal takes a call back that is being answered */
	bool forced;   /* @devices was said by the launcher */
	bool userns;   /* the command is in a user namespace */
	struct notify notify;
	bool mem_started;  /* memdevs_start() was called */
	unsigned mem_busy; /* sessions, and who ends them; under memdev.c's lock */
	pthread_mutex_t replay_lock;
	pthread_cond_t replay_cond;
	struct replay replays[REPLAYS]; /* under the lock */

	/* owner and mode of what is in /dev/vfio; see fs.c */
	pthread_mutex_t owners_lock;
	struct node_owner container_owner, iommu_owner, *owners;
	_Atomic uint64_t cdev_serial;

	struct acts acts;
};

#endif
