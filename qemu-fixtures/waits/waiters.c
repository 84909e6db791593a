// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Processes that wait for each other in ways that only user space has: vfork, futexes, pipes, poll and epoll.
 * Each line that it writes is one of those that waits.c describes, or
 *
 *     files PID FD,FD,...                what a task of a `files` edge waits for
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void be(const char *name)
{
	prctl(PR_SET_NAME, name);
	dprintf(1, "task %ld %s\n", syscall(SYS_gettid), name);
}

/* Long enough for the others to come to where they stay, on an emulated guest. */
static void a_while(void)
{
	usleep(200 * 1000);
}

static void stay(void)
{
	for (;;)
		pause();
}

/* In a process of its own. */
static pid_t start(void (*function)(void))
{
	pid_t child = fork();

	if (child == 0) {
		function();
		stay();
	}
	a_while();
	return child;
}

static void do_vfork(void)
{
	be("vfork-parent");
	if (vfork() == 0) {
		/* It borrows its parent's memory, so it only does what is safe there. */
		dprintf(1, "task %d vfork-child\nedge child %d 0 %d\n", getpid(), getppid(), getpid());
		for (;;)
			syscall(SYS_pause);
	}
}

static int plain, inherited;
static pid_t owner;

static void *hold_plain(void *unused)
{
	be("futex-held");
	__atomic_store_n(&plain, (int)syscall(SYS_gettid) | FUTEX_WAITERS, __ATOMIC_SEQ_CST);
	stay();
	return unused;
}

static void *want_plain(void *unused)
{
	int word = __atomic_load_n(&plain, __ATOMIC_SEQ_CST);

	be("futex-want");
	dprintf(1, "edge futex %ld %p %d\n", syscall(SYS_gettid), (void *)&plain, word & FUTEX_TID_MASK);
	for (;;)
		syscall(SYS_futex, &plain, FUTEX_WAIT_PRIVATE, word, NULL, NULL, 0);
	return unused;
}

static void *hold_inherited(void *unused)
{
	be("futex-pi-held");
	owner = (pid_t)syscall(SYS_gettid);
	syscall(SYS_futex, &inherited, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0);
	stay();
	return unused;
}

static void *want_inherited(void *unused)
{
	be("futex-pi-want");
	dprintf(1, "edge rt-mutex %ld 0 %d\n", syscall(SYS_gettid), owner);
	syscall(SYS_futex, &inherited, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0);
	stay();
	return unused;
}

static void do_futex(void)
{
	void *(*threads[])(void *) = { hold_plain, want_plain, hold_inherited, want_inherited };
	pthread_t thread;

	be("futex-main");
	for (size_t at = 0; at < sizeof(threads) / sizeof(threads[0]); at++) {
		pthread_create(&thread, NULL, threads[at], NULL);
		a_while();
	}
}

static int ends[2];

static void read_pipe(void)
{
	char byte;

	close(ends[1]);
	be("pipe-reader");
	dprintf(1, "edge input %d 0 %d\n", getpid(), owner);
	if (read(ends[0], &byte, 1) < 0)
		exit(1);
}

static void write_pipe(void)
{
	static char much[1 << 20];

	close(ends[0]);
	be("pipe-writer");
	dprintf(1, "edge input %d 0 %d\n", getpid(), owner);
	if (write(ends[1], much, sizeof(much)) < 0)
		exit(1);
}

/* One process has the one end, its child the other. */
static void do_pipe_read(void)
{
	be("pipe-w-end");
	owner = getpid();
	if (pipe(ends))
		exit(1);
	start(read_pipe);
	close(ends[0]);
}

static void do_pipe_write(void)
{
	be("pipe-r-end");
	owner = getpid();
	if (pipe(ends))
		exit(1);
	start(write_pipe);
	close(ends[1]);
}

static void do_epoll(void)
{
	int epoll = epoll_create1(0), event = eventfd(0, 0);
	struct epoll_event wanted = { .events = EPOLLIN }, got;

	be("epoll-want");
	if (pipe(ends))
		exit(1);
	epoll_ctl(epoll, EPOLL_CTL_ADD, event, &wanted);
	epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &wanted);
	dprintf(1, "edge input %d 0 -\nfiles %d %d,%d\n", getpid(), getpid(), event, ends[0]);
	epoll_wait(epoll, &got, 1, -1);
}

/* More files than fit on the stack. */
#define MANY 12

static void do_poll(void)
{
	struct pollfd wanted[MANY];
	char text[256] = "";

	be("poll-want");
	for (int at = 0; at < MANY; at++) {
		wanted[at] = (struct pollfd){ .fd = eventfd(0, 0), .events = POLLIN };
		sprintf(text + strlen(text), "%s%d", at ? "," : "", wanted[at].fd);
	}
	dprintf(1, "edge input %d 0 -\nfiles %d %s\n", getpid(), getpid(), text);
	poll(wanted, MANY, -1);
}

static void do_select(void)
{
	fd_set wanted;

	be("select-want");
	if (pipe(ends))
		exit(1);
	FD_ZERO(&wanted);
	FD_SET(ends[0], &wanted);
	dprintf(1, "edge input %d 0 -\nfiles %d %d\n", getpid(), getpid(), ends[0]);
	select(ends[0] + 1, &wanted, NULL, NULL, NULL);
}

int main(void)
{
	void (*all[])(void) = { do_vfork, do_futex, do_pipe_read, do_pipe_write, do_epoll, do_poll, do_select };

	/* No process may have a descriptor that is another one's business. */
	for (size_t at = 0; at < sizeof(all) / sizeof(all[0]); at++)
		start(all[at]);
	for (int more = 0; more < 20; more++)
		a_while();
	dprintf(1, "waiters are there\n");
	return 0;
}
