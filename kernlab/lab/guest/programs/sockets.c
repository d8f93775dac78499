/* Sockets in every state that a table of them should show; it makes them, writes what they are, and sleeps.
 *
 *   sockets here FILE     those of the first network namespace
 *   sockets apart FILE    those of a network namespace of its own, once it has an interface veth0 with 10.77.0.2
 *   sockets many COUNT    so many processes with 900 ends of pairs and 90 sockets of udp each
 *
 * FILE gets a line a socket: its name, inode, SO_MEMINFO's nine numbers, and of tcp its congestion control, cwnd,
 * ssthresh, rtt and rttvar in µs, pmtu and mss.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif
#define MOST 128

static struct { const char *name; int fd, tcp; } made[MOST];
static int count;

static int keep(const char *name, int fd, int tcp)
{
    if (fd < 0 || count == MOST) {
        printf("lacks %s: %s\n", name, strerror(errno));
        return fd;
    }
    made[count].name = name;
    made[count].tcp = tcp;
    made[count++].fd = fd;
    return fd;
}

static void tell(const char *path)
{
    FILE *out = fopen(path, "w");
    int i, k;

    for (i = 0; i < count; i++) {
        unsigned memory[9] = {0};
        socklen_t size = sizeof memory;
        struct stat info;
        struct tcp_info tcp = {0};
        char congestion[16] = "";

        fstat(made[i].fd, &info);
        getsockopt(made[i].fd, SOL_SOCKET, SO_MEMINFO, memory, &size);
        fprintf(out, "%s %lu", made[i].name, (unsigned long)info.st_ino);
        for (k = 0; k < 9; k++)
            fprintf(out, " %u", memory[k]);
        if (made[i].tcp) {
            size = sizeof congestion;
            getsockopt(made[i].fd, IPPROTO_TCP, TCP_CONGESTION, congestion, &size);
            size = sizeof tcp;
            getsockopt(made[i].fd, IPPROTO_TCP, TCP_INFO, &tcp, &size);
            fprintf(out, " %s %u %u %u %u %u %u", congestion, tcp.tcpi_snd_cwnd, tcp.tcpi_snd_ssthresh, tcp.tcpi_rtt,
                    tcp.tcpi_rttvar, tcp.tcpi_pmtu, tcp.tcpi_snd_mss);
        }
        fputc('\n', out);
    }
    fclose(out);
}

static socklen_t address_of(struct sockaddr_storage *where, const char *host, int port)
{
    struct sockaddr_in *four = (void *)where;
    struct sockaddr_in6 *six = (void *)where;

    memset(where, 0, sizeof *where);
    if (strchr(host, ':')) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(port);
        inet_pton(AF_INET6, host, &six->sin6_addr);
        return sizeof *six;
    }
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    inet_pton(AF_INET, host, &four->sin_addr);
    return sizeof *four;
}

static int bound(const char *host, int port, int type, int protocol)
{
    struct sockaddr_storage where;
    socklen_t size = address_of(&where, host, port);
    int one = 1, fd = socket(where.ss_family, type | SOCK_NONBLOCK, protocol);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    return bind(fd, (void *)&where, size) ? (close(fd), -1) : fd;
}

static int connected(const char *host, int port, int type, int buffer)
{
    struct sockaddr_storage where;
    socklen_t size = address_of(&where, host, port);
    int fd = socket(where.ss_family, type, 0);

    if (buffer) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    if (connect(fd, (void *)&where, size) && errno != EINPROGRESS)
        return close(fd), -1;
    return fd;
}

static int listening(const char *host, int port, int backlog)
{
    int fd = bound(host, port, SOCK_STREAM, 0);

    return fd < 0 || listen(fd, backlog) ? -1 : fd;
}

static int accepted(int listener)
{
    int tries, fd = -1;

    for (tries = 0; tries < 50 && (fd = accept(listener, NULL, NULL)) < 0; tries++)
        usleep(20000);
    return fd;
}

static void fill(int fd)
{
    static char bytes[4096];
    int quiet;

    memset(bytes, 'x', sizeof bytes);
    /* What the other side acknowledges makes room for a moment. */
    for (quiet = 0; quiet < 10; quiet++) {
        while (write(fd, bytes, sizeof bytes) > 0)
            quiet = 0;
        usleep(30000);
    }
}

static void tcp(const char *host, int port, int six)
{
    int listener = keep(six ? "listener6" : "listener", listening(host, port, 16), 1), client, server;

    client = keep(six ? "full-client6" : "full-client", connected(host, port, SOCK_STREAM, 16384), 1);
    server = keep(six ? "full-server6" : "full-server", accepted(listener), 1);
    fill(client);
    client = keep(six ? "idle-client6" : "idle-client", connected(host, port, SOCK_STREAM, 0), 1);
    server = keep(six ? "idle-server6" : "idle-server", accepted(listener), 1);
    if (write(client, "unread words", 12) != 12)
        perror("write");
    client = keep(six ? "half-client6" : "half-client", connected(host, port, SOCK_STREAM, 0), 1);
    server = keep(six ? "half-server6" : "half-server", accepted(listener), 1);
    shutdown(client, SHUT_WR); /* FIN_WAIT2 and CLOSE_WAIT */
    client = connected(host, port, SOCK_STREAM, 0);
    server = accepted(listener);
    close(client); /* TIME_WAIT */
    usleep(50000);
    close(server);
}

/* A SYN of an address that never answers: the listener's answer waits for a third one that does not come. */
static void half_open(const char *from, const char *to, int port)
{
    struct { struct iphdr ip; struct tcphdr tcp; } __attribute__((packed)) packet = {0};
    struct sockaddr_storage where;
    socklen_t size = address_of(&where, to, port);
    int raw = socket(AF_INET, SOCK_RAW, IPPROTO_RAW), i;
    unsigned sum = 0;
    unsigned short words[16];

    packet.ip.version = 4;
    packet.ip.ihl = 5;
    packet.ip.ttl = 64;
    packet.ip.protocol = IPPROTO_TCP;
    packet.ip.tot_len = htons(sizeof packet);
    packet.ip.saddr = inet_addr(from);
    packet.ip.daddr = inet_addr(to);
    packet.tcp.source = htons(40001);
    packet.tcp.dest = htons(port);
    packet.tcp.seq = htonl(1);
    packet.tcp.doff = 5;
    packet.tcp.syn = 1;
    packet.tcp.window = htons(1024);
    memcpy(words, &packet.ip.saddr, 8);
    words[4] = htons(IPPROTO_TCP);
    words[5] = htons(sizeof packet.tcp);
    memcpy(words + 6, &packet.tcp, 20);
    for (i = 0; i < 16; i++)
        sum += words[i];
    sum = (sum & 0xffff) + (sum >> 16);
    packet.tcp.check = ~((sum & 0xffff) + (sum >> 16));
    if (sendto(raw, &packet, sizeof packet, 0, (void *)&where, size) < 0)
        perror("SYN");
    close(raw);
}

static void backlog(const char *host, int port)
{
    int i;

    keep("full-listener", listening(host, port, 2), 1);
    for (i = 0; i < 5; i++)
        keep("waiting-client", connected(host, port, SOCK_STREAM, 0), 1);
}

static void datagrams(const char *host, int port, int six)
{
    int small = 4096, i;
    int full = keep(six ? "udp-full6" : "udp-full", bound(host, port, SOCK_DGRAM, 0), 0);
    int client = keep(six ? "udp-client6" : "udp-client", connected(host, port, SOCK_DGRAM, 0), 0);

    setsockopt(full, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    for (i = 0; i < 40; i++)
        if (write(client, "a datagram that nobody reads", 28) < 0)
            perror("udp");
    keep(six ? "udplite6" : "udplite", bound(host, port + 1, SOCK_DGRAM, IPPROTO_UDPLITE), 0);
    keep(six ? "raw6" : "raw", socket(six ? AF_INET6 : AF_INET, SOCK_RAW, six ? IPPROTO_ICMPV6 : IPPROTO_ICMP), 0);
}

static socklen_t unix_name(struct sockaddr_un *where, const char *path)
{
    memset(where, 0, sizeof *where);
    where->sun_family = AF_UNIX;
    strcpy(where->sun_path, path);
    if (path[0] == '@')
        where->sun_path[0] = 0;
    return offsetof(struct sockaddr_un, sun_path) + strlen(path) + (path[0] != '@');
}

static int unix_socket(int type, const char *bind_to, const char *connect_to)
{
    struct sockaddr_un where;
    socklen_t size;
    int fd = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);

    if (bind_to) {
        size = unix_name(&where, bind_to);
        if (bind(fd, (void *)&where, size))
            return -1;
    }
    if (connect_to) {
        size = unix_name(&where, connect_to);
        if (connect(fd, (void *)&where, size) && errno != EAGAIN)
            return -1;
    }
    return fd;
}

static void unix_sockets(void)
{
    int pair[2], listener, i;

    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    keep("pair-left", pair[0], 0);
    keep("pair-right", pair[1], 0);
    if (write(pair[0], "unread", 6) != 6)
        perror("pair");
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    keep("dgram-left", pair[0], 0);
    keep("dgram-right", pair[1], 0);
    if (write(pair[1], "unread", 6) != 6)
        perror("pair");
    socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair);
    keep("packets-left", pair[0], 0);
    keep("packets-right", pair[1], 0);
    listener = keep("unix-listener", unix_socket(SOCK_STREAM, "/tmp/net/a door", NULL), 0);
    listen(listener, 2);
    for (i = 0; i < 3; i++)
        keep("unix-waiting", unix_socket(SOCK_STREAM, NULL, "/tmp/net/a door"), 0);
    listener = keep("abstract-listener", unix_socket(SOCK_STREAM, "@kernlab-abstract", NULL), 0);
    listen(listener, 5);
    keep("abstract-client", unix_socket(SOCK_STREAM, "@a-client", "@kernlab-abstract"), 0);
    keep("abstract-server", accepted(listener), 0);
    keep("unix-log", unix_socket(SOCK_DGRAM, "/tmp/net/log", NULL), 0);
    keep("unix-logger", unix_socket(SOCK_DGRAM, NULL, "/tmp/net/log"), 0);
}

static void others(void)
{
    struct sockaddr_ll device = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
                                 .sll_ifindex = if_nametoindex("lo")};
    struct sockaddr_nl link = {.nl_family = AF_NETLINK, .nl_groups = 1};
    struct sockaddr_vm machine = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = 1234};
    int fd = keep("packet-all", socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), 0);

    bind(fd, (void *)&device, sizeof device);
    keep("packet-ip", socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP)), 0);
    fd = keep("netlink-route", socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), 0);
    bind(fd, (void *)&link, sizeof link);
    keep("netlink-generic", socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC), 0);
    fd = keep("vsock", socket(AF_VSOCK, SOCK_STREAM, 0), 0);
    if (fd >= 0) {
        bind(fd, (void *)&machine, sizeof machine);
        listen(fd, 1);
    }
}

static void many(int processes)
{
    int pair[2], left;

    for (; processes > 0; processes--)
        if (fork() == 0) {
            for (left = 0; left < 450 && !socketpair(AF_UNIX, left % 2 ? SOCK_DGRAM : SOCK_STREAM, 0, pair); left++)
                ;
            for (left = 0; left < 90 && bound("127.0.0.1", 0, SOCK_DGRAM, 0) >= 0; left++)
                ;
            for (;;)
                pause();
        }
}

int main(int words, char **word)
{
    if (words < 3)
        return 2;
    setvbuf(stdout, NULL, _IONBF, 0);
    if (!strcmp(word[1], "many")) {
        many(atoi(word[2]));
        return 0;
    }
    if (!strcmp(word[1], "apart")) {
        int tries, server;
        if (unshare(CLONE_NEWNET))
            return 1;
        puts("apart");
        for (tries = 0; tries < 500 && (server = listening("10.77.0.2", 7100, 8)) < 0; tries++)
            usleep(100000);
        usleep(500000); /* the shell is not done with the interfaces */
        keep("apart-listener", server, 1);
        tcp("127.0.0.1", 7002, 0);
        datagrams("127.0.0.1", 7010, 0);
        keep("apart-unix", unix_socket(SOCK_DGRAM, "@kernlab-apart", NULL), 0);
        others();
        keep("apart-server", accepted(server), 1);
    } else {
        keep("syn-listener", listening("10.77.0.1", 7005, 8), 1);
        backlog("127.0.0.1", 7001);
        unix_sockets();
        others();
        datagrams("127.0.0.1", 7010, 0);
        datagrams("::1", 7010, 1);
        keep("apart-client", connected("10.77.0.2", 7100, SOCK_STREAM, 0), 1);
        half_open("10.77.0.99", "10.77.0.1", 7005);
        tcp("127.0.0.1", 7002, 0);
        tcp("::1", 7003, 1);
        if (seteuid(1000) == 0) {
            keep("of-a-user", listening("127.0.0.1", 7020, 4), 1);
            seteuid(0);
        }
    }
    sleep(1);
    tell(word[2]);
    puts("kept");
    for (;;)
        pause();
}
