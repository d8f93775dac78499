// SPDX-License-Identifier: GPL-2.0
/* A mill where everything breaks, each time in another way. Told by words written to /proc/kernlab_mill:
 *
 *   null wild bad-page execute opcode bug divide stack     what a CPU refuses
 *   use-after-free double-free redzone list refcount       memory that is not one's own any more
 *   warn deliberate                                        what the driver says itself
 *   softlock hardlock rcu workqueue                        what never ends
 *   softirq-bug softirq-spin                               in half a second, in a timer on this CPU
 *   spin               count in the kernel, for ever
 *   keep KIND MIB      take that much of KIND (kmalloc, vmalloc, percpu) and forget it
 *   keeping KIND       a kernel thread does so until there is none left
 *   crumble            take nearly all free pages one by one, and give every other one back
 *   table              want tables of 16 pages in one piece until there is none, and panic
 *   scales             warn, and go on
 *   belt               take belt_lock in turn with whoever else does, for ever
 *   sleepers DEEP      kernel threads asleep without being interruptible: mistd wakes now and then, frostd (DEEP is 1) never
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

struct mill_sack {
	u64 owner;
	u64 weight;
};

struct mill_job {
	u64 number;
	struct mill_sack *sack;
	struct list_head queue;
	refcount_t users;
	char label[60];
};

/* The command line lets SLUB watch the cache mill_checked_job (slub_debug=FZPU,mill_checked_job). */
static char *cache = "mill_job";
module_param(cache, charp, 0444);

static struct kmem_cache *jobs;
static struct mill_sack *stone; /* there is none */
static unsigned int shares;	/* 0 */
static unsigned int passes = 1 << 20;
static u64 counted;
static DEFINE_MUTEX(belt_lock);
static DECLARE_COMPLETION(never);
static LIST_HEAD(queue);
static struct workqueue_struct *grinders;

static noinline void stone_weigh(void)
{
	counted += READ_ONCE(READ_ONCE(stone)->weight);
}

static noinline void sack_open(void)
{
	struct mill_sack *sack = (struct mill_sack *)0xc0de0000deadbee0UL;

	OPTIMIZER_HIDE_VAR(sack);
	counted += READ_ONCE(sack->weight);
}

/* A vmalloc area ends where nothing is mapped. */
static noinline void ledger_read(void)
{
	u8 *ledger = vmalloc(PAGE_SIZE);
	unsigned long line = PAGE_SIZE + 64;

	if (!ledger)
		return;
	OPTIMIZER_HIDE_VAR(line);
	counted += READ_ONCE(ledger[line]);
}

static noinline void wheel_turn(void)
{
	void (*turn)(void) = kzalloc(PAGE_SIZE, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(turn);
	if (turn)
		turn();
	counted++;
}

static noinline void gear_check(void)
{
#ifdef CONFIG_ARM64
	asm volatile(".inst 0"); /* udf #0 */
#else
	asm volatile("ud2");
#endif
	counted++;
}

static noinline void hopper_check(void)
{
	pr_crit("kernlab_mill: the hopper holds less than nothing\n");
	BUG();
}

static noinline void flour_share(void)
{
	counted += 1000 / READ_ONCE(shares);
}

static noinline unsigned int sieve_pass(unsigned int depth)
{
	unsigned int mesh[32];
	unsigned int at = depth % 32;

	memset(mesh, depth, sizeof(mesh));
	barrier_data(mesh);
	return depth < READ_ONCE(passes) ? sieve_pass(depth + 1) + mesh[at] : mesh[at];
}

static void sieve(void)
{
	counted += sieve_pass(0);
}

static noinline struct mill_job *job_new(void)
{
	struct mill_job *job = kmem_cache_zalloc(jobs, GFP_KERNEL);

	if (!job)
		return NULL;
	job->number = ++counted;
	job->sack = kzalloc(sizeof(*job->sack), GFP_KERNEL);
	refcount_set(&job->users, 1);
	return job;
}

static noinline void job_free(struct mill_job *job)
{
	kmem_cache_free(jobs, job);
}

/* Somebody else's job in the same place, whose label begins too early. */
static noinline void job_relabel(struct mill_job *freed)
{
	int tries;

	for (tries = 0; tries < 64; tries++) {
		struct mill_job *job = kmem_cache_alloc(jobs, GFP_KERNEL);

		if (!job)
			return;
		memset(job, 'W', sizeof(*job));
		if (job == freed)
			return;
	}
}

static noinline __noclone void job_finish(struct mill_job *job)
{
	WRITE_ONCE(job->sack->weight, counted);
}

static void use_after_free(void)
{
	struct mill_job *job = job_new();

	if (!job)
		return;
	job_free(job);
	if (strcmp(cache, "mill_checked_job"))
		job_relabel(job);
	job_finish(job);
}

static noinline void job_drop(void)
{
	struct mill_job *job = job_new(), *again = job;

	if (!job)
		return;
	OPTIMIZER_HIDE_VAR(again);
	kmem_cache_free(jobs, job);
	kmem_cache_free(jobs, again);
	counted++;
}

static noinline void job_label(void)
{
	struct mill_job *job = job_new();
	u8 *end = (u8 *)(job + 1);

	if (!job)
		return;
	OPTIMIZER_HIDE_VAR(end);
	memset(end, 'L', 4);
	kmem_cache_free(jobs, job);
	counted++;
}

static noinline void queue_leave(void)
{
	struct mill_job *job = job_new();

	if (!job)
		return;
	list_add(&job->queue, &queue);
	list_del(&job->queue);
	barrier();
	list_del(&job->queue);
	counted++;
}

static noinline void job_put(void)
{
	struct mill_job *job = job_new();

	if (!job)
		return;
	if (refcount_dec_and_test(&job->users))
		counted++;
	if (refcount_dec_and_test(&job->users))
		counted++;
}

static noinline void weight_check(void)
{
	WARN(1, "kernlab_mill: a sack weighs %llu too much\n", counted);
	counted++;
}

static noinline void mill_stop(void)
{
	panic("kernlab_mill: the miller is not at home");
}

static noinline void wheel_spin(void)
{
	preempt_disable();
	for (;;) {
		WRITE_ONCE(counted, counted + 1);
		cpu_relax();
	}
}

static noinline void wheel_jam(void)
{
	local_irq_disable();
	for (;;) {
		WRITE_ONCE(counted, counted + 1);
		cpu_relax();
	}
}

static noinline void river_read(void)
{
	rcu_read_lock();
	preempt_disable();
	for (;;) {
		WRITE_ONCE(counted, counted + 1);
		cpu_relax();
	}
}

static noinline void grind(struct work_struct *work)
{
	wait_for_completion(&never);
	counted++;
}

static DECLARE_WORK(grinding, grind);

static noinline void flour_wait(void)
{
	queue_work(grinders, &grinding);
	flush_work(&grinding);
	counted++;
}

static struct timer_list bell, swing;

static noinline void bell_ring(struct timer_list *timer)
{
	BUG();
}

static noinline void bell_swing(struct timer_list *timer)
{
	for (;;) {
		WRITE_ONCE(counted, counted + 1);
		cpu_relax();
	}
}

static void bell_set(void)
{
	mod_timer(&bell, jiffies + HZ / 2);
}

static void swing_set(void)
{
	mod_timer(&swing, jiffies + HZ / 2);
}

/* Who holds no lock lets others run. */
static void spin(void)
{
	for (;;) {
		WRITE_ONCE(counted, counted + 1);
		cond_resched();
	}
}

static noinline void scales_read(void)
{
	WARN(1, "kernlab_mill: the old scales are off by %llu\n", counted);
	counted++;
}

static noinline void belt_turn(void)
{
	for (;;) {
		mutex_lock(&belt_lock);
		msleep(20);
		counted++;
		mutex_unlock(&belt_lock);
		msleep(4);
	}
}

static int mist_thread(void *unused)
{
	for (;;)
		msleep(3000);
	return 0;
}

static int frost_thread(void *unused)
{
	wait_for_completion(&never);
	return 0;
}

#define KMALLOC_SIZE 4000
#define VMALLOC_SIZE (60 << 10)
#define PERCPU_SIZE (8 << 10)

/* What is taken here nobody remembers. Gives how much it was. */
static noinline size_t crumbs_keep(const char *kind)
{
	void *crumbs;
	size_t size;

	if (!strcmp(kind, "vmalloc")) {
		size = VMALLOC_SIZE;
		crumbs = vzalloc(size);
	} else if (!strcmp(kind, "percpu")) {
		size = PERCPU_SIZE * num_possible_cpus();
		crumbs = (void __force *)__alloc_percpu(PERCPU_SIZE, 8);
	} else {
		size = KMALLOC_SIZE;
		crumbs = kzalloc(size, GFP_KERNEL);
	}
	OPTIMIZER_HIDE_VAR(crumbs);
	return crumbs ? size : 0;
}

static char keeping[16];

static int keep_thread(void *unused)
{
	for (;;) {
		if (!crumbs_keep(keeping))
			msleep(20);
		cond_resched();
	}
	return 0;
}

static void **kept;
static unsigned long kept_count;

static noinline int floor_crumble(void)
{
	unsigned long at, most = totalram_pages();
	struct sysinfo memory;

	kept = vzalloc(most * sizeof(*kept));
	if (!kept)
		return -ENOMEM;
	while (kept_count < most) {
		if (kept_count % 64 == 0) {
			si_meminfo(&memory);
			if (memory.freeram < 4096)
				break;
			cond_resched();
		}
		kept[kept_count] = (void *)__get_free_page(GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY);
		if (!kept[kept_count])
			break;
		kept_count++;
	}
	for (at = 0; at < kept_count; at++)
		if ((unsigned long)kept[at] >> PAGE_SHIFT & 1) {
			free_page((unsigned long)kept[at]);
			kept[at] = NULL;
		}
	return 0;
}

static noinline void table_lay(void)
{
	unsigned int laid = 0;

	while (__get_free_pages(GFP_KERNEL, 4)) {
		laid++;
		cond_resched();
	}
	panic("kernlab_mill: no room for a table of 16 pages, %u are laid", laid);
}

static const struct {
	const char *name;
	void (*act)(void);
} parts[] = {
	{ "null", stone_weigh },
	{ "wild", sack_open },
	{ "bad-page", ledger_read },
	{ "execute", wheel_turn },
	{ "opcode", gear_check },
	{ "bug", hopper_check },
	{ "divide", flour_share },
	{ "stack", sieve },
	{ "use-after-free", use_after_free },
	{ "double-free", job_drop },
	{ "redzone", job_label },
	{ "list", queue_leave },
	{ "refcount", job_put },
	{ "warn", weight_check },
	{ "deliberate", mill_stop },
	{ "softlock", wheel_spin },
	{ "hardlock", wheel_jam },
	{ "rcu", river_read },
	{ "workqueue", flour_wait },
	{ "softirq-bug", bell_set },
	{ "softirq-spin", swing_set },
	{ "spin", spin },
	{ "table", table_lay },
	{ "scales", scales_read },
	{ "belt", belt_turn },
};

static ssize_t mill_write(struct file *file, const char __user *user, size_t size, loff_t *position)
{
	char text[64] = "", kind[16] = "", *word;
	unsigned long mib, got;
	size_t i, more;
	unsigned int deep;

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
	if (sscanf(word, "keep %15s %lu", kind, &mib) == 2) {
		for (got = 0; got < mib << 20; got += more) {
			more = crumbs_keep(kind);
			if (!more)
				return -ENOMEM;
			cond_resched();
		}
	} else if (sscanf(word, "keeping %15s", keeping) == 1) {
		kthread_run(keep_thread, NULL, "kept");
	} else if (!strcmp(word, "crumble")) {
		return floor_crumble() ?: size;
	} else if (sscanf(word, "sleepers %u", &deep) == 1) {
		kthread_run(mist_thread, NULL, "mistd");
		if (deep)
			kthread_run(frost_thread, NULL, "frostd");
	} else {
		return -EINVAL;
	}
	return size;
}

static const struct proc_ops mill_operations = { .proc_write = mill_write };

static int __init mill_init(void)
{
	/* A cache with a usercopy region of its own is never merged with another. */
	jobs = kmem_cache_create_usercopy(cache, sizeof(struct mill_job), 0, 0, 0, 8, NULL);
	grinders = alloc_workqueue("mill_grinders", WQ_UNBOUND, 1);
	if (!jobs || !grinders || !proc_create("kernlab_mill", 0200, NULL, &mill_operations))
		return -ENOMEM; /* the guest's story ends here */
	timer_setup(&bell, bell_ring, TIMER_PINNED);
	timer_setup(&swing, bell_swing, TIMER_PINNED);
	return 0;
}

module_init(mill_init);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Faults of every kind that kernlab's lab tells its stories with");
