/* Programs that live on one machine, each with its own way with memory; the pace is theirs, whatever the machine does.
 *
 *   tenants leak NAME KIB MS           waits for SIGUSR1; from then on KIB of anonymous memory every MS milliseconds, kept
 *   tenants hold NAME MIB              MIB of anonymous memory, touched once; with every SIGUSR1 all of it again
 *   tenants read NAME FILE KIB MS      maps FILE and reads it from end to end, KIB every MS, again and again
 *   tenants share NAME MIB KIB MS      a shared segment of MIB, KIB of it filled every MS, then from the front again
 *   tenants write NAME FILE KIB MS     writes KIB to FILE every MS and waits for the disk
 *   tenants fork NAME MIB MS           every MS a child NAME-n that takes MIB and ends
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define KIB ((size_t)1 << 10)
#define PAGE 4096

static volatile sig_atomic_t told;
static void tell(int signal) { told = signal; }

static void rest(int milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};

    nanosleep(&time, NULL);
}

static char *memory(size_t size, int flags)
{
    char *start = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

    if (start == MAP_FAILED)
        _exit(6);
    return start;
}

static void fill(char *start, size_t size)
{
    static unsigned value;

    for (; size; size -= PAGE, start += PAGE)
        *(unsigned *)start = ++value;
}

static void leak(size_t size, int pause)
{
    while (!told)
        rest(50);
    for (;;) {
        fill(memory(size, MAP_PRIVATE), size);
        rest(pause);
    }
}

static void hold(size_t size)
{
    char *start = memory(size, MAP_PRIVATE);

    for (;;) {
        told = 0;
        fill(start, size);
        while (!told)
            rest(50);
    }
}

static void read_file(const char *path, size_t step, int pause)
{
    int file = open(path, O_RDONLY);
    off_t size = lseek(file, 0, SEEK_END), at;
    volatile char *start = mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0);

    if (file < 0 || start == MAP_FAILED)
        _exit(7);
    for (at = 0;; at = (at + PAGE) % size) {
        (void)start[at];
        if (at % step == 0)
            rest(pause);
    }
}

static void share(size_t size, size_t step, int pause)
{
    char *start = memory(size, MAP_SHARED);
    size_t at;

    for (at = 0;; at = (at + step) % size) {
        fill(start + at, step);
        rest(pause);
    }
}

static void write_file(const char *path, size_t step, int pause)
{
    int file = open(path, O_RDWR | O_CREAT, 0644);
    char *block = memory(step, MAP_PRIVATE);
    off_t at;

    if (file < 0)
        _exit(8);
    for (at = 0;; at = (at + step) % (16 * MIB)) {
        fill(block, step);
        if (pwrite(file, block, step, at) < 0 || fdatasync(file))
            _exit(9);
        rest(pause);
    }
}

static void fork_children(const char *name, size_t size, int pause)
{
    char text[16];
    int number;

    signal(SIGCHLD, SIG_IGN);
    for (number = 1;; number++) {
        pid_t child = fork();

        if (!child) {
            snprintf(text, sizeof text, "%.10s-%d", name, number % 1000);
            prctl(PR_SET_NAME, text);
            fill(memory(size, MAP_PRIVATE), size);
            rest(pause * 3 / 2);
            _exit(0);
        }
        rest(pause);
    }
}

int main(int count, char **words)
{
    long numbers[4] = {0};
    const char *what = count > 3 ? words[1] : "";
    int i;

    if (!*what)
        return 2;
    prctl(PR_SET_NAME, words[2]);
    signal(SIGUSR1, tell);
    for (i = 3; i < count && i < 7; i++)
        numbers[i - 3] = atol(words[i]);
    if (!strcmp(what, "leak") && count == 5)
        leak(numbers[0] * KIB, numbers[1]);
    else if (!strcmp(what, "hold") && count == 4)
        hold(numbers[0] * MIB);
    else if (!strcmp(what, "read") && count == 6)
        read_file(words[3], numbers[1] * KIB, numbers[2]);
    else if (!strcmp(what, "share") && count == 6)
        share(numbers[0] * MIB, numbers[1] * KIB, numbers[2]);
    else if (!strcmp(what, "write") && count == 6)
        write_file(words[3], numbers[1] * KIB, numbers[2]);
    else if (!strcmp(what, "fork") && count == 5)
        fork_children(words[2], numbers[0] * MIB, numbers[1]);
    return 2;
}
