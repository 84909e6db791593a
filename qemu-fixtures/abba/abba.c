// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Two mutexes that two callers take in opposite order: reading /proc/abba-1 takes A then B, reading
 * /proc/abba-2 takes B then A. The pause in between makes sure that two readers who come within two
 * seconds of each other meet. For the fault `abba`.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>

static DEFINE_MUTEX(abba_a);
static DEFINE_MUTEX(abba_b);

static noinline void abba_take_both(struct mutex *first, struct mutex *second)
{
	mutex_lock(first);
	msleep(2000);
	mutex_lock(second);
	mutex_unlock(second);
	mutex_unlock(first);
}

static ssize_t abba_read_1(struct file *file, char __user *to, size_t size, loff_t *at)
{
	abba_take_both(&abba_a, &abba_b);
	return 0;
}

static ssize_t abba_read_2(struct file *file, char __user *to, size_t size, loff_t *at)
{
	abba_take_both(&abba_b, &abba_a);
	return 0;
}

static const struct proc_ops abba_ops_1 = { .proc_read = abba_read_1 };
static const struct proc_ops abba_ops_2 = { .proc_read = abba_read_2 };

static int __init abba_init(void)
{
	if (!proc_create("abba-1", 0400, NULL, &abba_ops_1))
		return -ENOMEM;
	if (!proc_create("abba-2", 0400, NULL, &abba_ops_2)) {
		remove_proc_entry("abba-1", NULL);
		return -ENOMEM;
	}
	return 0;
}

static void __exit abba_exit(void)
{
	remove_proc_entry("abba-1", NULL);
	remove_proc_entry("abba-2", NULL);
}

module_init(abba_init);
module_exit(abba_exit);
MODULE_DESCRIPTION("Two locks taken in opposite order, for vmward's tests");
MODULE_LICENSE("Dual MIT/GPL");
