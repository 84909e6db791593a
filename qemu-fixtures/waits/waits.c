// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Kernel threads that hold and wait for each kind of lock and event, and say so: the truth that the wait
 * graph of the lens is compared with. /proc/waits tells, once everybody is where he stays,
 *
 *     task PID NAME                      a task that is part of this
 *     edge KIND WAITER OBJECT OWNERS     who waits for what, and who has to let go; `-` for nobody,
 *                                        0 for an object that is on a stack
 *
 * Among them is what the first write to it brings about: the last CPUs spin for a lock, one of them inside of
 * an RCU reader, and a task waits for a grace period. From then on the guest is only good for being looked at;
 * that they are there is said in the kernel's log.
 */
#include <linux/bitops.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/percpu-rwsem.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/rtmutex.h>
#include <linux/rwsem.h>
#include <linux/semaphore.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/wait_bit.h>
#include <linux/workqueue.h>

/* All that is held; allocated, so that its addresses are on the stacks of those who use it. */
struct things {
	struct mutex mutex;
	struct rw_semaphore read_held;
	struct rw_semaphore write_held;
	struct semaphore semaphore;
	struct completion completion;
	struct percpu_rw_semaphore percpu_read_held;
	struct percpu_rw_semaphore percpu_write_held;
	struct rt_mutex rt_mutex;
	wait_queue_head_t queue;
	unsigned long bits;
	struct work_struct running;
	struct work_struct pending;
	struct workqueue_struct *one_at_a_time;
	spinlock_t spinlock;
};

static struct things *things;
static struct task_struct *unstoppable;
static pid_t worker;

static char *truth;
static size_t truth_len;
#define TRUTH_SIZE (64 << 10)

static __printf(1, 2) void tell(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	truth_len += vscnprintf(truth + truth_len, TRUTH_SIZE - truth_len, format, args);
	va_end(args);
}

/* Sleeps for ever, waiting for nothing. */
static noinline void stay(void)
{
	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE);
		schedule();
	}
}

static int hold_mutex(void *data)
{
	mutex_lock(data);
	stay();
	return 0;
}

static int want_mutex(void *data)
{
	mutex_lock(data);
	stay();
	return 0;
}

static noinline void keep(void *lock)
{
	/* The lock's address stays in a register that the callee has to save. */
	stay();
	barrier_data(lock);
}

static int hold_read(void *data)
{
	down_read(data);
	keep(data);
	up_read(data);
	return 0;
}

static int want_read(void *data)
{
	down_read(data);
	keep(data);
	up_read(data);
	return 0;
}

static int hold_write(void *data)
{
	down_write(data);
	keep(data);
	up_write(data);
	return 0;
}

static int want_write(void *data)
{
	down_write(data);
	keep(data);
	up_write(data);
	return 0;
}

static int hold_semaphore(void *data)
{
	down(data);
	keep(data);
	return 0;
}

static int want_semaphore(void *data)
{
	down(data);
	keep(data);
	return 0;
}

static int want_completion(void *data)
{
	wait_for_completion(data);
	return 0;
}

static int hold_percpu_read(void *data)
{
	percpu_down_read(data);
	keep(data);
	percpu_up_read(data);
	return 0;
}

static int want_percpu_read(void *data)
{
	percpu_down_read(data);
	keep(data);
	percpu_up_read(data);
	return 0;
}

static int hold_percpu_write(void *data)
{
	percpu_down_write(data);
	keep(data);
	percpu_up_write(data);
	return 0;
}

static int want_percpu_write(void *data)
{
	percpu_down_write(data);
	keep(data);
	percpu_up_write(data);
	return 0;
}

static int hold_rt_mutex(void *data)
{
	rt_mutex_lock(data);
	stay();
	return 0;
}

static int want_rt_mutex(void *data)
{
	rt_mutex_lock(data);
	stay();
	return 0;
}

static int want_event(void *data)
{
	wait_event(*(wait_queue_head_t *)data, false);
	return 0;
}

static int want_bit(void *data)
{
	wait_on_bit(data, 0, TASK_UNINTERRUPTIBLE);
	return 0;
}

static int ignore_stop(void *data)
{
	stay();
	return 0;
}

static int want_stop(void *data)
{
	kthread_stop(data);
	return 0;
}

static void running_work(struct work_struct *work)
{
	WRITE_ONCE(worker, current->pid);
	stay();
}

static void pending_work(struct work_struct *work)
{
}

static int want_flush(void *data)
{
	flush_work(data);
	return 0;
}

static int want_flush_all(void *data)
{
	flush_workqueue(data);
	return 0;
}

/* Holds the spinlock inside of an RCU reader, and never gives its CPU up again. */
static int hold_spinlock(void *data)
{
	rcu_read_lock();
	spin_lock(data);
	for (;;)
		cpu_relax();
	return 0;
}

static int want_spinlock(void *data)
{
	spin_lock(data);
	return 0;
}

static int want_grace_period(void *data)
{
	synchronize_rcu();
	return 0;
}

/* A thread that does not run yet. */
static struct task_struct *make_on(int cpu, int (*function)(void *), void *data, const char *name)
{
	struct task_struct *task = kthread_create(function, data, "%s", name);

	if (IS_ERR(task))
		return NULL;
	if (cpu >= 0)
		kthread_bind(task, cpu);
	get_task_struct(task);
	tell("task %d %s\n", task->pid, name);
	return task;
}

static struct task_struct *start_on(int cpu, int (*function)(void *), void *data, const char *name)
{
	struct task_struct *task = make_on(cpu, function, data, name);

	if (task)
		wake_up_process(task);
	return task;
}

/* Starts a thread and lets it come to where it stays. */
static pid_t start(int (*function)(void *), void *data, const char *name)
{
	struct task_struct *task = start_on(-1, function, data, name);

	msleep(60);
	return task ? task->pid : 0;
}

static void edge(const char *kind, pid_t waiter, void *object, pid_t owner)
{
	if (owner)
		tell("edge %s %d %px %d\n", kind, waiter, object, owner);
	else
		tell("edge %s %d %px -\n", kind, waiter, object);
}

static void settle(void)
{
	struct things *it = things;
	pid_t owner, second, first;

	owner = start(hold_mutex, &it->mutex, "mutex-held");
	first = start(want_mutex, &it->mutex, "mutex-want");
	edge("mutex", first, &it->mutex, owner);
	second = start(want_mutex, &it->mutex, "mutex-want-2");
	edge("mutex", second, &it->mutex, owner);

	owner = start(hold_read, &it->read_held, "rwsem-read");
	second = start(hold_read, &it->read_held, "rwsem-read-2");
	first = start(want_write, &it->read_held, "rwsem-write-w");
	tell("edge rwsem %d %px %d,%d\n", first, &it->read_held, owner, second);
	first = start(want_read, &it->read_held, "rwsem-late-r");
	tell("edge rwsem %d %px %d,%d\n", first, &it->read_held, owner, second);

	owner = start(hold_write, &it->write_held, "rwsem-write");
	first = start(want_read, &it->write_held, "rwsem-read-w");
	edge("rwsem", first, &it->write_held, owner);

	start(hold_semaphore, &it->semaphore, "sema-held");
	first = start(want_semaphore, &it->semaphore, "sema-want");
	edge("semaphore", first, &it->semaphore, 0);

	first = start(want_completion, &it->completion, "completion");
	edge("completion", first, &it->completion, 0);

	owner = start(hold_percpu_read, &it->percpu_read_held, "percpu-read");
	first = start(want_percpu_write, &it->percpu_read_held, "percpu-write-w");
	edge("percpu-rwsem", first, &it->percpu_read_held, owner);

	owner = start(hold_percpu_write, &it->percpu_write_held, "percpu-write");
	/* It waits for a grace period before it has it. */
	msleep(500);
	first = start(want_percpu_read, &it->percpu_write_held, "percpu-read-w");
	edge("percpu-rwsem", first, &it->percpu_write_held, owner);

	owner = start(hold_rt_mutex, &it->rt_mutex, "rt-mutex-held");
	first = start(want_rt_mutex, &it->rt_mutex, "rt-mutex-want");
	edge("rt-mutex", first, &it->rt_mutex, owner);

	first = start(want_event, &it->queue, "queue-want");
	edge("event", first, &it->queue, 0);
	second = start(want_event, &it->queue, "queue-want-2");
	edge("event", second, &it->queue, 0);

	first = start(want_bit, &it->bits, "bit-want");
	edge("event", first, &it->bits, 0);

	unstoppable = start_on(-1, ignore_stop, NULL, "unstoppable");
	msleep(60);
	first = start(want_stop, unstoppable, "stop-want");
	edge("completion", first, unstoppable->vfork_done, unstoppable->pid);

	queue_work(it->one_at_a_time, &it->running);
	queue_work(it->one_at_a_time, &it->pending);
	msleep(60);
	tell("task %d a-worker\n", worker);
	first = start(want_flush, &it->running, "flush-want");
	edge("completion", first, &it->running, worker);
	first = start(want_flush, &it->pending, "flush-want-2");
	edge("completion", first, &it->pending, 0);
	first = start(want_flush_all, it->one_at_a_time, "flush-all");
	edge("completion", first, it->one_at_a_time, worker);
}

/* In the order in which they begin. */
static struct task_struct *spinners[4];

static int conduct(void *data)
{
	int at;

	for (at = 0; at < ARRAY_SIZE(spinners); at++) {
		wake_up_process(spinners[at]);
		msleep(400);
	}
	pr_emerg("waits: all of them are there\n");
	stay();
	return 0;
}

static struct task_struct *conductor;

/* The last CPU will hold the lock, the two before it will want it. */
static void prepare_to_spin(void)
{
	spinlock_t *lock = &things->spinlock;
	int at, last = num_online_cpus() - 1;

	if (last < 3)
		return;
	spinners[0] = make_on(last, hold_spinlock, lock, "spin-held");
	spinners[1] = make_on(0, want_grace_period, NULL, "rcu-want");
	spinners[2] = make_on(last - 1, want_spinlock, lock, "spin-want");
	spinners[3] = make_on(last - 2, want_spinlock, lock, "spin-want-2");
	for (at = 0; at < ARRAY_SIZE(spinners); at++)
		if (!spinners[at])
			return;
	tell("edge rcu %d 0 gp\n", spinners[1]->pid);
	tell("hold gp %d\n", spinners[0]->pid);
	edge("spinlock", spinners[2]->pid, lock, spinners[0]->pid);
	edge("spinlock", spinners[3]->pid, lock, spinners[0]->pid);
	tell("order %d,%d\n", last - 1, last - 2);
	conductor = make_on(0, conduct, NULL, "conductor");
}

static int waits_show(struct seq_file *file, void *data)
{
	seq_write(file, truth, truth_len);
	return 0;
}

static int waits_open(struct inode *inode, struct file *file)
{
	return single_open(file, waits_show, NULL);
}

static ssize_t waits_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	if (!conductor)
		return -ENODEV;
	wake_up_process(conductor);
	return size;
}

static const struct proc_ops waits_ops = {
	.proc_open = waits_open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
	.proc_write = waits_write,
};

static int __init waits_init(void)
{
	truth = kzalloc(TRUTH_SIZE, GFP_KERNEL);
	things = kzalloc(sizeof(*things), GFP_KERNEL);
	if (!truth || !things)
		return -ENOMEM;
	mutex_init(&things->mutex);
	init_rwsem(&things->read_held);
	init_rwsem(&things->write_held);
	sema_init(&things->semaphore, 1);
	init_completion(&things->completion);
	if (percpu_init_rwsem(&things->percpu_read_held) || percpu_init_rwsem(&things->percpu_write_held))
		return -ENOMEM;
	rt_mutex_init(&things->rt_mutex);
	init_waitqueue_head(&things->queue);
	set_bit(0, &things->bits);
	INIT_WORK(&things->running, running_work);
	INIT_WORK(&things->pending, pending_work);
	things->one_at_a_time = alloc_workqueue("waits", WQ_UNBOUND, 1);
	spin_lock_init(&things->spinlock);
	if (!things->one_at_a_time || !proc_create("waits", 0600, NULL, &waits_ops))
		return -ENOMEM;
	settle();
	prepare_to_spin();
	return 0;
}

/* There is no way to unload it: its threads stay where they are. */
module_init(waits_init);
MODULE_DESCRIPTION("Threads that hold and wait for known things, for vmward's tests");
MODULE_LICENSE("Dual MIT/GPL");
