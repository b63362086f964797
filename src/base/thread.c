/* SPDX-License-Identifier: BSD-3-Clause */
/* How every thread of ours is started. */
#include <signal.h>

#include "base/base.h"

/**
 * thread_start() - runs @fn(@data) on a thread of its own.
 * @thread: for pthread_join(); NULL: nobody joins it, it is detached
 * @stack: bytes; 0: the system's default
 *
 * Signals of the process are for the threads that expect them: the new one has all blocked, save
 * those that a fault of its own raises (of which SIGBUS is guard_call()'s). 0 or a negative errno,
 * -EAGAIN where there is no room for another thread.
 */
int thread_start(pthread_t *thread, size_t stack, void *(*fn)(void *), void *data)
{
	static const int own[] = { SIGBUS, SIGSEGV, SIGILL, SIGFPE };
	sigset_t block, old;
	pthread_attr_t attr;
	pthread_t detached;
	int ret;

	sigfillset(&block);
	for (unsigned i = 0; i < ARRAY_SIZE(own); i++)
		sigdelset(&block, own[i]);
	ret = -pthread_attr_init(&attr);
	if (ret)
		return ret;
	if (stack)
		ret = -pthread_attr_setstacksize(&attr, stack);
	if (!ret && !thread)
		ret = -pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (!ret) {
		pthread_sigmask(SIG_SETMASK, &block, &old);
		ret = -pthread_create(thread ? thread : &detached, &attr, fn, data);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	pthread_attr_destroy(&attr);
	return ret;
}
