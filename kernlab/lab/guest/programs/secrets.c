/* Secrets that are known, in every place where a machine keeps one: what a redacted dump must not have any more.
 *
 *   secrets list               what is seeded, a line of JSON each: name, place, kind, level, value
 *   secrets shell              the same as NAME='value' lines, for the story's own commands
 *   secrets keep               puts them where no command of a shell can, and sleeps
 *   secrets gone               holds one in memory, and ends: what is left is in free pages
 *
 * `kind` says how to look for it: text, ipv4, ipv6, mac; `level` from which level on it has to be gone.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <termios.h>
#include <unistd.h>

#define HOME "/home/mathilde"

static const struct { const char *name, *place, *kind, *level, *value; } seeded[] = {
    {"ARGV", "an argument of a program", "text", "share", "argv-Qm7rXw2LzT9c"},
    {"ENVIRONMENT", "the environment of a program", "text", "share", "env-Hs4vYk8NpB3d"},
    {"USER_NAME", "the name of a user, and of the home directory", "text", "share", "mathilde"},
    {"HOST", "the host's name", "text", "share", "vault-frankfurt-07"},
    {"DOMAIN", "the domain's name", "text", "share", "zephyrcorp.example"},
    {"OPEN_FILE", "the name of an open file", "text", "share", "divorce-plan-2026"},
    {"MAPPED_FILE", "the name of a mapped file", "text", "share", "salary-list-march"},
    {"FOLDER", "the name of a working directory", "text", "share", "project-falcon-bid"},
    {"LINK", "the target of a symbolic link", "text", "share", "takeover-of-acme-inc"},
    {"SOCKET_PATH", "the path of a unix socket", "text", "share", "agent-for-nightshade"},
    {"FILE", "the page cache of a file", "text", "share", "file-Jc5gRf6VmD2s"},
    {"TMPFS", "a file of tmpfs", "text", "share", "tmpfs-Wn3tZb7KxG5h"},
    {"USER_MEMORY", "a program's memory", "text", "share", "anon-Pd8yLq4CvS6j"},
    {"GONE_MEMORY", "the memory of a program that ended", "text", "share", "gone-Tk2mFh9RwX7b"},
    {"REGISTERS", "vector registers of a program", "text", "share", "xmm-Vb6nJt3H"},
    {"GENERAL", "general registers of a program", "text", "share", "r12-Zq5k"},
    {"USER_KEY", "a user key", "text", "share", "key-Gx9cMd4WsN8f"},
    {"LOGON_KEY", "a logon key", "text", "share", "logon-By7pTr2QvK6z"},
    {"PIPE", "unread bytes of a pipe", "text", "share", "pipe-Fz4hXn8LgC3w"},
    {"UNIX_SOCKET", "unread bytes of a unix socket", "text", "share", "unix-Kv2sDb9YjP5m"},
    {"TCP_SOCKET", "unread bytes of a TCP socket", "text", "share", "tcp-Rn6wGk3TzQ8x"},
    {"TCP6_SOCKET", "unread bytes of a TCP socket, version 6", "text", "share", "tcp6-Ls7dVf5JcH2b"},
    {"TCP_UNSENT", "bytes that a TCP socket could not send", "text", "share", "unsent-Xt9gMz4PhW6k"},
    {"UDP_SOCKET", "unread bytes of a UDP socket", "text", "share", "udp-Dq8bNy2RvL7s"},
    {"MESSAGE", "a System V message", "text", "share", "msg-Cw5jKt6FxZ3n"},
    {"LONG_MESSAGE", "the second page of a System V message", "text", "share", "msg2-Hp4vBs9GmT8d"},
    {"TTY", "input that nobody read of a terminal", "text", "share", "tty-Nk3zQf7XcJ5r"},
    {"TTY_PARTIAL", "a line of a terminal that nobody ended", "text", "share", "line-Yw8mTd6VbP2g"},
    {"LOG_SECRET", "a password in the log", "text", "share", "log-Sg2xHn5KzR9t"},
    {"LOG_USER", "an address of electronic mail in the log", "text", "share", "theodora.quill@zephyrcorp.example"},
    {"LOG_IP", "an address in the log", "ipv4", "share", "198.18.77.43"},
    {"LOG_IP6", "an address in the log, version 6", "ipv6", "share", "2a0d:5e47:1c9:83::d41f"},
    {"LOG_MAC", "a hardware address in the log", "mac", "share", "b8:27:eb:6d:91:3c"},
    {"MARKER", "a path below a home in a trace", "text", "share", "ledger-of-bribes"},
    {"MARKER_IP", "an address in a trace", "ipv4", "share", "10.171.23.219"},
    {"XATTR", "an extended attribute in tmpfs", "text", "share", "xattr-Mj6rLw3FqD8c"},
    {"IP", "the address of an interface", "ipv4", "share", "10.83.174.94"},
    {"PEER_IP", "the address of a neighbour", "ipv4", "share", "10.83.174.201"},
    {"ROUTE_IP", "a network that a route leads to", "ipv4", "share", "172.29.143.0"},
    {"IP6", "the address of an interface, version 6", "ipv6", "share", "fd7c:93aa:41e6:5::b27d"},
    {"MAC", "the address of a network card", "mac", "share", "52:5e:9a:c3:47:d8"},
    {"PEER_MAC", "the hardware address of a neighbour", "mac", "share", "00:1b:b1:e4:72:95"},
    {"COMM", "the name of a thread", "text", "strict", "comm-Vx4hPz7"},
    {"CGROUP", "the name of a cgroup", "text", "strict", "cgroup-Lb9kWd3TqY6m"},
};
#define COUNT (sizeof seeded / sizeof *seeded)

static const char *the(const char *name)
{
    size_t i;

    for (i = 0; i < COUNT; i++)
        if (!strcmp(seeded[i].name, name))
            return seeded[i].value;
    fprintf(stderr, "secrets: there is no %s\n", name);
    exit(3);
}

static void need(int good, const char *what)
{
    if (good)
        return;
    perror(what);
    exit(4);
}

static void put(int file, const char *text) { need(write(file, text, strlen(text)) == (ssize_t)strlen(text), text); }

static int file_of(const char *path, const char *text)
{
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    need(file >= 0, path);
    put(file, text);
    return file;
}

static void files(void)
{
    char path[256], target[256];
    int file;
    void *mapped;
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    snprintf(path, sizeof path, HOME "/%s.odt", the("OPEN_FILE"));
    file_of(path, the("FILE"));
    snprintf(path, sizeof path, HOME "/%s.ods", the("MAPPED_FILE"));
    file = file_of(path, the("FILE"));
    need(!ftruncate(file, 8192), "ftruncate");
    mapped = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    need(mapped != MAP_FAILED, "mmap");
    strcpy((char *)mapped + 4096, the("FILE"));
    snprintf(path, sizeof path, HOME "/%s", the("FOLDER"));
    need(!mkdir(path, 0700) && !chdir(path), path);
    snprintf(target, sizeof target, HOME "/%s.pdf", the("LINK"));
    need(!symlink(target, HOME "/shortcut") && !symlink(target, "/tmp/shortcut"), "symlink");
    need(readlink("/tmp/shortcut", path, sizeof path) > 0, "readlink");
    readlink(HOME "/shortcut", path, sizeof path);
    file = file_of("/tmp/notes", the("TMPFS"));
    fsetxattr(file, "trusted.note", the("XATTR"), strlen(the("XATTR")), 0);
    snprintf(at.sun_path, sizeof at.sun_path, HOME "/%s.sock", the("SOCKET_PATH"));
    file = socket(AF_UNIX, SOCK_STREAM, 0);
    need(!bind(file, (struct sockaddr *)&at, sizeof at) && !listen(file, 4), "a unix socket's path");
}

static void keys(void)
{
    need(syscall(SYS_add_key, "user", "vpn", the("USER_KEY"), strlen(the("USER_KEY")), -4) >= 0, "a user key");
    if (syscall(SYS_add_key, "logon", "disk:vpn", the("LOGON_KEY"), strlen(the("LOGON_KEY")), -4) < 0)
        perror("a logon key");
}

static void queues(void)
{
    int ends[2], id = msgget(IPC_PRIVATE, 0600);
    struct { long type; char text[6000]; } message = {1, ""};

    need(!pipe(ends), "pipe");
    put(ends[1], the("PIPE"));
    need(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
    put(ends[1], the("UNIX_SOCKET"));
    strcpy(message.text, the("MESSAGE"));
    strcpy(message.text + 5000, the("LONG_MESSAGE"));
    need(id >= 0 && !msgsnd(id, &message, sizeof message.text, 0), "msgsnd");
    memset(&message, 0, sizeof message);
}

static void internet(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(8443)};
    struct sockaddr_in6 at6 = {.sin6_family = AF_INET6, .sin6_port = htons(8443)};
    int server = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    int server6 = socket(AF_INET6, SOCK_STREAM, 0), client6 = socket(AF_INET6, SOCK_STREAM, 0);
    int udp = socket(AF_INET, SOCK_DGRAM, 0), full, small = 4096;
    struct arpreq arp = {.arp_flags = ATF_COM | ATF_PERM, .arp_dev = "dummy0"};
    struct sockaddr_in *peer = (struct sockaddr_in *)&arp.arp_pa;
    unsigned char *mac = (unsigned char *)arp.arp_ha.sa_data;
    char block[4096];
    int i;

    need(inet_pton(AF_INET, the("IP"), &at.sin_addr) == 1, "IP");
    need(!bind(server, (struct sockaddr *)&at, sizeof at) && !listen(server, 4), "listening");
    need(!connect(client, (struct sockaddr *)&at, sizeof at), "connecting");
    accept(server, NULL, NULL);
    put(client, the("TCP_SOCKET"));
    /* One that reads nothing: what does not fit into its queue stays in the sender's. */
    full = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(server, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    connect(full, (struct sockaddr *)&at, sizeof at);
    accept(server, NULL, NULL);
    for (i = 0; i + 64 < (int)sizeof block; i += 64)
        snprintf(block + i, 64, "%063d", 0), memcpy(block + i, the("TCP_UNSENT"), strlen(the("TCP_UNSENT")));
    usleep(100000);
    while (write(full, block, sizeof block) > 0)
        ;
    need(inet_pton(AF_INET6, the("IP6"), &at6.sin6_addr) == 1, "IP6");
    need(!bind(server6, (struct sockaddr *)&at6, sizeof at6) && !listen(server6, 4), "listening, version 6");
    need(!connect(client6, (struct sockaddr *)&at6, sizeof at6), "connecting, version 6");
    accept(server6, NULL, NULL);
    put(client6, the("TCP6_SOCKET"));
    need(!bind(udp, (struct sockaddr *)&at, sizeof at), "UDP");
    need(sendto(udp, the("UDP_SOCKET"), strlen(the("UDP_SOCKET")), 0, (struct sockaddr *)&at, sizeof at) > 0, "UDP");
    peer->sin_family = AF_INET;
    inet_pton(AF_INET, the("PEER_IP"), &peer->sin_addr);
    arp.arp_ha.sa_family = ARPHRD_ETHER;
    sscanf(the("PEER_MAC"), "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5);
    need(!ioctl(udp, SIOCSARP, &arp), "a neighbour");
    /* A packet for it stays with the card, which sends nowhere. */
    at.sin_addr = peer->sin_addr;
    sendto(udp, the("UDP_SOCKET"), strlen(the("UDP_SOCKET")), 0, (struct sockaddr *)&at, sizeof at);
}

static void terminal(void)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY), slave;

    need(master >= 0 && !grantpt(master) && !unlockpt(master), "a terminal");
    slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    need(slave >= 0, "a terminal's other end");
    put(master, the("TTY"));
    put(master, "\n");
    put(master, the("TTY_PARTIAL"));
}

static void *in_registers(void *unused)
{
    char vector[16] = "", general[8];

    (void)unused;
    prctl(PR_SET_NAME, the("COMM"));
    memcpy(vector, the("REGISTERS"), strlen(the("REGISTERS")));
    memcpy(general, the("GENERAL"), sizeof general);
#ifdef __aarch64__
    /* ppoll(NULL, 0, NULL, NULL): there is no pause(). */
    register char *from asm("x20") = vector, *and_from asm("x21") = general;
    __asm__ volatile("ldr q13, [%0]\n\tldr q2, [%0]\n\tldr x22, [%1]\n\tldr x9, [%1]\n"
                     "1:\tmov x0, #0\n\tmov x1, #0\n\tmov x2, #0\n\tmov x3, #0\n\tmov x8, #73\n\tsvc #0\n\tb 1b"
                     :
                     : "r"(from), "r"(and_from)
                     : "x0", "x1", "x2", "x3", "x8", "x9", "x22", "v2", "v13", "memory");
#else
    __asm__ volatile("movups (%0), %%xmm13\n\tmovups (%0), %%xmm2\n\tmovq (%1), %%r12\n\tmovq (%1), %%r9\n"
                     "1:\tmovl $34, %%eax\n\tsyscall\n\tjmp 1b"
                     :
                     : "D"(vector), "S"(general)
                     : "rax", "rcx", "r11", "r9", "r12", "xmm2", "xmm13", "memory");
#endif
    return NULL;
}

static char *memory_with(const char *text)
{
    char *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t at;

    need(memory != MAP_FAILED, "memory");
    for (at = 0; at < 1 << 20; at += 4096)
        strcpy(memory + at + 1000, text);
    return memory;
}

int main(int count, char **words)
{
    const char *what = count > 1 ? words[1] : "";
    pthread_t thread;
    size_t i;

    if (!strcmp(what, "list") || !strcmp(what, "shell")) {
        for (i = 0; i < COUNT; i++)
            if (*what == 's')
                printf("%s='%s'\n", seeded[i].name, seeded[i].value);
            else
                printf("{\"name\": \"%s\", \"place\": \"%s\", \"kind\": \"%s\", \"level\": \"%s\", \"value\": \"%s\"}\n",
                       seeded[i].name, seeded[i].place, seeded[i].kind, seeded[i].level, seeded[i].value);
        return 0;
    }
    if (!strcmp(what, "gone")) {
        memory_with(the("GONE_MEMORY"));
        return 0;
    }
    if (strcmp(what, "keep"))
        return 2;
    files();
    keys();
    queues();
    internet();
    terminal();
    memory_with(the("USER_MEMORY"));
    need(!pthread_create(&thread, NULL, in_registers, NULL), "a thread");
    puts("kept");
    fflush(stdout);
    for (;;)
        pause();
}
