/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Event loop over epoll.
 *
 * Sources are freed at once or, while a batch of events is being handed out, after it: a callback
 * may free any source, also one whose event is still in the batch. Posted calls sit in a list under
 * the loop's only lock and an eventfd wakes the thread.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include "base/base.h"

struct loop_source {
	struct loop *loop;
	struct loop_source *next, **link;
	void (*cb)(void *data, uint32_t events);
	void *data;
	int fd;
	bool own_fd; /* a timer's */
	bool dead;
};

struct loop_post {
	struct loop_post *next;
	void (*cb)(void *data);
	void *data;
};

struct loop {
	int epoll_fd, wake_fd;
	struct loop_source *sources; /* loop's thread only */
	struct loop_source *dead;
	bool in_batch;
	pthread_mutex_t lock; /* guards the fields below */
	struct loop_post *posts, **posts_tail;
	bool stop;
	int result;
};

int loop_new(struct loop **out)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };
	struct loop *loop = calloc(1, sizeof(*loop));
	int ret;

	if (!loop)
		return -ENOMEM;
	loop->posts_tail = &loop->posts;
	loop->wake_fd = -1;
	pthread_mutex_init(&loop->lock, NULL);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd >= 0)
		loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake_fd < 0 || epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &ev)) {
		ret = -errno;
		loop_free(loop);
		return ret;
	}
	*out = loop;
	return 0;
}

static void loop_source_destroy(struct loop_source *s)
{
	if (s->own_fd)
		close(s->fd);
	free(s);
}

static void loop_reap(struct loop *loop)
{
	while (loop->dead) {
		struct loop_source *s = loop->dead;

		loop->dead = s->next;
		loop_source_destroy(s);
	}
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	while (loop->sources)
		loop_source_free(loop->sources);
	loop_reap(loop);
	while (loop->posts) {
		struct loop_post *p = loop->posts;

		loop->posts = p->next;
		free(p);
	}
	base_cleanup_close(&loop->wake_fd);
	base_cleanup_close(&loop->epoll_fd);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

static void loop_wake(struct loop *loop)
{
	uint64_t one = 1;

	/* EAGAIN means that a wake-up is pending already. */
	if (write(loop->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_error("event loop cannot be woken: %s", strerror(errno));
}

static void loop_run_posts(struct loop *loop)
{
	struct loop_post *list;

	pthread_mutex_lock(&loop->lock);
	list = loop->posts;
	loop->posts = NULL;
	loop->posts_tail = &loop->posts;
	pthread_mutex_unlock(&loop->lock);
	while (list) {
		struct loop_post *p = list;

		list = p->next;
		p->cb(p->data);
		free(p);
	}
}

static bool loop_stopped(struct loop *loop, int *result)
{
	bool stop;

	pthread_mutex_lock(&loop->lock);
	stop = loop->stop;
	*result = loop->result;
	loop->stop = false;
	pthread_mutex_unlock(&loop->lock);
	return stop;
}

int loop_run(struct loop *loop)
{
	struct epoll_event events[32];
	int result;

	while (!loop_stopped(loop, &result)) {
		int n = epoll_wait(loop->epoll_fd, events, ARRAY_SIZE(events), -1);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		loop->in_batch = true;
		for (int i = 0; i < n; i++) {
			struct loop_source *s = events[i].data.ptr;
			uint64_t count;

			if (!s) {
				if (read(loop->wake_fd, &count, sizeof(count)) > 0)
					loop_run_posts(loop);
				continue;
			}
			if (s->dead)
				continue;
			if (s->own_fd && read(s->fd, &count, sizeof(count)) < 0)
				continue;
			s->cb(s->data, events[i].events);
		}
		loop->in_batch = false;
		loop_reap(loop);
	}
	return result;
}

void loop_stop(struct loop *loop, int result)
{
	pthread_mutex_lock(&loop->lock);
	loop->stop = true;
	loop->result = result;
	pthread_mutex_unlock(&loop->lock);
	loop_wake(loop);
}

int loop_fd_add(struct loop *loop, int fd, uint32_t events, void (*cb)(void *data, uint32_t events),
		void *data, struct loop_source **out)
{
	struct loop_source *s = calloc(1, sizeof(*s));
	struct epoll_event ev = { .events = events, .data.ptr = s };

	if (!s)
		return -ENOMEM;
	*s = (struct loop_source){ .loop = loop, .cb = cb, .data = data, .fd = fd };
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev)) {
		int ret = -errno;

		free(s);
		return ret;
	}
	s->next = loop->sources;
	s->link = &loop->sources;
	if (s->next)
		s->next->link = &s->next;
	loop->sources = s;
	if (out)
		*out = s;
	return 0;
}

int loop_fd_modify(struct loop_source *s, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	return epoll_ctl(s->loop->epoll_fd, EPOLL_CTL_MOD, s->fd, &ev) ? -errno : 0;
}

static struct timespec loop_timespec(uint64_t ns)
{
	return (struct timespec){ (time_t)(ns / 1000000000ull), (long)(ns % 1000000000ull) };
}

int loop_timer_add(struct loop *loop, uint64_t first_ns, uint64_t period_ns,
		   void (*cb)(void *data, uint32_t events), void *data, struct loop_source **out)
{
	struct itimerspec spec = {
		/* A first time of 0 would disarm the timer. */
		.it_value = loop_timespec(first_ns ? first_ns : 1),
		.it_interval = loop_timespec(period_ns),
	};
	AUTO_CLOSE int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	struct loop_source *s;
	int ret;

	if (fd < 0 || timerfd_settime(fd, 0, &spec, NULL))
		return -errno;
	ret = loop_fd_add(loop, fd, EPOLLIN, cb, data, &s);
	if (ret)
		return ret;
	fd_steal(&fd);
	s->own_fd = true;
	if (out)
		*out = s;
	return 0;
}

void loop_source_free(struct loop_source *s)
{
	if (!s || s->dead)
		return;
	epoll_ctl(s->loop->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	if (!s->loop->in_batch) {
		loop_source_destroy(s);
		return;
	}
	s->dead = true;
	s->next = s->loop->dead;
	s->loop->dead = s;
}

int loop_post(struct loop *loop, void (*cb)(void *data), void *data)
{
	struct loop_post *p = malloc(sizeof(*p));

	if (!p)
		return -ENOMEM;
	*p = (struct loop_post){ NULL, cb, data };
	pthread_mutex_lock(&loop->lock);
	*loop->posts_tail = p;
	loop->posts_tail = &p->next;
	pthread_mutex_unlock(&loop->lock);
	loop_wake(loop);
	return 0;
}
