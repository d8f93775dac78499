/* watcher FUNCTION: BPF programs on a socket and behind a kernel function (fexit), maps, and a child that sleeps in an
 * eventfd.
 *
 * Says what came of it, a line each, and stays: the programs go with it. Needs no library and no compiler for BPF.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bpf(int command, union bpf_attr *words) { return syscall(__NR_bpf, command, words, sizeof *words); }

static void say(const char *what, int result)
{
    printf("%s: %s\n", what, result < 0 ? strerror(errno) : "done");
    fflush(stdout);
}

static int load(const char *name, unsigned type, unsigned attach, unsigned function)
{
    static struct bpf_insn code[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0}, {.code = BPF_JMP | BPF_EXIT}};
    union bpf_attr words;

    memset(&words, 0, sizeof words);
    words.prog_type = type;
    words.insns = (uintptr_t)code;
    words.insn_cnt = sizeof code / sizeof *code;
    words.license = (uintptr_t) "GPL";
    words.expected_attach_type = attach;
    words.attach_btf_id = function;
    strncpy(words.prog_name, name, BPF_OBJ_NAME_LEN - 1);
    return bpf(BPF_PROG_LOAD, &words);
}

/* A map of each kind whose memory the kernel counts in another way; they stay open. */
static int maps(void)
{
    static const struct { unsigned type, flags; const char *name; } kinds[] = {
        {BPF_MAP_TYPE_ARRAY, 0, "story_array"}, {BPF_MAP_TYPE_ARRAY, BPF_F_MMAPABLE, "story_shared"},
        {BPF_MAP_TYPE_PERCPU_ARRAY, 0, "story_counts"}, {BPF_MAP_TYPE_HASH, 0, "story_hash"},
        {BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, "story_grown"}, {BPF_MAP_TYPE_LRU_HASH, 0, "story_lru"},
        {BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC, "story_percpu"}};
    union bpf_attr words;
    unsigned key = 7;
    uint64_t values[512] = {0};
    size_t k;
    int file;

    for (k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        memset(&words, 0, sizeof words);
        words.map_type = kinds[k].type;
        words.key_size = sizeof key;
        words.value_size = 24;
        words.max_entries = 100;
        words.map_flags = kinds[k].flags;
        strncpy(words.map_name, kinds[k].name, BPF_OBJ_NAME_LEN - 1);
        if ((file = bpf(BPF_MAP_CREATE, &words)) < 0)
            return file;
        memset(&words, 0, sizeof words);
        words.map_fd = file;
        words.key = (uintptr_t)&key;
        words.value = (uintptr_t)values;
        if (bpf(BPF_MAP_UPDATE_ELEM, &words))
            return -1;
    }
    memset(&words, 0, sizeof words);
    words.map_fd = file;
    return bpf(BPF_MAP_FREEZE, &words);
}

/* The number of a function among the kernel's types, 0 where there is none. */
static unsigned number_of(const char *function)
{
    /* Bytes behind a type of each kind: fixed ones, and for each of its members. */
    static const unsigned char fixed[32] = {[1] = 4, [3] = 12, [14] = 4, [17] = 4};
    static const unsigned char each[32] = {[4] = 12, [5] = 12, [6] = 8, [13] = 8, [15] = 12, [19] = 12};
    size_t room = 64 << 20, size = 0, at;
    char *data = malloc(room);
    const struct btf_header *header = (void *)data;
    int file = open("/sys/kernel/btf/vmlinux", O_RDONLY);
    unsigned number = 1;
    ssize_t got;

    while ((got = read(file, data + size, room - size)) > 0)
        size += got;
    if (size < sizeof *header)
        return 0;
    for (at = 0; at < header->type_len; number++) {
        const struct btf_type *type = (void *)(data + header->hdr_len + header->type_off + at);
        unsigned kind = type->info >> 24 & 31, members = type->info & 0xffff;

        if (kind == 12 && !strcmp(data + header->hdr_len + header->str_off + type->name_off, function))
            return number;
        at += sizeof *type + fixed[kind] + members * each[kind];
    }
    return 0;
}

int main(int count, char **words)
{
    union bpf_attr link;
    int filter, program, number, file = eventfd(0, 0), pair[2];

    if (count != 2 || file < 0 || socketpair(AF_UNIX, SOCK_DGRAM, 0, pair))
        return 2;
    filter = load("story_filter", BPF_PROG_TYPE_SOCKET_FILTER, 0, 0);
    if (filter >= 0)
        filter = setsockopt(pair[0], SOL_SOCKET, SO_ATTACH_BPF, &filter, sizeof filter);
    say("filter", filter);
    number = number_of(words[1]);
    program = load("story_exit", BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT, number);
    if (program >= 0) {
        memset(&link, 0, sizeof link);
        link.raw_tracepoint.prog_fd = program;
        program = bpf(BPF_RAW_TRACEPOINT_OPEN, &link);
    }
    say(words[1], program);
    say("maps", maps());
    if (!fork()) {
        uint64_t value;
        prctl(PR_SET_NAME, "watched");
        return read(file, &value, sizeof value) < 0;
    }
    for (;;)
        pause();
}
