/* Loops that feel what a tracer costs: each prints the nanoseconds of one turn.
 *
 *   loops fork TURNS          a process with 8 MiB forks, its child ends, it waits
 *   loops fault TURNS         256 pages of new anonymous memory are touched, and unmapped
 *   loops pipe TURNS          a byte to another process and back: two switches of tasks
 *   loops copy TURNS FILE     256 KiB of zeros into a file and back out of it, 4 KiB at a time, as dd does; it is emptied
 *   loops direct TURNS FILE   4 KiB read past the cache
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGES 256
#define BLOCKS 64
static char *block;

static char *touched(size_t pages)
{
    char *memory = mmap(NULL, pages << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t at;

    if (memory == MAP_FAILED)
        _exit(3);
    madvise(memory, pages << 12, MADV_NOHUGEPAGE);
    for (at = 0; at < pages; at++)
        memory[at << 12] = 1;
    return memory;
}

static void turn_fork(void)
{
    pid_t child = fork();

    if (child < 0)
        _exit(4);
    if (!child)
        _exit(0);
    waitpid(child, NULL, 0);
}

static int forth[2], back[2];

static void turn_pipe(void)
{
    char byte = 0;

    if (write(forth[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
        _exit(5);
}

static void other_end(void)
{
    char byte;

    if (pipe(forth) || pipe(back))
        _exit(6);
    if (fork())
        return;
    close(forth[1]);
    while (read(forth[0], &byte, 1) == 1)
        if (write(back[1], &byte, 1) != 1)
            break;
    _exit(0);
}

static int zero, file;

static void turn_copy(void)
{
    int k;

    lseek(file, 0, SEEK_SET);
    for (k = 0; k < BLOCKS; k++)
        if (read(zero, block, 4096) != 4096 || write(file, block, 4096) != 4096)
            _exit(7);
    lseek(file, 0, SEEK_SET);
    for (k = 0; k < BLOCKS; k++)
        if (read(file, block, 4096) != 4096)
            _exit(8);
    if (ftruncate(file, 0))
        _exit(9);
}

static off_t next;

static void turn_direct(void)
{
    if (pread(file, block, 4096, next++ % 4096 * 4096) != 4096)
        _exit(10);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(int count, char **words)
{
    const char *what = count > 2 ? words[1] : "";
    int turns = count > 2 ? atoi(words[2]) : 0, k;
    double begun;

    if (posix_memalign((void **)&block, 4096, 4096))
        return 2;
    if (!strcmp(what, "fork"))
        touched(2048);
    if (!strcmp(what, "pipe"))
        other_end();
    if (count > 3) {
        zero = open("/dev/zero", O_RDONLY);
        file = open(words[3], strcmp(what, "direct") ? O_RDWR | O_CREAT : O_RDONLY | O_DIRECT, 0600);
        if (file < 0)
            return 2;
    }
    for (k = -turns / 10; k < turns; k++) { /* the first tenth warms up */
        if (!k)
            begun = now();
        if (!strcmp(what, "fork"))
            turn_fork();
        else if (!strcmp(what, "fault"))
            munmap(touched(PAGES), PAGES << 12);
        else if (!strcmp(what, "pipe"))
            turn_pipe();
        else if (!strcmp(what, "copy"))
            turn_copy();
        else if (!strcmp(what, "direct"))
            turn_direct();
        else
            return 2;
    }
    printf("%.1f\n", (now() - begun) / turns);
    return 0;
}
