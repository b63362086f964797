/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guarded access to memory that somebody else may take away.
 *
 * A mapping of a client's file raises SIGBUS when the client truncates the file, and one of our own
 * FUSE files does so when the connection is aborted. The handler jumps back into the guarded call
 * of the thread that was hit; what runs inside one holds no lock, so that nothing is left behind.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#include "base/base.h"

struct guard_frame {
	sigjmp_buf env;
	struct guard_frame *outer;
};

/* Read by the handler on the same thread only: volatile keeps the compiler's order. */
static _Thread_local struct guard_frame *volatile guard_top;
static struct sigaction guard_previous;

static void guard_handler(int sig, siginfo_t *info, void *context)
{
	struct guard_frame *frame = guard_top;

	/* Only a fault of this very thread has an address; a SIGBUS sent by kill() has not. */
	if (frame && info->si_code > 0) {
		guard_top = frame->outer;
		/* What the jump does not restore; sanitizers run handlers with all blocked. */
		pthread_sigmask(SIG_SETMASK, &((ucontext_t *)context)->uc_sigmask, NULL);
		siglongjmp(frame->env, 1);
	}
	/* Not ours: let it do what it would have done. The instruction faults again. */
	sigaction(SIGBUS, &guard_previous, NULL);
	if (info->si_code <= 0)
		raise(sig);
}

int guard_init(void)
{
	static atomic_flag done = ATOMIC_FLAG_INIT;
	struct sigaction action = {
		.sa_sigaction = guard_handler,
		/* NODEFER: we leave by a jump that does not restore the mask. */
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};

	if (atomic_flag_test_and_set(&done))
		return 0;
	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, &guard_previous) ? -errno : 0;
}

int guard_call(void (*fn)(void *data), void *data)
{
	struct guard_frame frame;

	frame.outer = guard_top;
	if (sigsetjmp(frame.env, 0))
		return -EFAULT;
	guard_top = &frame;
	atomic_signal_fence(memory_order_seq_cst);
	fn(data);
	atomic_signal_fence(memory_order_seq_cst);
	guard_top = frame.outer;
	return 0;
}

struct guard_copy_args {
	void *dst;
	const void *src;
	size_t size;
};

static void guard_do_copy(void *data)
{
	struct guard_copy_args *a = data;

	memcpy(a->dst, a->src, a->size);
}

int guard_copy(void *dst, const void *src, size_t size)
{
	struct guard_copy_args args = { dst, src, size };

	return guard_call(guard_do_copy, &args);
}
