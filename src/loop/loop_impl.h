/*
 * loop_impl: what the files of this folder know of each other.
 */
#pragma once

#include <uv.h>

#include "loop/loop.h"
#include "loop/rest.h"

struct loop_post;

struct loop {
	uv_loop_t uv;
	uv_async_t wake;          /* keeps the loop alive until loop_stop */
	uv_prepare_t before_poll; /* both run the waiting tasks */
	uv_check_t after_poll;
	uv_idle_t busy; /* active while tasks wait: then poll does not sleep */
	uv_signal_t interrupt, terminate;
	void (*on_signal)(void *ctx, int signo);
	void *on_signal_ctx;
	uv_thread_t thread;
	struct task *tasks, **tasks_end;
	pthread_mutex_t lock; /* guards the posts, the only thing other threads touch */
	struct loop_post *posts, **posts_end;
	uint8_t *receive;
	struct rest rest;
};

void task_run_all(struct loop *l);
