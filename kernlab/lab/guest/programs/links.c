/* What busybox's ip cannot make, over netlink: each word of the command line is done, in order.
 *
 *   multipath      10.91.0.0/16 by two gateways of weights 1 and 3
 *   nexthop        a nexthop object, and 10.92.0.0/16 by it
 *   siblings       fd91::/32 by two gateways
 *   neighbours     permanent neighbours of east0, of versions 4 and 6
 *   xdp            a program that passes every packet, in the driver of east0 and in front of dummy0
 *   names FILE     all neighbours, as the kernel lists them: family, address, device, state, flags, MAC
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct { struct nlmsghdr head; char body[2048]; } request;
static char answer[1 << 16];

static void begin(int type, int flags, const void *header, size_t size)
{
    memset(&request, 0, sizeof request);
    request.head.nlmsg_type = type;
    request.head.nlmsg_flags = NLM_F_REQUEST | flags;
    memcpy(NLMSG_DATA(&request.head), header, size);
    request.head.nlmsg_len = NLMSG_LENGTH(size);
}

static struct rtattr *put(int type, const void *data, size_t size)
{
    struct rtattr *attribute = (void *)((char *)&request + NLMSG_ALIGN(request.head.nlmsg_len));

    attribute->rta_type = type;
    attribute->rta_len = RTA_LENGTH(size);
    if (size)
        memcpy(RTA_DATA(attribute), data, size);
    request.head.nlmsg_len = NLMSG_ALIGN(request.head.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
    return attribute;
}

static void put_number(int type, unsigned value) { put(type, &value, sizeof value); }

static void put_address(int type, const char *text)
{
    char raw[16];
    int family = strchr(text, ':') ? AF_INET6 : AF_INET;

    inet_pton(family, text, raw);
    put(type, raw, family == AF_INET ? 4 : 16);
}

static int ask(void)
{
    int link = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), error;

    request.head.nlmsg_flags |= NLM_F_ACK;
    if (link < 0 || send(link, &request, request.head.nlmsg_len, 0) < 0 || recv(link, answer, sizeof answer, 0) < 0) {
        perror("netlink");
        exit(1);
    }
    close(link);
    error = ((struct nlmsgerr *)NLMSG_DATA((struct nlmsghdr *)answer))->error;
    if (error)
        fprintf(stderr, "links: type %d: %s\n", request.head.nlmsg_type, strerror(-error));
    return error;
}

static void route(int family, int bits, int more)
{
    struct rtmsg message = {.rtm_family = family, .rtm_dst_len = bits, .rtm_table = RT_TABLE_MAIN,
                            .rtm_protocol = RTPROT_STATIC, .rtm_scope = RT_SCOPE_UNIVERSE, .rtm_type = RTN_UNICAST};
    begin(RTM_NEWROUTE, NLM_F_CREATE | more, &message, sizeof message);
}

static int multipath(void)
{
    static const struct { const char *gateway; int weight; } ways[] = {{"10.77.0.2", 1}, {"10.77.0.3", 3}};
    char hops[256];
    size_t used = 0, k;

    route(AF_INET, 16, 0);
    put_address(RTA_DST, "10.91.0.0");
    for (k = 0; k < 2; k++) {
        struct rtnexthop *hop = (void *)(hops + used);
        struct rtattr *gateway = (void *)(hops + used + sizeof *hop);
        hop->rtnh_len = sizeof *hop + RTA_LENGTH(4);
        hop->rtnh_flags = 0;
        hop->rtnh_hops = ways[k].weight - 1;
        hop->rtnh_ifindex = if_nametoindex("east0");
        gateway->rta_type = RTA_GATEWAY;
        gateway->rta_len = RTA_LENGTH(4);
        inet_pton(AF_INET, ways[k].gateway, RTA_DATA(gateway));
        used += hop->rtnh_len;
    }
    put(RTA_MULTIPATH, hops, used);
    return ask();
}

static int nexthop(void)
{
    struct nhmsg message = {.nh_family = AF_INET, .nh_protocol = RTPROT_STATIC};

    begin(RTM_NEWNEXTHOP, NLM_F_CREATE, &message, sizeof message);
    put_number(NHA_ID, 17);
    put_number(NHA_OIF, if_nametoindex("east0"));
    put_address(NHA_GATEWAY, "10.77.0.4");
    if (ask())
        return 1;
    route(AF_INET, 16, 0);
    put_address(RTA_DST, "10.92.0.0");
    put_number(RTA_NH_ID, 17);
    return ask();
}

static int siblings(void)
{
    static const char *gateways[] = {"fd77::2", "fd77::3"};
    int failed = 0, k;

    for (k = 0; k < 2; k++) {
        route(AF_INET6, 32, NLM_F_APPEND);
        put_address(RTA_DST, "fd91::");
        put_address(RTA_GATEWAY, gateways[k]);
        put_number(RTA_OIF, if_nametoindex("east0"));
        failed |= ask();
    }
    return failed;
}

static int neighbours(void)
{
    static const char *known[] = {"10.77.0.50", "fd77::50"};
    static const unsigned char mac[6] = {0x02, 0x4b, 0x4c, 0x00, 0x00, 0x50};
    int failed = 0, k;

    for (k = 0; k < 2; k++) {
        struct ndmsg message = {.ndm_family = k ? AF_INET6 : AF_INET, .ndm_state = NUD_PERMANENT,
                                .ndm_ifindex = if_nametoindex("east0")};
        begin(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &message, sizeof message);
        put_address(NDA_DST, known[k]);
        put(NDA_LLADDR, mac, sizeof mac);
        failed |= ask();
    }
    return failed;
}

static int xdp(const char *name, unsigned flags)
{
    struct bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = XDP_PASS}, {.code = BPF_JMP | BPF_EXIT}};
    union bpf_attr load = {.prog_type = BPF_PROG_TYPE_XDP, .insn_cnt = 2, .insns = (unsigned long)code,
                           .license = (unsigned long)"GPL", .prog_name = "pass_all"};
    struct ifinfomsg message = {.ifi_index = if_nametoindex(name)};
    int program = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
    struct rtattr *nest;

    if (program < 0) {
        perror("bpf");
        return 1;
    }
    begin(RTM_SETLINK, 0, &message, sizeof message);
    nest = put(IFLA_XDP | NLA_F_NESTED, NULL, 0);
    put_number(IFLA_XDP_FD, program);
    put_number(IFLA_XDP_FLAGS, flags);
    nest->rta_len = (char *)&request + request.head.nlmsg_len - (char *)nest;
    return ask();
}

static int names(const char *path)
{
    FILE *out = fopen(path, "w");
    int families[] = {AF_INET, AF_INET6}, k, link = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), done;

    for (k = 0; out && k < 2; k++) {
        struct ndmsg message = {.ndm_family = families[k]};
        begin(RTM_GETNEIGH, NLM_F_DUMP, &message, sizeof message);
        if (send(link, &request, request.head.nlmsg_len, 0) < 0)
            return 1;
        for (done = 0; !done;) {
            int left = recv(link, answer, sizeof answer, 0);
            struct nlmsghdr *head = (void *)answer;
            if (left <= 0)
                return 1;
            for (; NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
                struct ndmsg *found = NLMSG_DATA(head);
                struct rtattr *attribute = (void *)(found + 1);
                int size = head->nlmsg_len - NLMSG_LENGTH(sizeof *found), i;
                char address[64] = "", mac[64] = "", name[IF_NAMESIZE] = "";
                if (head->nlmsg_type == NLMSG_DONE || head->nlmsg_type == NLMSG_ERROR) {
                    done = 1;
                    break;
                }
                for (; RTA_OK(attribute, size); attribute = RTA_NEXT(attribute, size)) {
                    if (attribute->rta_type == NDA_DST)
                        inet_ntop(families[k], RTA_DATA(attribute), address, sizeof address);
                    for (i = 0; attribute->rta_type == NDA_LLADDR && i < (int)RTA_PAYLOAD(attribute) && i < 16; i++)
                        sprintf(mac + (i ? 3 * i - 1 : 0), "%s%02x", i ? ":" : "", ((unsigned char *)RTA_DATA(attribute))[i]);
                }
                fprintf(out, "%d %s %s %d %d %s\n", families[k], address, if_indextoname(found->ndm_ifindex, name),
                        found->ndm_state, found->ndm_flags, mac[0] ? mac : "-");
            }
        }
    }
    return !out || fclose(out);
}

int main(int count, char **words)
{
    int failed = 0, i;

    for (i = 1; i < count; i++) {
        if (!strcmp(words[i], "multipath"))
            failed |= multipath();
        else if (!strcmp(words[i], "nexthop"))
            failed |= nexthop();
        else if (!strcmp(words[i], "siblings"))
            failed |= siblings();
        else if (!strcmp(words[i], "neighbours"))
            failed |= neighbours();
        else if (!strcmp(words[i], "xdp"))
            failed |= xdp("dummy0", XDP_FLAGS_SKB_MODE) | xdp("east0", XDP_FLAGS_DRV_MODE);
        else if (!strcmp(words[i], "names") && i + 1 < count)
            failed |= names(words[++i]);
        else
            return 2;
    }
    return !!failed;
}
