/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads for commands that may wait for a disk. They are started when there is more to do than
 * threads that wait for work, up to a few, and stay. A finished request goes to the list of
 * finished ones and the worker is woken; only the worker posts completions.
 *
 * On a manual controller there are no threads: submitting runs the request at once.
 */
#include "device/nvme/priv.h"

int nvmed_pool_init(struct nvmed_pool *p)
{
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->idle, NULL);
	p->tail = &p->head;
	p->done_tail = &p->done;
	return 0;
}

static struct nvmed_req *pool_pop(struct nvmed_pool *p)
{
	struct nvmed_req *req = p->head;

	p->head = req->next;
	if (!p->head)
		p->tail = &p->head;
	req->next = NULL;
	return req;
}

static void pool_done(struct nvmed_pool *p, struct nvmed_req *req)
{
	req->next = NULL;
	*p->done_tail = req;
	p->done_tail = &req->next;
}

static void pool_run(struct nvmed_req *req, struct nvmed_scratch *s)
{
	req->nowait = false;
	req->status = req->command->run(req, s);
	/* A disk that says "later" although it may wait is broken. */
	if (req->status == NVMED_RETRY_SLOW)
		req->status = NVMED_INTERNAL_ERROR;
}

static void *pool_thread(void *data)
{
	struct nvmed_ctrl *c = data;
	struct nvmed_pool *p = &c->pool;
	struct nvmed_scratch *s = NULL;

	pthread_mutex_lock(&p->lock);
	while (!p->quit) {
		struct nvmed_req *req;

		if (!p->head) {
			p->waiting++;
			pthread_cond_wait(&p->work, &p->lock);
			p->waiting--;
			continue;
		}
		req = pool_pop(p);
		p->running++;
		pthread_mutex_unlock(&p->lock);
		/* Memory that is short now may be there for the next request. */
		if (!s)
			s = calloc(1, sizeof(*s));
		if (s)
			pool_run(req, s);
		else
			req->status = NVMED_INTERNAL_ERROR;
		pthread_mutex_lock(&p->lock);
		pool_done(p, req);
		if (!--p->running)
			pthread_cond_broadcast(&p->idle);
		pthread_mutex_unlock(&p->lock);
		nvmed_kick(c);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	if (s)
		nvmed_scratch_fini(s);
	free(s);
	return NULL;
}

void nvmed_pool_submit(struct nvmed_ctrl *c, struct nvmed_req *req)
{
	struct nvmed_pool *p = &c->pool;
	bool inline_run = c->manual;

	pthread_mutex_lock(&p->lock);
	if (!inline_run && !p->waiting && p->threads < ARRAY_SIZE(p->thread) &&
	    !thread_start(&p->thread[p->threads], 0, pool_thread, c))
		p->threads++;
	if (!inline_run && p->threads) {
		req->next = NULL;
		*p->tail = req;
		p->tail = &req->next;
		pthread_cond_signal(&p->work);
		pthread_mutex_unlock(&p->lock);
		return;
	}
	pthread_mutex_unlock(&p->lock);
	/* No thread is to be had: slower, but done. */
	pool_run(req, &c->scratch);
	pthread_mutex_lock(&p->lock);
	pool_done(p, req);
	pthread_mutex_unlock(&p->lock);
}

struct nvmed_req *nvmed_pool_reap(struct nvmed_ctrl *c)
{
	struct nvmed_pool *p = &c->pool;
	struct nvmed_req *list;

	pthread_mutex_lock(&p->lock);
	list = p->done;
	p->done = NULL;
	p->done_tail = &p->done;
	pthread_mutex_unlock(&p->lock);
	return list;
}

struct nvmed_req *nvmed_pool_cancel(struct nvmed_ctrl *c)
{
	struct nvmed_pool *p = &c->pool;
	struct nvmed_req *list;

	pthread_mutex_lock(&p->lock);
	list = p->head;
	p->head = NULL;
	p->tail = &p->head;
	pthread_mutex_unlock(&p->lock);
	return list;
}

struct nvmed_req *nvmed_pool_take(struct nvmed_ctrl *c, const struct nvmed_sq *sq, uint16_t cid)
{
	struct nvmed_pool *p = &c->pool;
	struct nvmed_req **at, *req = NULL;

	pthread_mutex_lock(&p->lock);
	for (at = &p->head; *at; at = &(*at)->next) {
		if ((*at)->sq != sq || le16_get((*at)->cmd.cid) != cid)
			continue;
		req = *at;
		*at = req->next;
		if (!*at)
			p->tail = at;
		req->next = NULL;
		break;
	}
	pthread_mutex_unlock(&p->lock);
	return req;
}

void nvmed_pool_drain(struct nvmed_ctrl *c)
{
	struct nvmed_pool *p = &c->pool;

	pthread_mutex_lock(&p->lock);
	while (p->running)
		pthread_cond_wait(&p->idle, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

void nvmed_pool_fini(struct nvmed_pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->quit = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->threads; i++)
		pthread_join(p->thread[i], NULL);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->idle);
	pthread_mutex_destroy(&p->lock);
}
