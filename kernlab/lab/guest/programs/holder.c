/* A process that holds what is known: threads in known functions with known locals, memory that was swapped out to zram,
 * files that are mapped, only read, deleted, in tmpfs, in a memfd, in hugetlbfs.
 *
 *   holder keep MIB           makes it all, prints a line of JSON for each piece (name, address, bytes), sleeps in main
 *
 * Page k of any of it is `fill(seed, k)`: tests/support/holder_truth.py makes the same bytes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define WORKERS 3
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

struct stock {
    int apples, pears;
    char label[24];
};

/* What a debugger shall find by its name. */
char greeting[64] = "the orchard is closed for the winter";
int answers[5] = {2, 3, 5, 7, 11};
static sem_t never;
static volatile int ready;

static uint64_t next_random(uint64_t *state) {
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return *state ^ *state >> 29;
}

/* One page, of eight kinds: text, one word all over, zeros, noise, mostly zeros, half noise, small numbers, long runs. */
static void fill(uint64_t seed, uint64_t number, void *page) {
    uint64_t *words = page, state = seed << 32 | number;
    memset(page, 0, PAGE);
    switch (number % 8) {
    case 0:
        for (int at = 0; at + 32 <= PAGE; at += 32) {
            char line[40];
            snprintf(line, sizeof line, "%04u page %08u line %08d.\n", (unsigned)seed, (unsigned)number, at / 32);
            memcpy((char *)page + at, line, 32);
        }
        break;
    case 1:
        for (int i = 0; i < PAGE / 8; i++) words[i] = 0x0101010101010101ULL * (number / 8 % 250 + 1);
        break;
    case 2: break;
    case 3:
        for (int i = 0; i < PAGE / 8; i++) words[i] = next_random(&state);
        break;
    case 4:
        for (int i = 0; i < PAGE / 8; i += 37 + number % 100) words[i] = number + i;
        break;
    case 5:
        for (int i = 0; i < PAGE / 16; i++) words[i] = next_random(&state);
        break;
    case 6:
        for (int i = 0; i < PAGE / 8; i++) words[i] = i * (number + 1);
        break;
    case 7:
        for (int i = 0; i < PAGE; i++) ((char *)page)[i] = "abcdefgh"[i / (number % 300 + 20) % 8];
        break;
    }
}

static void fill_all(uint64_t seed, char *memory, size_t pages) {
    for (size_t k = 0; k < pages; k++) fill(seed, k, memory + k * PAGE);
}

static void told(const char *name, const void *where, size_t size) {
    printf("{\"name\": \"%s\", \"address\": %zu, \"bytes\": %zu}\n", name, (size_t)where, size);
}

static int file_of(const char *path, uint64_t seed, size_t pages, int flags) {
    char page[PAGE];
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | flags, 0600);
    if (fd < 0) { perror(path); exit(1); }
    for (size_t k = 0; k < pages; k++) {
        fill(seed, k, page);
        if (write(fd, page, PAGE) != PAGE) { perror(path); exit(1); }
    }
    return fd;
}

/* Asleep, below frames with locals of their own. */
__attribute__((noinline)) int rest(int worker, double weight) {
    volatile int inside = worker * 1000 + 7;
    volatile double kilos = weight * 2;
    __atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
    while (sem_wait(&never)) {}
    return inside + (int)kilos;
}

__attribute__((noinline)) int weigh(int worker) {
    struct stock scale = {worker, worker * 10, "scale"};
    int sum = rest(worker, worker + 0.5);
    return sum + scale.pears;
}

static void *work(void *which) {
    char name[16];
    int worker = (int)(intptr_t)which;
    snprintf(name, sizeof name, "worker-%d", worker);
    pthread_setname_np(pthread_self(), name);
    return (void *)(intptr_t)weigh(worker);
}

/* In user mode when the machine dies, with known registers. */
__attribute__((noinline)) int turn(uint64_t rounds) {
    volatile uint64_t mark = 0x5eed5eed5eed5eedULL;
    __atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
#ifdef __aarch64__
    __asm__ volatile(
        "ldr x20, =0x1122334455667788\n ldr x21, =0x99aabbccddeeff00\n"
        "fmov d8, x20\n fmov d9, x21\n"
        "1: yield\n b 1b\n" : : : "x20", "x21", "v8", "v9", "memory");
#else
    __asm__ volatile(
        "movabs $0x1122334455667788, %%r12\n movabs $0x99aabbccddeeff00, %%r13\n"
        "movq %%r12, %%xmm7\n movq %%r13, %%xmm8\n"
        "1: pause\n jmp 1b\n" : : : "r12", "r13", "xmm7", "xmm8", "memory");
#endif
    return (int)(mark + rounds);
}

static void *wheel(void *unused) {
    (void)unused;
    pthread_setname_np(pthread_self(), "wheel");
    return (void *)(intptr_t)turn(3);
}

__attribute__((noinline)) int count_stock(struct stock *stock, int depth) {
    volatile int total = stock->apples + stock->pears;
    if (depth) return count_stock(stock, depth - 1) + 1;
    printf("{\"name\": \"kept\", \"address\": 0, \"bytes\": 0}\n");
    fflush(stdout);
    for (;;) pause();
    return total;
}

int main(int argc, char **argv) {
    struct stock stock = {17, 42, "harvest-2026"};
    size_t ledger_pages = (size_t)(argc > 2 ? atoi(argv[2]) : 10) << 8;
    pthread_t thread;

    sem_init(&never, 0, 0);
    char *heap = malloc(64 * PAGE);
    fill_all(1, heap, 64);
    told("heap", heap, 64 * PAGE);
    told("greeting", greeting, sizeof greeting);
    told("stock", &stock, sizeof stock);

    /* On the disk: mapped (of 32 pages the even ones of the first half are touched), only read, deleted. */
    int catalog = file_of("/home/catalog", 2, 32, 0);
    const char *mapped = mmap(NULL, 32 * PAGE, PROT_READ, MAP_PRIVATE, catalog, 0);
    int sum = 0;
    for (int k = 0; k < 16; k += 2) sum += mapped[k * PAGE];
    told("catalog", mapped, 32 * PAGE);
    close(file_of("/home/letters", 3, 300, 0));
    int forgotten = file_of("/home/forgotten", 4, 40, 0);
    unlink("/home/forgotten");
    /* With a hole, and an end within a page. */
    int sparse = file_of("/home/sparse", 5, 4, 0);
    if (pwrite(sparse, "the end", 7, 50 * PAGE) != 7) return 1;

    /* In memory. */
    int tally = file_of("/tmp/tally", 6, 256, 0);
    char *shared = mmap(NULL, 256 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, tally, 0);
    told("tally", shared, 256 * PAGE);
    int scratch = memfd_create("scratch", 0);
    for (int k = 0; k < 8; k++) {
        char page[PAGE];
        fill(7, k, page);
        if (write(scratch, page, PAGE) != PAGE) return 1;
    }
    int huge = open("/huge/barn", O_RDWR | O_CREAT, 0600);
    if (huge >= 0 && !ftruncate(huge, 4 << 20)) {
        char *barn = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, huge, 0);
        if (barn != MAP_FAILED) { fill_all(8, barn + (2 << 20), 512); told("barn", barn + (2 << 20), 2 << 20); }
    }
    /* A huge page of anonymous memory, where the kernel gives one. */
    char *wide = mmap(NULL, 6 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    wide = (char *)(((uintptr_t)wide + (2 << 20) - 1) & ~(uintptr_t)((2 << 20) - 1));
    madvise(wide, 2 << 20, MADV_HUGEPAGE);
    fill_all(9, wide, 512);
    told("wide", wide, 2 << 20);

    /* Swapped out: all of the ledger, half of the tally. */
    char *ledger = mmap(NULL, ledger_pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(ledger, ledger_pages * PAGE, MADV_NOHUGEPAGE);
    fill_all(10, ledger, ledger_pages);
    told("ledger", ledger, ledger_pages * PAGE);
    if (madvise(shared, 128 * PAGE, MADV_PAGEOUT)) perror("pageout of the tally");
    if (madvise(ledger, ledger_pages * PAGE, MADV_PAGEOUT)) perror("pageout");
    /* A reservation that was never touched. */
    char *untouched = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    told("untouched", untouched, 16 * PAGE);

    for (intptr_t i = 1; i <= WORKERS; i++) pthread_create(&thread, NULL, work, (void *)i);
    pthread_create(&thread, NULL, wheel, NULL);
    while (ready < WORKERS + 1) usleep(10000);
    usleep(200000);
    return count_stock(&stock, 2) + sum + forgotten + scratch;
}
