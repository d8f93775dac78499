/* What the lab's drivers say in the words of newer kernels, for those before; included before each of their files. */
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/mm.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 0, 0)
#define totalram_pages() totalram_pages /* ca79b0c211af made it a function. */
#endif
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 4, 0)
#define HRTIMER_MODE_REL_PINNED_HARD HRTIMER_MODE_REL_PINNED /* Without PREEMPT_RT all are. */
#endif
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 6, 0)
/* d56c0d45f0e2: struct proc_ops. */
#define proc_ops file_operations
#define proc_open open
#define proc_read read
#define proc_write write
#define proc_lseek llseek
#define proc_release release
#endif
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 9, 0)
/* 12cc923f1ccc: a tasklet's function gets the tasklet, not a number. */
#define tasklet_setup(tasklet, function) \
	tasklet_init(tasklet, (void (*)(unsigned long))(function), (unsigned long)(tasklet))
#endif
