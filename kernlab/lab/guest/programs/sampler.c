/* sampler NOTES STORY: what memory holds and whose it is, five times a second, until the kernel is gone.
 *
 * NOTES is a block device for this alone: it is written past the page cache, to the end of what is known, with lines
 *   {"mono": s, "boot": s, "mono_after": s, "boot_after": s, "meminfo": {kB}, "vmstat": {…}, "rss": {"PID": [comm, anon, file, shmem, swap]}}
 *   {"story": "the line"}     each line that STORY (the file of the story) has more than before
 * All it needs it holds, locked, from the start; files of /proc stay open, so that a reading allocates next to nothing.
 * With the first OOM kill it sets panic_on_oom: the next one is the kernel's own.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MOST_PROCESSES 512
#define STEP_NS 200000000L
#define BLOCK 4096

struct process {
    int pid, file;
};

static struct process processes[MOST_PROCESSES];
static int process_count;
/* What is not yet in whole blocks of the disk, and the disk's offset of its beginning. */
static char *text;
static size_t used;
static off_t place;
static const size_t room = 1 << 20;
static int notes;

static void say(const char *format, ...)
{
    va_list words;
    int size;

    va_start(words, format);
    size = vsnprintf(text + used, room - used, format, words);
    va_end(words);
    if (size > 0 && used + size < room)
        used += size;
}

/* A string of JSON. */
static void quoted(const char *string)
{
    say("\"");
    for (; *string; string++)
        say(*string < ' ' || *string > '~' || strchr("\"\\", *string) ? "\\u%04x" : "%c", (unsigned char)*string);
    say("\"");
}

static void flush(void)
{
    size_t whole = (used + BLOCK - 1) / BLOCK * BLOCK, done = used / BLOCK * BLOCK;

    memset(text + used, 0, whole - used);
    if (pwrite(notes, text, whole, place) != (ssize_t)whole)
        return;
    memmove(text, text + done, used - done);
    used -= done;
    place += done;
}

static double seconds(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static char *contents(int file)
{
    static char data[65536];
    ssize_t got, size = 0;

    while (size < (ssize_t)sizeof data - 1 && (got = pread(file, data + size, sizeof data - 1 - size, size)) > 0)
        size += got;
    data[size] = 0;
    return size ? data : NULL;
}

/* "NAME: 12 kB" or "NAME 12" lines as an object. */
static long object(const char *name, int file, const char *wanted)
{
    char *line = contents(file), *next;
    const char *comma = "";
    long found = 0;

    say("\"%s\": {", name);
    for (; line && *line; line = next) {
        size_t length = strcspn(line, ": ");
        long value = atol(line + length + strspn(line + length, ": "));

        next = line + strcspn(line, "\n");
        next += *next == '\n';
        say("%s\"%.*s\": %ld", comma, (int)length, line, value);
        if (wanted && length == strlen(wanted) && !memcmp(line, wanted, length))
            found = value;
        comma = ", ";
    }
    say("}");
    return found;
}

/* Open the status of each process that is not open yet. */
static void look(DIR *proc)
{
    struct dirent *entry;
    char path[64];
    int i, pid;

    rewinddir(proc);
    while ((entry = readdir(proc)))
        if (isdigit((unsigned char)*entry->d_name) && process_count < MOST_PROCESSES) {
            pid = atoi(entry->d_name);
            for (i = 0; i < process_count && processes[i].pid != pid; i++)
                ;
            if (i < process_count)
                continue;
            snprintf(path, sizeof path, "/proc/%d/status", pid);
            processes[i].pid = pid;
            if ((processes[i].file = open(path, O_RDONLY)) >= 0)
                process_count++;
        }
}

static long field(const char *status, const char *name)
{
    const char *at = strstr(status, name);

    return at ? atol(at + strlen(name)) : -1;
}

static void residents(void)
{
    const char *comma = "", *status;
    char comm[80];
    int i;

    say("\"rss\": {");
    for (i = 0; i < process_count; i++) {
        if (!(status = contents(processes[i].file))) {
            close(processes[i].file);
            processes[i--] = processes[--process_count];
            continue;
        }
        if (field(status, "\nRssAnon:") < 0) /* a thread of the kernel */
            continue;
        snprintf(comm, sizeof comm, "%.*s", (int)strcspn(status + 6, "\n"), status + 6);
        say("%s\"%d\": [", comma, processes[i].pid);
        quoted(comm);
        say(", %ld, %ld, %ld, %ld]", field(status, "\nRssAnon:"), field(status, "\nRssFile:"), field(status, "\nRssShmem:"),
            field(status, "\nVmSwap:"));
        comma = ", ";
    }
    say("}");
}

static void retell(int story)
{
    static char lines[8192];
    static off_t told;
    ssize_t got = pread(story, lines, sizeof lines - 1, told);
    char *line, *end;

    if (got <= 0)
        return;
    lines[got] = 0;
    for (line = lines; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        told += end + 1 - line;
        say("{\"story\": ");
        quoted(line);
        say("}\n");
    }
}

static void written(const char *path, const char *word)
{
    int file = open(path, O_WRONLY);

    if (file < 0 || write(file, word, strlen(word)) < 0)
        perror(path);
    close(file);
}

int main(int count, char **words)
{
    struct sched_param priority = {.sched_priority = 10};
    struct timespec next;
    int meminfo = open("/proc/meminfo", O_RDONLY), vmstat = open("/proc/vmstat", O_RDONLY), story;
    int panic = open("/proc/sys/vm/panic_on_oom", O_WRONLY);
    DIR *proc = opendir("/proc");
    long kills = -1, now;

    if (count != 3 || posix_memalign((void **)&text, BLOCK, room))
        return 2;
    notes = open(words[1], O_WRONLY | O_DIRECT);
    story = open(words[2], O_RDONLY);
    if (notes < 0 || story < 0 || meminfo < 0 || vmstat < 0 || panic < 0 || !proc)
        return 3;
    memset(text, 0, room);
    written("/proc/self/oom_score_adj", "-1000");
    if (mlockall(MCL_CURRENT | MCL_FUTURE) || sched_setscheduler(0, SCHED_FIFO, &priority))
        perror("sampler");
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (;;) {
        look(proc);
        say("{\"mono\": %.6f, \"boot\": %.6f, ", seconds(CLOCK_MONOTONIC), seconds(CLOCK_BOOTTIME));
        object("meminfo", meminfo, NULL);
        say(", ");
        now = object("vmstat", vmstat, "oom_kill");
        say(", ");
        residents();
        say(", \"mono_after\": %.6f, \"boot_after\": %.6f}\n", seconds(CLOCK_MONOTONIC), seconds(CLOCK_BOOTTIME));
        if (kills >= 0 && now > kills) {
            if (write(panic, "1", 1) == 1)
                say("{\"story\": \"%.2f the OOM killer struck; with its next victim the kernel panics\"}\n",
                    seconds(CLOCK_BOOTTIME));
        }
        kills = now;
        retell(story);
        flush();
        next.tv_nsec += STEP_NS;
        if (next.tv_nsec >= 1000000000) {
            next.tv_nsec -= 1000000000;
            next.tv_sec++;
        }
        /* Late by more than a step: from now on. */
        if (seconds(CLOCK_MONOTONIC) > next.tv_sec + next.tv_nsec / 1e9 + STEP_NS / 1e9)
            clock_gettime(CLOCK_MONOTONIC, &next);
        else
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
}
