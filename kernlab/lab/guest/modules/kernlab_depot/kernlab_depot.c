// SPDX-License-Identifier: GPL-2.0
/* A depot whose hands all wait, each in another of the ways that a kernel thread can wait in. Whatever is written to
 * /proc/kernlab_depot starts them, one after the other; reading it says who holds what and wants what:
 *
 *   NAME (PID) holds KIND OBJECT, wants KIND OBJECT
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/percpu-rwsem.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/rtmutex.h>
#include <linux/sched.h>
#include <linux/semaphore.h>
#include <linux/seq_file.h>
#include <linux/srcu.h>
#include <linux/wait.h>
#include <linux/wait_bit.h>
#include <linux/workqueue.h>

static DEFINE_RT_MUTEX(crane_lock);
DEFINE_STATIC_PERCPU_RWSEM(gate_sem);
static struct semaphore dock_sem;
DEFINE_STATIC_SRCU(shelf_srcu);
static DECLARE_COMPLETION(delivery);
static DECLARE_COMPLETION(at_work);
static DECLARE_WAIT_QUEUE_HEAD(yard_wait);
static unsigned long lamp_word = 1 << 3;
static struct page *pallet;
static struct task_struct *deaf;
static pid_t sorter;

/* For good, holding what it holds. */
static noinline int stay(void)
{
	for (;;) {
		set_current_state(TASK_UNINTERRUPTIBLE);
		schedule();
	}
	return 0;
}

static int dock_hold(void *unused)
{
	down(&dock_sem);
	return stay();
}

static int dock_want(void *unused)
{
	down(&dock_sem);
	return stay();
}

static int gate_pass(void *unused)
{
	percpu_down_read(&gate_sem);
	return stay();
}

static int gate_close(void *unused)
{
	percpu_down_write(&gate_sem);
	return stay();
}

static int crane_use(void *unused)
{
	rt_mutex_lock(&crane_lock);
	return stay();
}

static int pallet_lift(void *unused)
{
#ifdef FOLIO_LOCK
	folio_lock(page_folio(pallet));
#else
	lock_page(pallet);
#endif
	return stay();
}

static int delivery_await(void *unused)
{
	wait_for_completion(&delivery);
	return stay();
}

static int yard_await(void *unused)
{
	wait_event(yard_wait, READ_ONCE(lamp_word) == 0);
	return stay();
}

static int lamp_await(void *unused)
{
	wait_on_bit(&lamp_word, 3, TASK_UNINTERRUPTIBLE);
	return stay();
}

static int shelf_read(void *unused)
{
	srcu_read_lock(&shelf_srcu);
	return stay();
}

static int shelf_replace(void *unused)
{
	synchronize_srcu(&shelf_srcu);
	return stay();
}

/* Each grace period ends, and the next begins. */
static int map_replace(void *unused)
{
	for (;;)
		synchronize_rcu();
	return 0;
}

static int deaf_be(void *unused)
{
	return stay();
}

static int deaf_dismiss(void *unused)
{
	kthread_stop(deaf);
	return stay();
}

static void parcels_sort(struct work_struct *work)
{
	sorter = current->pid;
	complete(&at_work);
	stay();
}

static DECLARE_WORK(sorting, parcels_sort);

static int sorting_await(void *unused)
{
	flush_work(&sorting);
	return stay();
}

static int break_take(void *unused)
{
	msleep(3600 * 1000);
	return stay();
}

static struct {
	const char *name;
	int (*act)(void *unused);
	const char *story;
	struct task_struct *task;
} hands[] = {
	{ "dock-holder", dock_hold, "holds semaphore dock_sem, wants nothing" },
	{ "dock-waiter", dock_want, "holds nothing, wants semaphore dock_sem" },
	{ "gate-reader", gate_pass, "holds percpu_rwsem gate_sem, wants nothing" },
	{ "gate-writer", gate_close, "holds nothing, wants percpu_rwsem gate_sem" },
	{ "gate-behind", gate_pass, "holds nothing, wants percpu_rwsem gate_sem" },
	{ "crane-holder", crane_use, "holds rtmutex crane_lock, wants nothing" },
	{ "crane-waiter", crane_use, "holds nothing, wants rtmutex crane_lock" },
	{ "pallet-holder", pallet_lift, "holds folio pallet, wants nothing" },
	{ "pallet-waiter", pallet_lift, "holds nothing, wants folio pallet" },
	{ "delivery-waiter", delivery_await, "holds nothing, wants completion delivery" },
	{ "yard-waiter", yard_await, "holds nothing, wants wait_queue yard_wait" },
	{ "lamp-waiter", lamp_await, "holds nothing, wants bit lamp_word" },
	{ "shelf-reader", shelf_read, "holds srcu shelf_srcu, wants nothing" },
	{ "shelf-waiter", shelf_replace, "holds nothing, wants srcu shelf_srcu" },
	{ "map-waiter", map_replace, "holds nothing, wants rcu grace-period" },
	{ "deaf", deaf_be, "holds thread deaf, wants nothing" },
	{ "deaf-stopper", deaf_dismiss, "holds nothing, wants thread deaf" },
	{ "sorting-waiter", sorting_await, "holds nothing, wants work sorting" },
	{ "break-taker", break_take, "holds nothing, wants timer hour" },
};

static int depot_show(struct seq_file *out, void *unused)
{
	size_t i;

	seq_printf(out, "sorter (%d) holds work sorting, wants nothing\n", sorter);
	for (i = 0; i < ARRAY_SIZE(hands); i++)
		if (hands[i].task)
			seq_printf(out, "%s (%d) %s\n", hands[i].name, hands[i].task->pid, hands[i].story);
	return 0;
}

static int depot_open(struct inode *inode, struct file *file)
{
	return single_open(file, depot_show, NULL);
}

static ssize_t depot_write(struct file *file, const char __user *user, size_t size, loff_t *position)
{
	size_t i;

	schedule_work(&sorting);
	wait_for_completion(&at_work);
	for (i = 0; i < ARRAY_SIZE(hands); i++) {
		struct task_struct *task = kthread_create(hands[i].act, NULL, "%s", hands[i].name);

		if (IS_ERR(task))
			return PTR_ERR(task);
		if (hands[i].act == deaf_be)
			deaf = task;
		hands[i].task = task;
		wake_up_process(task);
		/* The next comes when this one has what it gets. */
		msleep(100);
	}
	return size;
}

static const struct proc_ops depot_operations = {
	.proc_open = depot_open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
	.proc_write = depot_write,
};

static int __init depot_init(void)
{
	sema_init(&dock_sem, 1);
	pallet = alloc_page(GFP_KERNEL);
	if (!pallet || !proc_create("kernlab_depot", 0600, NULL, &depot_operations))
		return -ENOMEM; /* the guest's story ends here */
	return 0;
}

module_init(depot_init);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Every way to wait that kernlab's lab tells its stories with");
