// SPDX-License-Identifier: GPL-2.0
/* A shop whose people stand in each other's way. Told by words written to /proc/kernlab_shop, each by a process that
 * has a part of its own and mostly does not come back:
 *
 *   checkout           takes stock_lock, and when all have what they have, wants ledger_lock
 *   refund             takes ledger_lock, then wants stock_lock: the one waits for the other
 *   invoice            wants ledger_lock
 *   cart               reads under the basket's lock (a rwsem in a slab object), then wants stock_lock
 *   sweep              wants the basket's lock for writing
 *   import             takes catalog_sem (a rwsem) for writing, then wants price_lock
 *   reprice            takes price_lock, then wants to read under catalog_sem
 *   search             wants to read under catalog_sem
 *   go                 all have what they have: let them want the next
 *
 *   till deaf          at the go takes till_lock with interrupts off, and never gives it back
 *   till               the same with interrupts on
 *   receipt MS         MS after till_lock was taken spins for it
 *
 *   alarm WHERE HOW    in half a second fail on this CPU in WHERE: hardirq (a timer's interrupt), softirq (a timer);
 *                      or at once in a tasklet. HOW: oops (a NULL pointer followed), or panic
 *   count              count in the kernel, for ever
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/timer.h>
#include <linux/uaccess.h>

struct shop_basket {
	u64 customer;
	u32 items;
	struct rw_semaphore lock;
	u8 goods[200];
};

struct shop_bill {
	u64 customer;
	u64 amount;
};

static DEFINE_MUTEX(stock_lock);
static DEFINE_MUTEX(ledger_lock);
static DEFINE_MUTEX(price_lock);
static DECLARE_RWSEM(catalog_sem);
static DEFINE_RAW_SPINLOCK(till_lock); /* raw: a spinlock of a real-time kernel's too */
static DECLARE_COMPLETION(go);
static DECLARE_COMPLETION(till_taken);

static struct kmem_cache *baskets;
static struct shop_basket *basket;
static struct shop_bill *last_bill;
static u64 counted;

static noinline void checkout_pay(void)
{
	mutex_lock(&stock_lock);
	wait_for_completion(&go);
	mutex_lock(&ledger_lock);
	mutex_unlock(&ledger_lock);
	mutex_unlock(&stock_lock);
}

static noinline void refund_pay(void)
{
	mutex_lock(&ledger_lock);
	wait_for_completion(&go);
	mutex_lock(&stock_lock);
	mutex_unlock(&stock_lock);
	mutex_unlock(&ledger_lock);
}

static noinline void invoice_write(void)
{
	mutex_lock(&ledger_lock);
	counted++;
	mutex_unlock(&ledger_lock);
}

static noinline void cart_add(void)
{
	down_read(&basket->lock);
	wait_for_completion(&go);
	mutex_lock(&stock_lock);
	mutex_unlock(&stock_lock);
	up_read(&basket->lock);
}

static noinline void basket_sweep(void)
{
	down_write(&basket->lock);
	basket->items = 0;
	up_write(&basket->lock);
}

static noinline void catalog_import(void)
{
	down_write(&catalog_sem);
	wait_for_completion(&go);
	mutex_lock(&price_lock);
	mutex_unlock(&price_lock);
	up_write(&catalog_sem);
}

static noinline void catalog_reprice(void)
{
	mutex_lock(&price_lock);
	wait_for_completion(&go);
	down_read(&catalog_sem);
	up_read(&catalog_sem);
	mutex_unlock(&price_lock);
}

static noinline void catalog_search(void)
{
	down_read(&catalog_sem);
	counted++;
	up_read(&catalog_sem);
}

static noinline void count_up(void)
{
	for (;;) {
		WRITE_ONCE(counted, counted + 1);
		cpu_relax();
	}
}

/* Who holds no lock lets others run: where ksoftirqd was woken older kernels leave all softirqs to it. */
static noinline void bills_count(void)
{
	for (;;) {
		WRITE_ONCE(counted, counted + 1);
		cond_resched();
	}
}

static noinline void till_open(void)
{
	wait_for_completion(&go);
	raw_spin_lock(&till_lock);
	complete_all(&till_taken);
	count_up();
	raw_spin_unlock(&till_lock);
}

static noinline void till_open_deaf(void)
{
	unsigned long flags;

	wait_for_completion(&go);
	raw_spin_lock_irqsave(&till_lock, flags);
	complete_all(&till_taken);
	count_up();
	raw_spin_unlock_irqrestore(&till_lock, flags);
}

static noinline void receipt_print(unsigned int after_ms)
{
	wait_for_completion(&till_taken);
	msleep(after_ms);
	raw_spin_lock(&till_lock);
	counted++;
	raw_spin_unlock(&till_lock);
}

/* What fails: a bill that is not there, or a panic of the driver's own. */
static bool by_panic;

static noinline u64 bill_print(const char *where)
{
	if (by_panic)
		panic("kernlab_shop: no bill in a %s", where);
	return READ_ONCE(last_bill)->amount;
}

static struct hrtimer hard_alarm;
static struct timer_list soft_alarm;
static struct tasklet_struct alarm_tasklet;

static enum hrtimer_restart ring_hard(struct hrtimer *timer)
{
	counted += bill_print("hardirq");
	return HRTIMER_NORESTART;
}

static void ring_soft(struct timer_list *timer)
{
	counted += bill_print("softirq");
}

static void ring_tasklet(struct tasklet_struct *tasklet)
{
	counted += bill_print("tasklet");
}

static int alarm_set(const char *where)
{
	if (!strcmp(where, "hardirq")) {
		hrtimer_start(&hard_alarm, ms_to_ktime(500), HRTIMER_MODE_REL_PINNED_HARD);
	} else if (!strcmp(where, "softirq")) {
		mod_timer(&soft_alarm, jiffies + HZ / 2);
	} else if (!strcmp(where, "tasklet")) {
		local_bh_disable();
		tasklet_schedule(&alarm_tasklet);
		local_bh_enable();
	} else {
		return -EINVAL;
	}
	return 0;
}

static const struct {
	const char *name;
	void (*act)(void);
} parts[] = {
	{ "checkout", checkout_pay },
	{ "refund", refund_pay },
	{ "invoice", invoice_write },
	{ "cart", cart_add },
	{ "sweep", basket_sweep },
	{ "import", catalog_import },
	{ "reprice", catalog_reprice },
	{ "search", catalog_search },
	{ "till deaf", till_open_deaf },
	{ "till", till_open },
	{ "count", bills_count },
};

static ssize_t shop_write(struct file *file, const char __user *user, size_t size, loff_t *position)
{
	char text[64] = "", where[16] = "", how[16] = "", *word;
	unsigned int after_ms;
	size_t i;

	if (size >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, user, size))
		return -EFAULT;
	word = strim(text);
	for (i = 0; i < ARRAY_SIZE(parts); i++)
		if (!strcmp(word, parts[i].name)) {
			parts[i].act();
			return size;
		}
	if (!strcmp(word, "go")) {
		complete_all(&go);
		return size;
	}
	if (sscanf(word, "receipt %u", &after_ms) == 1) {
		receipt_print(after_ms);
		return size;
	}
	if (sscanf(word, "alarm %15s %15s", where, how) == 2) {
		by_panic = !strcmp(how, "panic");
		return alarm_set(where) ?: size;
	}
	return -EINVAL;
}

static const struct proc_ops shop_operations = { .proc_write = shop_write };

static int __init shop_init(void)
{
	/* A cache with a usercopy region of its own is never merged with another. */
	baskets = kmem_cache_create_usercopy("shop_basket", sizeof(struct shop_basket), 0, 0, 0, 8, NULL);
	basket = baskets ? kmem_cache_zalloc(baskets, GFP_KERNEL) : NULL;
	if (!basket || !proc_create("kernlab_shop", 0200, NULL, &shop_operations))
		return -ENOMEM; /* the guest's story ends here */
	init_rwsem(&basket->lock);
	basket->customer = 4711;
	basket->items = 3;
#ifdef HRTIMER_SETUP
	hrtimer_setup(&hard_alarm, ring_hard, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
#else
	hrtimer_init(&hard_alarm, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	hard_alarm.function = ring_hard;
#endif
	timer_setup(&soft_alarm, ring_soft, TIMER_PINNED);
	tasklet_setup(&alarm_tasklet, ring_tasklet);
	return 0;
}

module_init(shop_init);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Locks, spinning and interrupts that kernlab's lab tells its stories with");
