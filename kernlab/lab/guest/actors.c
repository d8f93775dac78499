/* The people of the stories: small programs that hold memory, files and locks in ways worth finding in a dump.
 *
 *   actors app NAME THREADS MIB        threads that sleep, memory that is touched
 *   actors hog NAME MIB                MIB at once; after SIGUSR1 all there is, 1 MiB at a time
 *   actors order NAME                  writes "take" to /proc/kernlab_story, and waits there
 *   actors io NAME FILE DEPTH KIB PATTERN   DEPTH threads that go through FILE past the cache, KIB at a time: random
 *                                      (two read, one writes), read or write (one block after the other)
 *   actors swarm NAME COUNT AREAS      COUNT processes with AREAS memory areas each
 *   actors container NAME HOST MIB     in namespaces of its own: an init of that host's name and a child
 *   actors spin NAME MS                as much CPU time as it gets, for so long; 0 for ever
 *   actors forks NAME COUNT            COUNT children, or as many as it may have
 *   actors odd DIRECTORY               files, memory and processes of the rarer kinds
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1 << 20)

static void *sleeper(void *unused)
{
    (void)unused;
    for (;;)
        pause();
    return NULL;
}

static void thread(void *(*function)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_t id;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 10);
    if (pthread_create(&id, &attributes, function, argument))
        _exit(5);
}

static void named(const char *name) { prctl(PR_SET_NAME, name); }

static char *touched(size_t size)
{
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t at;

    if (memory == MAP_FAILED)
        _exit(6);
    for (at = 0; at < size; at += 4096)
        memory[at] = (char)(at >> 12) | 1;
    return memory;
}

static void app(int threads, int mib)
{
    while (--threads > 0)
        thread(sleeper, NULL);
    if (mib)
        touched((size_t)mib * MIB);
    sleeper(NULL);
}

static volatile sig_atomic_t hungry;
static void wake(int signal) { hungry = signal; }

static void hog(int mib)
{
    signal(SIGUSR1, wake);
    while (mib-- > 0)
        touched(MIB);
    while (!hungry)
        usleep(100000);
    for (;;) {
        touched(MIB);
        usleep(2000);
    }
}

static void order(void)
{
    int file = open("/proc/kernlab_story", O_WRONLY);
    if (write(file, "take", 4) < 0)
        _exit(7);
    sleeper(NULL);
}

static const char *io_file, *io_name, *io_pattern;
static int io_depth, io_kib;

static void *io_thread(void *number)
{
    int index = (int)(intptr_t)number, file = open(io_file, O_RDWR | O_DIRECT);
    int random = !strcmp(io_pattern, "random"), writes = random ? index % 3 == 0 : !strcmp(io_pattern, "write");
    off_t size = lseek(file, 0, SEEK_END), block = (off_t)io_kib << 10, blocks = size / block;
    /* Who goes on from block to block has a stretch of the disk for itself. */
    off_t next = blocks / io_depth * index + (writes ? blocks / 8 : blocks / 3);
    unsigned seed = 17 + index;
    void *memory;
    char name[16];

    if (file < 0 || posix_memalign(&memory, 4096, block))
        _exit(8);
    snprintf(name, sizeof name, "%.10s-%c%d", io_name, writes ? 'w' : 'r', index % 10);
    named(name);
    memset(memory, 0x5a, block);
    for (;;) {
        off_t at = (random ? rand_r(&seed) % blocks : next++ % blocks) * block;
        ssize_t done = writes ? pwrite(file, memory, block, at) : pread(file, memory, block, at);
        if (done < 0 || !random)
            usleep(1000);
    }
    return NULL;
}

static void io(const char *name, const char *file, int depth, int kib, const char *pattern)
{
    io_name = name;
    io_file = file;
    io_depth = depth;
    io_kib = kib;
    io_pattern = pattern;
    while (--depth >= 0)
        thread(io_thread, (void *)(intptr_t)depth);
    sleeper(NULL);
}

static void swarm(const char *name, int count, int areas)
{
    /* Every second page read-only: no two neighbours merge. One page of each is touched. */
    size_t size = (size_t)areas * 4096;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int i;

    for (i = 0; i < areas; i += 2) {
        memory[(size_t)i * 4096] = 1;
        if (mprotect(memory + (size_t)i * 4096, 4096, PROT_READ))
            _exit(9);
    }
    for (i = 0; i < count; i++) {
        pid_t child = fork();
        if (child < 0)
            _exit(10);
        if (!child) {
            char text[16];
            snprintf(text, sizeof text, "%.8s%d", name, i);
            named(text);
            memory[(size_t)(1 % areas) * 4096] = 2; /* a page of its own, and page tables */
            sleeper(NULL);
        }
    }
    sleeper(NULL);
}

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

static void odd_files(void)
{
    static const char *names[] = {
        "<b>bold</b> & <script>alert(1)</script>", "quote\"s and 'more'", "line\nbreak", "tab\tstop", "bell\a",
        "\xff\xfe not UTF-8 \xc3", "$math^2_x$ {brace} %s %n", "\xe2\x80\xae right to left", "\033[31mred\033[0m",
        "trailing space ", "-rf", "(deleted)", "back\\slash\\012"};
    size_t k;
    int file;

    for (k = 0; k < sizeof names / sizeof *names; k++) {
        file = open(names[k], O_RDWR | O_CREAT, 0644);
        if (file >= 0 && !ftruncate(file, 8192))
            mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    file = open("deleted file", O_RDWR | O_CREAT, 0600);
    if (!ftruncate(file, 4096))
        mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
    unlink("deleted file");
    file = open("old name", O_RDWR | O_CREAT, 0600);
    if (!ftruncate(file, 4096))
        mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0);
    rename("old name", "new name");
    mkdir("gone folder", 0755);
    file = open("gone folder/file", O_RDWR | O_CREAT, 0600);
    unlink("gone folder/file");
    rmdir("gone folder");
}

static void odd_memory(void)
{
    char *memory;
    int file = memfd_create("a memfd <named> \"so\"", 0), id;

    if (file >= 0 && !ftruncate(file, 65536)) {
        memory = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        memset(memory, 1, 16384);
    }
    id = shmget(0x5eed, 131072, IPC_CREAT | 0644);
    if (id >= 0 && (memory = shmat(id, NULL, 0)) != (void *)-1)
        memset(memory, 2, 32768);
    id = shmget(IPC_PRIVATE, 8192, IPC_CREAT | 0600);
    if (id >= 0) {
        shmat(id, NULL, SHM_RDONLY);
        shmctl(id, IPC_RMID, NULL);
    }
    id = semget(0x5eed, 3, IPC_CREAT | 0600);
    id = msgget(0x5eed, IPC_CREAT | 0600);
    if (id >= 0) {
        struct { long type; char text[32]; } message = {1, "a message nobody took"};
        msgsnd(id, &message, sizeof message.text, IPC_NOWAIT);
    }
    memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(memory, 3, 65536);
    memory = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(memory, 4, 65536);
    prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, memory, 65536, "named arena");
    memory = mmap(NULL, 65536, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* zero page */
    for (id = 0; id < 65536; id += 4096)
        (void)*(volatile char *)(memory + id);
    memory = mmap(NULL, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    memory = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!mlock(memory, 65536))
        madvise(memory, 65536, MADV_DONTFORK);
    mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(memory, 4 << 20, MADV_HUGEPAGE);
    memset(memory, 5, 4 << 20);
    file = open("/dev/zero", O_RDWR);
    mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
}

static void odd_descriptors(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int pair[2], listener;

    if (!pipe(pair) && write(pair[1], "unread", 6) > 0)
        socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    memcpy(address.sun_path, "\0abstract", 9);
    bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t) + 9);
    listen(listener, 5);
    eventfd(7, 0);
    timerfd_create(CLOCK_MONOTONIC, 0);
    syscall(SYS_epoll_create1, 0);
    syscall(SYS_inotify_init1, 0);
    open("/dev/null", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    fcntl(open("/proc/self/status", O_RDONLY), F_DUPFD, 700);
}

static void odd(const char *directory)
{
    static const char *names[] = {"<i>task</i>", "new\nline", "a \"quote\"", "\xff\xfe\xc3", "$x^2_y$", "(paren) x", "", "%s%n",
                                  "\033[31mred", "kworker/0:0-fake"};
    size_t k;
    pid_t child;

    if (chdir(directory))
        _exit(11);
    for (k = 0; k < sizeof names / sizeof *names; k++)
        if (!fork()) {
            named(names[k]);
            sleeper(NULL);
        }
    if (!fork()) { /* somebody who is not root */
        named("uid1000");
        if (setgid(1000) || setuid(1000))
            _exit(12);
        touched(MIB);
        sleeper(NULL);
    }
    if (!fork()) { /* a user namespace: root inside, 1000 outside; with a pid namespace and its init */
        int file;
        if (setgid(1000) || setuid(1000))
            _exit(13);
        prctl(PR_SET_DUMPABLE, 1);
        if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWIPC))
            _exit(14);
        file = open("/proc/self/uid_map", O_WRONLY);
        if (write(file, "0 1000 1", 8) < 0)
            perror("uid_map");
        named("userns-parent");
        child = fork();
        if (!child) {
            named("userns-init");
            sethostname("inside", 6);
            sleeper(NULL);
        }
        sleeper(NULL);
    }
    if (!fork()) { /* a zombie and its careless parent; a stopped child; a real-time and a nice one */
        named("careless");
        if (!fork())
            _exit(3);
        child = fork();
        if (!child) {
            named("stopped");
            raise(SIGSTOP);
        }
        if (!fork()) {
            struct sched_param priority = {.sched_priority = 42};
            named("realtime");
            sched_setscheduler(0, SCHED_FIFO, &priority);
            sleeper(NULL);
        }
        if (!fork()) {
            named("nicest");
            if (nice(19) < 0)
                perror("nice");
            sleeper(NULL);
        }
        sleeper(NULL);
    }
    if (!fork()) { /* a group whose leader ended before its threads */
        named("leaderless");
        thread(sleeper, NULL);
        thread(sleeper, NULL);
        syscall(SYS_exit, 0);
    }
    named("odd");
    odd_files();
    odd_memory();
    odd_descriptors();
    sleeper(NULL);
}

static void container(const char *host, int mib)
{
    int file;

    /* Apart: before Linux 5.6 there is no time namespace. */
    if (!unshare(0x80 /* CLONE_NEWTIME */)) {
        file = open("/proc/self/timens_offsets", O_WRONLY);
        if (file < 0 || write(file, "monotonic 1000 0\nboottime 2000 0\n", 34) < 0)
            perror("timens_offsets");
    }
    if (unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWCGROUP))
        _exit(14);
    if (sethostname(host, strlen(host)))
        _exit(15);
    if (!fork()) {
        if (!fork())
            app(2, mib);
        app(1, 1);
    }
    sleeper(NULL);
}

static void spin(int ms)
{
    struct timespec start, now;

    clock_gettime(CLOCK_MONOTONIC, &start);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while (!ms || (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < ms);
}

static void forks(int count)
{
    while (count-- > 0) {
        pid_t child = fork();
        if (!child || child < 0) /* The last one that it may have, or the parent that may have no more. */
            break;
    }
    sleeper(NULL);
}

int main(int count, char **words)
{
    const char *what = count > 2 ? words[1] : "";

    if (!*what)
        return 2;
    named(words[2]);
    if (!strcmp(what, "app") && count == 5)
        app(atoi(words[3]), atoi(words[4]));
    else if (!strcmp(what, "hog") && count == 4)
        hog(atoi(words[3]));
    else if (!strcmp(what, "order"))
        order();
    else if (!strcmp(what, "io") && count == 7)
        io(words[2], words[3], atoi(words[4]), atoi(words[5]), words[6]);
    else if (!strcmp(what, "swarm") && count == 5)
        swarm(words[2], atoi(words[3]), atoi(words[4]));
    else if (!strcmp(what, "container") && count == 5)
        container(words[3], atoi(words[4]));
    else if (!strcmp(what, "spin") && count == 4)
        spin(atoi(words[3]));
    else if (!strcmp(what, "forks") && count == 4)
        forks(atoi(words[3]));
    else if (!strcmp(what, "odd"))
        odd(words[2]);
    return 2;
}
