/* holders FOLDER: locks of every kind on files in it, with others that wait for them; epolls, counters, namespaces and
 * more that descriptors can be. Sleeps until the machine dies.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void forever(void)
{
    for (;;)
        pause();
}

static int made(const char *name)
{
    int file = open(name, O_RDWR | O_CREAT, 0644);

    if (file < 0 || ftruncate(file, 4096))
        _exit(2);
    return file;
}

static int lock(int file, int command, short kind, off_t start, off_t length)
{
    struct flock wanted = {.l_type = kind, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

    return fcntl(file, command, &wanted);
}

/* A process that waits for a part of the file. */
static void waits(const char *name, const char *path, int command, short kind, off_t start, off_t length)
{
    if (fork()) {
        usleep(200000);
        return;
    }
    prctl(PR_SET_NAME, name);
    lock(made(path), command, kind, start, length);
    forever();
}

static void locks(void)
{
    int file = made("posix"), other = made("ofd");

    lock(file, F_SETLK, F_WRLCK, 10, 10);
    lock(file, F_SETLK, F_RDLCK, 100, 0);
    waits("posix-1", "posix", F_SETLKW, F_WRLCK, 15, 10);
    waits("posix-2", "posix", F_SETLKW, F_RDLCK, 5, 30);
    lock(other, F_OFD_SETLK, F_WRLCK, 0, 0);
    waits("ofd-1", "ofd", F_OFD_SETLKW, F_RDLCK, 0, 8);
    if (flock(made("whole"), LOCK_EX))
        _exit(3);
    if (!fork()) {
        prctl(PR_SET_NAME, "whole-1");
        flock(made("whole"), LOCK_SH);
        forever();
    }
    file = open("leased", O_RDONLY | O_CREAT, 0644);
    fcntl(file, F_SETLEASE, F_RDLCK);
}

static void descriptors(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    struct itimerspec often = {{1000, 0}, {500, 0}};
    int poll = epoll_create1(EPOLL_CLOEXEC), pair[2], file;
    sigset_t mask;

    file = eventfd(0x123456, EFD_NONBLOCK);
    epoll_ctl(poll, EPOLL_CTL_ADD, file, &event);
    if (!pipe(pair) && write(pair[1], "twelve bytes", 12) == 12)
        epoll_ctl(poll, EPOLL_CTL_ADD, pair[0], &event);
    file = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK);
    timerfd_settime(file, 0, &often, NULL);
    epoll_ctl(poll, EPOLL_CTL_ADD, file, &event);
    epoll_create1(0);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGTERM);
    signalfd(-1, &mask, SFD_CLOEXEC);
    file = inotify_init1(0);
    inotify_add_watch(file, ".", IN_CREATE);
    inotify_add_watch(file, "posix", IN_MODIFY);
    syscall(SYS_pidfd_open, getpid(), 0);
    syscall(SYS_pidfd_open, 1, 0);
    open("/proc/self/ns/mnt", O_RDONLY);
    open("/proc/self/ns/net", O_RDONLY);
    open(".", O_PATH | O_DIRECTORY);
    open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    open("posix", O_WRONLY | O_APPEND | O_SYNC);
    if (!mkfifo("a fifo", 0644))
        open("a fifo", O_RDWR);
    if (!symlink("posix", "a link"))
        open("a link", O_PATH | O_NOFOLLOW);
    file = memfd_create("counted", 0);
    if (write(file, "0123456789", 10) == 10)
        lseek(file, 3, SEEK_SET);
    open("/dev/vdb", O_RDONLY);
}

/* A thread that shares its memory, and not its files. */
static int apart(void *unused)
{
    (void)unused;
    prctl(PR_SET_NAME, "own-files");
    open("/proc/version", O_RDONLY);
    forever();
    return 0;
}

int main(int count, char **words)
{
    static char stack[1 << 16] __attribute__((aligned(16)));

    if (count < 2 || chdir(words[1]))
        return 1;
    locks();
    descriptors();
    clone(apart, stack + sizeof stack, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_FS, NULL);
    forever();
    return 0;
}
