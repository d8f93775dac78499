// SPDX-License-Identifier: GPL-2.0
/* What a story needs a driver for: a leak of slab objects, a lock that is never released, a NULL dereference, and
 * relay channels with records of a struct. Told by lines written to /proc/kernlab_story:
 *
 *   leak COUNT         allocate COUNT sessions and forget them
 *   leaking COUNT      the same every tenth of a second, for ever, by a kernel thread
 *   hold               a kernel thread takes the lock of the inventory and waits for an answer that never comes
 *   take               take that lock, as every order must
 *   oops               follow a NULL pointer
 *   relay NAME COUNT   write COUNT records to the channel drop, flight or global, on the writer's CPU
 */
#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/relay.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

/* One record of the relay channels. 40 bytes; 4,096 is no multiple: sub-buffers of flight end in padding. */
struct story_event {
	u64 time_ns;
	u32 sequence;
	u16 cpu;
	u16 kind;
	char comm[16];
	u64 value;
};

/* What leaks. */
struct story_session {
	u64 id;
	u64 opened_ns;
	struct story_session *previous;
	char user[32];
	u32 state;
	u32 retries;
	u8 scratch[320];
};

struct story_order {
	const char *customer;
	u64 amount;
};

static struct kmem_cache *sessions;
static struct story_session *last_session;
static u64 session_count;
static struct mutex inventory_lock;
static DECLARE_COMPLETION(answer);
static struct dentry *folder;
static atomic_t sequence = ATOMIC_INIT(0);
static unsigned long leak_step;

static bool relay;
module_param(relay, bool, 0444);
/* May the channels be mapped? debugfs maps only files that are made without its protection. */
static bool map;
module_param(map, bool, 0444);

#ifdef RELAY_PREV_PADDING
#define START_ARGUMENTS struct rchan_buf *buf, void *subbuf, void *prev_subbuf, size_t prev_padding
#else
#define START_ARGUMENTS struct rchan_buf *buf, void *subbuf, void *prev_subbuf
#endif

static int drop_start(START_ARGUMENTS)
{
	return !relay_buf_full(buf);
}

static int flight_start(START_ARGUMENTS)
{
	return 1;
}

static struct dentry *make_file(const char *name, struct dentry *parent, umode_t mode, struct rchan_buf *buf,
				int *is_global)
{
	if (map)
		return debugfs_create_file_unsafe(name, mode, parent, buf, &relay_file_operations);
	return debugfs_create_file(name, mode, parent, buf, &relay_file_operations);
}

static struct dentry *make_global(const char *name, struct dentry *parent, umode_t mode, struct rchan_buf *buf,
				  int *is_global)
{
	*is_global = 1;
	return make_file(name, parent, mode, buf, is_global);
}

static int remove_file(struct dentry *dentry)
{
	debugfs_remove(dentry);
	return 0;
}

static struct rchan_callbacks drop_callbacks = {
	.subbuf_start = drop_start, .create_buf_file = make_file, .remove_buf_file = remove_file };
static struct rchan_callbacks flight_callbacks = {
	.subbuf_start = flight_start, .create_buf_file = make_file, .remove_buf_file = remove_file };
static struct rchan_callbacks global_callbacks = {
	.subbuf_start = flight_start, .create_buf_file = make_global, .remove_buf_file = remove_file };

static struct {
	const char *name;
	size_t size, count;
	struct rchan_callbacks *callbacks;
	struct rchan *channel;
} channels[] = {
	{ "drop", 1000, 4, &drop_callbacks },
	{ "flight", 4096, 8, &flight_callbacks },
	{ "global", 2000, 4, &global_callbacks },
};

static noinline void session_open(void)
{
	struct story_session *session = kmem_cache_alloc(sessions, GFP_KERNEL);

	if (!session)
		return;
	memset(session, 0, sizeof(*session));
	session->id = ++session_count;
	session->opened_ns = ktime_get_ns();
	session->previous = last_session;
	session->state = 2;
	snprintf(session->user, sizeof(session->user), "guest-%llu", session->id % 97);
	last_session = session;
}

static int session_thread(void *unused)
{
	while (!kthread_should_stop()) {
		unsigned long i;

		for (i = 0; i < leak_step; i++)
			session_open();
		msleep(100);
	}
	return 0;
}

static int inventory_thread(void *unused)
{
	mutex_lock(&inventory_lock);
	wait_for_completion(&answer);
	mutex_unlock(&inventory_lock);
	return 0;
}

static noinline void order_place(void)
{
	mutex_lock(&inventory_lock);
	session_open();
	mutex_unlock(&inventory_lock);
}

static noinline u64 order_check(struct story_order *order)
{
	return order->amount + order->customer[0];
}

static void relay_records(const char *name, unsigned long count)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(channels); i++) {
		struct story_event event;

		if (strcmp(channels[i].name, name) || !channels[i].channel)
			continue;
		while (count--) {
			memset(&event, 0, sizeof(event));
			event.time_ns = ktime_get_ns();
			event.sequence = atomic_inc_return(&sequence);
			event.cpu = raw_smp_processor_id();
			event.kind = event.sequence % 7;
			event.value = (u64)event.sequence * event.sequence;
			get_task_comm(event.comm, current);
			relay_write(channels[i].channel, &event, sizeof(event));
		}
		return;
	}
}

static ssize_t story_write(struct file *file, const char __user *user, size_t size, loff_t *position)
{
	char text[64] = "", name[16] = "";
	unsigned long count;

	if (size >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, user, size))
		return -EFAULT;
	if (sscanf(text, "leak %lu", &count) == 1) {
		while (count--)
			session_open();
	} else if (sscanf(text, "leaking %lu", &count) == 1) {
		if (!leak_step)
			kthread_run(session_thread, NULL, "sessiond");
		leak_step = count;
	} else if (!strncmp(text, "hold", 4)) {
		kthread_run(inventory_thread, NULL, "inventoryd");
	} else if (!strncmp(text, "take", 4)) {
		order_place();
	} else if (!strncmp(text, "oops", 4)) {
		return size + order_check(NULL);
	} else if (sscanf(text, "relay %15s %lu", name, &count) == 2) {
		relay_records(name, count);
	} else {
		return -EINVAL;
	}
	return size;
}

static const struct proc_ops story_operations = { .proc_write = story_write };

static int __init story_init(void)
{
	size_t i;

	mutex_init(&inventory_lock);
	/* SLAB_HWCACHE_ALIGN or not, a cache with a usercopy region of its own is never merged with another. */
	sessions = kmem_cache_create_usercopy("story_session", sizeof(struct story_session), 0, 0, 0, 8, NULL);
	if (!sessions)
		return -ENOMEM;
	if (relay) {
		folder = debugfs_create_dir("story", NULL);
		for (i = 0; i < ARRAY_SIZE(channels); i++)
			channels[i].channel = relay_open(channels[i].name, folder, channels[i].size, channels[i].count,
							 channels[i].callbacks, NULL);
	}
	if (!proc_create("kernlab_story", 0200, NULL, &story_operations)) {
		kmem_cache_destroy(sessions);
		return -ENOMEM;
	}
	return 0;
}

module_init(story_init);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("What kernlab's lab tells its stories with");
