/* truthtar FILE [nosmaps] [pages]: what this guest says of itself, as one tar file of /proc and /sys.
 *
 * The names are those of /proc, with net_, pressure_ or sysvipc_ before what lies in a folder of it, cgroup/ for
 * /sys/fs/cgroup and cgroup_v1/ for hierarchies of version 1 (a story mounts them below /tmp/v1). Written in C, because a shell forks thousands of processes to do the same, and so changes what it tells.
 * Processes come first and the counters of memory last: nearest to the crash is what moves most.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static FILE *out;
static char *buffer;
static size_t used, room;

static void add(const char *data, size_t size)
{
    while (used + size + 1 > room) {
        room = room ? room * 2 : 1 << 20;
        buffer = realloc(buffer, room);
        if (!buffer)
            _exit(3);
    }
    memcpy(buffer + used, data, size);
    used += size;
}

/* One header and what was added; `kind` is '0' for a file, 'L' for the name of the file that follows. */
static void block(const char *name, const char *prefix, char kind)
{
    char header[512] = {0};
    unsigned sum = 0;
    size_t i;

    memcpy(header, name, strnlen(name, 99));
    memcpy(header + 345, prefix, strnlen(prefix, 155));
    snprintf(header + 100, 8, "%07o", 0644);
    snprintf(header + 108, 8, "%07o", 0);
    snprintf(header + 116, 8, "%07o", 0);
    snprintf(header + 124, 12, "%011zo", used);
    snprintf(header + 136, 12, "%011lo", (unsigned long)time(NULL));
    memset(header + 148, ' ', 8);
    header[156] = kind;
    memcpy(header + 257, "ustar\0" "00", 8);
    for (i = 0; i < 512; i++)
        sum += (unsigned char)header[i];
    snprintf(header + 148, 8, "%06o", sum);
    if (fwrite(header, 512, 1, out) != 1 || (used && fwrite(buffer, used, 1, out) != 1))
        _exit(4);
    memset(header, 0, 512);
    if (used % 512 && fwrite(header, 512 - used % 512, 1, out) != 1)
        _exit(4);
    used = 0;
}

static void member(const char *name)
{
    char path[PATH_MAX], *held;
    size_t i, cut = 0, size = used;

    /* A path of more than 99 bytes (a deep cgroup's) is cut in two at a slash, as ustar has it. */
    snprintf(path, sizeof path, "out/%s", name);
    for (i = 0; strlen(path + cut) > 99 && path[i]; i++)
        if (path[i] == '/')
            cut = i + 1;
    if (cut > 156 || strlen(path + cut) > 99) { /* One that does not fit so goes ahead of its file, as GNU has it. */
        held = malloc(size + 1);
        if (!held)
            _exit(3);
        memcpy(held, buffer, size);
        used = 0;
        add(path, strlen(path) + 1);
        block("././@LongLink", "", 'L');
        add(held, size);
        free(held);
        path[99] = 0;
        cut = 0;
    }
    if (cut)
        path[cut - 1] = 0;
    block(path + cut, cut ? path : "", '0');
}

static int is_number(const struct dirent *entry) { return isdigit((unsigned char)entry->d_name[0]); }
static int is_shown(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static int append(const char *path)
{
    char block[65536];
    ssize_t got;
    int file = open(path, O_RDONLY | O_NONBLOCK);

    if (file < 0)
        return 0;
    while ((got = read(file, block, sizeof block)) > 0)
        add(block, got);
    close(file);
    return 1;
}

static void one(const char *path, const char *name)
{
    used = 0;
    if (append(path))
        member(name);
    used = 0;
}

/* Every file of a folder that root may read, as PREFIX and the name; of the folders in it too, where `deep`. */
static void folder(const char *place, const char *prefix, int deep)
{
    struct dirent **entries;
    char path[PATH_MAX], name[PATH_MAX], below[PATH_MAX + 1];
    int count = scandir(place, &entries, is_shown, versionsort), i;

    for (i = 0; i < count; i++) {
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", place, entries[i]->d_name);
        snprintf(name, sizeof name, "%s%s", prefix, entries[i]->d_name);
        if (!lstat(path, &info) && S_ISDIR(info.st_mode) && deep) {
            snprintf(below, sizeof below, "%s/", name);
            folder(path, below, deep - 1);
        } else if (S_ISREG(info.st_mode) && info.st_mode & 0400)
            one(path, name);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

static void line(const char *path)
{
    size_t start = used;
    append(path);
    while (used > start && isspace((unsigned char)buffer[used - 1]))
        used--;
}

static void links(const char *folder, const char *name)
{
    struct dirent **entries;
    char path[PATH_MAX], target[PATH_MAX], text[2 * PATH_MAX];
    int count = scandir(folder, &entries, is_shown, versionsort), i;
    ssize_t size;

    if (count < 0)
        return;
    used = 0;
    add("total 0\n", 8);
    for (i = 0; i < count; i++) {
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        size = readlink(path, target, sizeof target - 1);
        if (size >= 0 && !lstat(path, &info)) {
            target[size] = 0;
            add(text, snprintf(text, sizeof text, "l%c%c%c------    1 %-8u %-8u       64 now %s -> %s\n",
                               info.st_mode & 0400 ? 'r' : '-', info.st_mode & 0200 ? 'w' : '-',
                               info.st_mode & 0100 ? 'x' : '-', info.st_uid, info.st_gid, entries[i]->d_name, target));
        }
        free(entries[i]);
    }
    free(entries);
    member(name);
}

/* What each descriptor is, behind a line "== FD". */
static void descriptors(const char *pid)
{
    struct dirent **entries;
    char path[PATH_MAX], text[64];
    int count, i;

    snprintf(path, sizeof path, "/proc/%s/fdinfo", pid);
    count = scandir(path, &entries, is_number, versionsort);
    used = 0;
    for (i = 0; i < count; i++) {
        add(text, snprintf(text, sizeof text, "== %.20s\n", entries[i]->d_name));
        snprintf(path, sizeof path, "/proc/%s/fdinfo/%s", pid, entries[i]->d_name);
        append(path);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    snprintf(path, sizeof path, "p/%s/fdinfo", pid);
    if (used)
        member(path);
    used = 0;
}

/* What it runs, where it is, and what it takes for /. */
static void places(const char *pid)
{
    static const char *names[] = {"exe", "cwd", "root"};
    char path[PATH_MAX], target[PATH_MAX], text[2 * PATH_MAX];
    ssize_t size;
    size_t k;

    used = 0;
    for (k = 0; k < sizeof names / sizeof *names; k++) {
        snprintf(path, sizeof path, "/proc/%s/%s", pid, names[k]);
        if ((size = readlink(path, target, sizeof target - 1)) >= 0) {
            target[size] = 0;
            add(text, snprintf(text, sizeof text, "%s -> %s\n", names[k], target));
        }
    }
    snprintf(path, sizeof path, "p/%s/links", pid);
    if (used)
        member(path);
    used = 0;
}

static void process(const char *pid, int smaps)
{
    static const char *files[] = {"status", "stat", "statm", "comm", "cmdline", "environ", "maps", "cgroup",
                                  "oom_score_adj", "wchan", "stack", "mountinfo", "uid_map", "loginuid", "limits",
                                  "sched", "io", "schedstat", "attr/current"};
    char path[PATH_MAX], name[PATH_MAX];
    struct dirent **threads;
    int count, i;

    for (i = 0; i < (int)(sizeof files / sizeof *files); i++) {
        snprintf(path, sizeof path, "/proc/%s/%s", pid, files[i]);
        snprintf(name, sizeof name, "p/%s/%s", pid, files[i]);
        one(path, name);
    }
    if (smaps) {
        snprintf(path, sizeof path, "/proc/%s/smaps", pid);
        snprintf(name, sizeof name, "p/%s/smaps", pid);
        one(path, name);
    }
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    snprintf(name, sizeof name, "p/%s/fd", pid);
    links(path, name);
    descriptors(pid);
    places(pid);
    snprintf(path, sizeof path, "/proc/%s/ns", pid);
    snprintf(name, sizeof name, "p/%s/ns", pid);
    links(path, name);
    snprintf(path, sizeof path, "/proc/%s/task", pid);
    count = scandir(path, &threads, is_number, versionsort);
    if (count < 0)
        return;
    used = 0;
    for (i = 0; i < count; i++) {
        add(threads[i]->d_name, strlen(threads[i]->d_name));
        add("\n", 1);
    }
    snprintf(name, sizeof name, "p/%s/task", pid);
    member(name);
    for (i = 0; i < count; i++) {
        static const char *of_thread[] = {"stat", "status", "comm", "stack", "wchan", "schedstat"};
        size_t k;
        /* A single thread's are the process's. */
        for (k = 0; count > 1 && k < sizeof of_thread / sizeof *of_thread; k++) {
            snprintf(path, sizeof path, "/proc/%s/task/%s/%s", pid, threads[i]->d_name, of_thread[k]);
            snprintf(name, sizeof name, "t/%s/%s", threads[i]->d_name, of_thread[k]);
            one(path, name);
        }
        free(threads[i]);
    }
    free(threads);
}

static void slabs(void)
{
    static const struct { const char *file, *key; } values[] = {
        {"objects", "objects"}, {"total_objects", "total"}, {"slabs", "slabs"}, {"partial", "partial"},
        {"object_size", "osize"}, {"slab_size", "ssize"}, {"order", "order"}, {"aliases", "aliases"}};
    struct dirent **entries;
    char path[PATH_MAX];
    int count = scandir("/sys/kernel/slab", &entries, is_shown, alphasort), i;
    size_t k;

    used = 0;
    for (i = 0; i < count; i++) {
        struct stat info;
        snprintf(path, sizeof path, "/sys/kernel/slab/%s", entries[i]->d_name);
        if (!lstat(path, &info) && S_ISDIR(info.st_mode)) {  /* an alias is a link */
            add(entries[i]->d_name, strlen(entries[i]->d_name));
            for (k = 0; k < sizeof values / sizeof *values; k++) {
                add(" ", 1);
                add(values[k].key, strlen(values[k].key));
                add("=", 1);
                snprintf(path, sizeof path, "/sys/kernel/slab/%s/%s", entries[i]->d_name, values[k].file);
                line(path);
            }
            add("\n", 1);
        }
        free(entries[i]);
    }
    member("sysfs_slab");
}

/* One file with "NAME: contents" lines of the same file below each folder. */
static void gather(const char *folder, const char *file, const char *name)
{
    struct dirent **entries;
    char path[PATH_MAX];
    int count = scandir(folder, &entries, is_shown, versionsort), i;

    used = 0;
    for (i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%s/%s", folder, entries[i]->d_name, file);
        if (!access(path, R_OK)) {
            add(entries[i]->d_name, strlen(entries[i]->d_name));
            add(": ", 2);
            line(path);
            add("\n", 1);
        }
    }
    if (used)
        member(name);
    used = 0;
}

/* The callers of slab caches as kernels before 5.14 list them, below slab_calls/. */
/* What each disk's queues hold, as the block layer itself lists it. Relay's files beside them stay unread. */
static void requests(void)
{
    static const char *top = "/sys/kernel/debug/block", *queue[] = {"busy", "tags_bitmap", "sched_tags_bitmap", "dispatch"};
    struct dirent **disks, **parts;
    char path[PATH_MAX], name[PATH_MAX];
    int count = scandir(top, &disks, is_shown, versionsort), number, i, k;
    size_t file;

    for (i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%s", top, disks[i]->d_name);
        number = scandir(path, &parts, is_shown, versionsort);
        for (k = 0; k < number; k++)
            for (file = 0; !strncmp(parts[k]->d_name, "hctx", 4) && file < sizeof queue / sizeof *queue; file++) {
                snprintf(path, sizeof path, "%s/%s/%s/%s", top, disks[i]->d_name, parts[k]->d_name, queue[file]);
                snprintf(name, sizeof name, "requests/%s/%s/%s", disks[i]->d_name, parts[k]->d_name, queue[file]);
                one(path, name);
            }
        snprintf(path, sizeof path, "%s/%s/requeue_list", top, disks[i]->d_name);
        snprintf(name, sizeof name, "requests/%s/requeue_list", disks[i]->d_name);
        one(path, name);
        snprintf(path, sizeof path, "%s/%s/sched", top, disks[i]->d_name);
        snprintf(name, sizeof name, "requests/%s/sched/", disks[i]->d_name);
        folder(path, name, 0);
    }
}

static void calls(void)
{
    static const char *files[] = {"alloc_calls", "free_calls"};
    struct dirent **entries;
    char path[PATH_MAX], name[PATH_MAX];
    int count = scandir("/sys/kernel/slab", &entries, is_shown, alphasort), i;
    size_t k;

    for (i = 0; i < count; i++) {
        struct stat info;
        snprintf(path, sizeof path, "/sys/kernel/slab/%s", entries[i]->d_name);
        /* An alias is a link. */
        for (k = 0; !lstat(path, &info) && S_ISDIR(info.st_mode) && k < sizeof files / sizeof *files; k++) {
            char file[PATH_MAX + 16];
            snprintf(file, sizeof file, "%s/%s", path, files[k]);
            snprintf(name, sizeof name, "slab_calls/%.200s/%s", entries[i]->d_name, files[k]);
            used = 0;
            if (append(file) && used)
                member(name);
            used = 0;
        }
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

static int bpf(int command, union bpf_attr *words) { return syscall(__NR_bpf, command, words, sizeof *words); }

/* What BPF_OBJ_GET_INFO_BY_FD says of the object behind `id`; 0 where there is nothing. */
static int bpf_info(int open_by_id, unsigned id, void *info, unsigned size)
{
    union bpf_attr words;
    int file, result;

    memset(&words, 0, sizeof words);
    words.prog_id = id;
    if ((file = bpf(open_by_id, &words)) < 0)
        return 0;
    memset(&words, 0, sizeof words);
    words.info.bpf_fd = file;
    words.info.info_len = size;
    words.info.info = (uintptr_t)info;
    result = bpf(BPF_OBJ_GET_INFO_BY_FD, &words);
    close(file);
    return !result;
}

/* BPF programs and maps, a line of "prog" or "map", the id and its fields each. */
static void bpf_objects(void)
{
    union bpf_attr words;
    unsigned id, k;
    char text[512];

    used = 0;
    for (id = 0;; id = words.next_id) {
        struct bpf_prog_info info = {0};
        unsigned maps[64] = {0};

        memset(&words, 0, sizeof words);
        words.start_id = id;
        if (bpf(BPF_PROG_GET_NEXT_ID, &words))
            break;
        info.nr_map_ids = sizeof maps / sizeof *maps;
        info.map_ids = (uintptr_t)maps;
        if (!bpf_info(BPF_PROG_GET_FD_BY_ID, words.next_id, &info, sizeof info))
            continue;
        add(text, snprintf(text, sizeof text,
                           "prog %u type=%u name=%s jited=%u xlated=%u loaded=%llu uid=%u btf=%u runs=%llu ns=%llu tag=",
                           info.id, info.type, info.name, info.jited_prog_len, info.xlated_prog_len,
                           (unsigned long long)info.load_time, info.created_by_uid, info.btf_id,
                           (unsigned long long)info.run_cnt, (unsigned long long)info.run_time_ns));
        for (k = 0; k < sizeof info.tag; k++)
            add(text, snprintf(text, sizeof text, "%02x", info.tag[k]));
        add(" maps=", 6);
        for (k = 0; k < info.nr_map_ids && k < sizeof maps / sizeof *maps; k++)
            add(text, snprintf(text, sizeof text, "%s%u", k ? "," : "", maps[k]));
        add("\n", 1);
    }
    for (id = 0;; id = words.next_id) {
        struct bpf_map_info info = {0};

        memset(&words, 0, sizeof words);
        words.start_id = id;
        if (bpf(BPF_MAP_GET_NEXT_ID, &words))
            break;
        if (bpf_info(BPF_MAP_GET_FD_BY_ID, words.next_id, &info, sizeof info))
            add(text, snprintf(text, sizeof text, "map %u type=%u name=%s key=%u value=%u entries=%u flags=%u btf=%u\n",
                               info.id, info.type, info.name, info.key_size, info.value_size, info.max_entries,
                               info.map_flags, info.btf_id));
    }
    if (used)
        member("bpf");
    used = 0;
}

/* /proc/net of one process of each network namespace but our own, as p/PID/net_NAME. */
static void other_networks(struct dirent **processes, int number)
{
    char path[PATH_MAX], name[PATH_MAX];
    struct stat info;
    ino_t known[256];
    int count = 0, i, k;

    if (!stat("/proc/self/ns/net", &info))
        known[count++] = info.st_ino;
    for (i = 0; i < number && count < 256; i++) {
        snprintf(path, sizeof path, "/proc/%s/ns/net", processes[i]->d_name);
        if (stat(path, &info))
            continue;
        for (k = 0; k < count && known[k] != info.st_ino; k++)
            ;
        if (k < count)
            continue;
        known[count++] = info.st_ino;
        snprintf(path, sizeof path, "/proc/%s/net", processes[i]->d_name);
        snprintf(name, sizeof name, "p/%s/net_", processes[i]->d_name);
        folder(path, name, 0);
    }
}

static void nodes(void)
{
    static const char *files[] = {"meminfo", "numastat", "vmstat", "cpulist"};
    char path[PATH_MAX], name[PATH_MAX];
    int node;
    size_t k;

    for (node = 0; node < 64; node++)
        for (k = 0; k < sizeof files / sizeof *files; k++) {
            snprintf(path, sizeof path, "/sys/devices/system/node/node%d/%s", node, files[k]);
            snprintf(name, sizeof name, "node%d/%s", node, files[k]);
            one(path, name);
        }
}

/* A link's target, or where it leads when `whole`, in one word; "-" where there is none. */
static void leads_to(const char *path, int whole)
{
    char target[PATH_MAX] = "-";
    ssize_t size = 0;

    if (whole ? !realpath(path, target) : (size = readlink(path, target, sizeof target - 1)) < 0)
        strcpy(target, "-");
    else if (!whole)
        target[size] = 0;
    add(" ", 1);
    add(target, strlen(target));
}

/* Every device of every bus (or class): its bus, where it lies, its driver, and some of its files, in one line. */
static void devices(const char *top, const char *below, const char *name)
{
    static const char *files[] = {"power/runtime_status", "numa_node", "vendor", "device", "subsystem_vendor",
                                  "subsystem_device", "class", "revision", "irq", "modalias", "dev"};
    struct dirent **buses, **entries;
    char path[PATH_MAX], one[2 * PATH_MAX];
    int count = scandir(top, &buses, is_shown, versionsort), i, j;
    size_t k;

    used = 0;
    for (i = 0; i < count; i++) {
        int found;
        snprintf(path, sizeof path, "%s/%s%s", top, buses[i]->d_name, below);
        found = scandir(path, &entries, is_shown, versionsort);
        for (j = 0; j < found; j++) {
            struct stat info;
            snprintf(path, sizeof path, "%s/%s%s/%s", top, buses[i]->d_name, below, entries[j]->d_name);
            if (!lstat(path, &info) && S_ISLNK(info.st_mode)) {
                add(buses[i]->d_name, strlen(buses[i]->d_name));
                leads_to(path, 1);
                snprintf(one, sizeof one, "%s/driver", path);
                leads_to(one, 0);
                for (k = 0; k < sizeof files / sizeof *files; k++) {
                    snprintf(one, sizeof one, "%s/%s", path, files[k]);
                    if (!access(one, R_OK)) {
                        add(" ", 1);
                        add(files[k], strlen(files[k]));
                        add("=", 1);
                        line(one);
                    }
                }
                add("\n", 1);
            }
            free(entries[j]);
        }
        if (found >= 0)
            free(entries);
        free(buses[i]);
    }
    if (count >= 0)
        free(buses);
    if (used)
        member(name);
    used = 0;
}

/* The same files of each folder, as "== FOLDER FILE" and their contents. */
static void texts(const char *top, const char *const *files, const char *name)
{
    struct dirent **entries;
    char path[PATH_MAX], text[2 * PATH_MAX];
    int count = scandir(top, &entries, is_shown, versionsort), i;

    used = 0;
    for (i = 0; i < count; i++) {
        const char *const *file;
        for (file = files; *file; file++) {
            snprintf(path, sizeof path, "%s/%s/%s", top, entries[i]->d_name, *file);
            if (!access(path, R_OK)) {
                add(text, snprintf(text, sizeof text, "== %s %s\n", entries[i]->d_name, *file));
                line(path);
                add("\n", 1);
            }
        }
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    if (used)
        member(name);
    used = 0;
}

int main(int count, char **words)
{
    static const char *early[] = {"version", "cmdline", "cpuinfo", "modules", "iomem", "ioports", "kallsyms", "mounts",
                                  "partitions", "devices", "misc", "filesystems", "swaps", "locks", "consoles", "cgroups",
                                  "keys", "sched_debug", "crypto", "mdstat", "key-users"};
    static const char *late[] = {"timer_list", "interrupts", "softirqs", "stat", "diskstats", "vmallocinfo", "loadavg", "uptime",
                                 "pagetypeinfo", "buddyinfo", "zoneinfo", "vmstat", "slabinfo", "meminfo"};
    static const char *ipc[] = {"shm", "msg", "sem"};
    static const char *link[] = {"operstate", "mtu", "address", "ifindex", "iflink", "flags", "tx_queue_len", "type",
                                 "carrier", "ifalias", "group"};
    char path[PATH_MAX], name[PATH_MAX];
    struct dirent **processes;
    int smaps = 1, pages = 0, number, i;
    size_t k;

    if (count < 2 || !(out = fopen(words[1], "w")))
        return 2;
    for (i = 2; i < count; i++) {
        smaps = strcmp(words[i], "nosmaps") ? smaps : 0;
        pages = strcmp(words[i], "pages") ? pages : 1;
    }
    for (k = 0; k < sizeof early / sizeof *early; k++) {
        snprintf(path, sizeof path, "/proc/%s", early[k]);
        one(path, early[k]);
    }
    one("/sys/kernel/debug/sched/debug", "sched_debug");
    folder("/proc/self/net", "net_", 0);
    for (k = 0; k < sizeof ipc / sizeof *ipc; k++) {
        snprintf(path, sizeof path, "/proc/sysvipc/%s", ipc[k]);
        snprintf(name, sizeof name, "sysvipc_%s", ipc[k]);
        one(path, name);
    }
    number = scandir("/proc", &processes, is_number, versionsort);
    for (i = 0; i < number; i++)
        process(processes[i]->d_name, smaps);
    other_networks(processes, number);
    for (k = 0; k < sizeof link / sizeof *link; k++) {
        snprintf(name, sizeof name, "link_%s", link[k]);
        gather("/sys/class/net", link[k], name);
    }
    gather("/sys/module", "taint", "module_taint");
    gather("/sys/block", "inflight", "inflight");
    gather("/sys/block", "stat", "block_stat");
    gather("/sys/block", "queue/scheduler", "block_scheduler");
    gather("/sys/block", "queue/nr_requests", "block_nr_requests");
    gather("/sys/block", "queue/rotational", "block_rotational");
    gather("/sys/block", "queue/logical_block_size", "block_logical_block_size");
    gather("/sys/block", "ro", "block_ro");
    gather("/sys/block", "removable", "block_removable");
    gather("/sys/block", "loop/backing_file", "block_backing_file");
    gather("/sys/block", "dm/name", "block_dm_name");
    gather("/sys/block", "mm_stat", "block_mm_stat");
    requests();
    nodes();
    folder("/sys/kernel/mm/hugepages", "hugepages/", 1);
    folder("/sys/kernel/mm/ksm", "ksm/", 0);
    folder("/sys/kernel/mm/transparent_hugepage", "transparent_hugepage/", 1);
    folder("/sys/kernel/debug/zswap", "zswap/", 0);
    used = 0;
    {
        int size = klogctl(10, NULL, 0);
        char *log = malloc(size + 1);
        size = log ? klogctl(3, log, size) : 0;
        if (size > 0)
            add(log, size);
        member("dmesg");
        free(log);
    }
    if (pages) {
        one("/proc/kpageflags", "kpageflags");
        one("/proc/kpagecount", "kpagecount");
    }
    devices("/sys/bus", "/devices", "bus_devices");
    devices("/sys/class", "", "class_devices");
    texts("/sys/bus/pci/devices", (const char *const[]){"resource", NULL}, "pci_resource");
    texts("/sys/kernel/irq", (const char *const[]){"actions", "chip_name", "hwirq", "name", "type", "wakeup", NULL},
          "sys_irq");
    texts("/proc/irq", (const char *const[]){"smp_affinity_list", "effective_affinity_list", "spurious", "node", NULL},
          "proc_irq");
    folder("/sys/class/dmi/id", "dmi/", 0);
    slabs();
    bpf_objects();
    /* Who allocated what, where the kernel was told to note it. */
    folder("/sys/kernel/debug/slab", "slab_traces/", 1);
    folder("/sys/kernel/debug/kfence", "kfence/", 0);
    one("/sys/kernel/debug/page_owner", "page_owner");
    one("/proc/allocinfo", "allocinfo");
    one("/proc/config.gz", "config.gz");
    calls();
    folder("/proc/pressure", "pressure_", 0);
    folder("/sys/fs/cgroup", "cgroup/", 16);
    folder("/tmp/v1", "cgroup_v1/", 16);
    for (k = 0; k < sizeof late / sizeof *late; k++) {
        snprintf(path, sizeof path, "/proc/%s", late[k]);
        one(path, late[k]);
    }
    {
        char zeros[1024] = {0};
        if (fwrite(zeros, sizeof zeros, 1, out) != 1)
            return 4;
    }
    if (fflush(out) || fsync(fileno(out)) || fclose(out))
        return 4;
    return 0;
}
