# Two network namespaces, and in each of them sockets in every state (programs/sockets.c), routes and neighbours.
until_said() { # until_said WORD FILE
    tries=0
    until grep -q "$1" "$2"; do tries=$((tries + 1)); [ $tries -lt 300 ] || { cat "$2"; return 1; }; sleep 0.2; done
}
prepare() {
    apps
    mkdir -p /tmp/net
    sockets apart /host/out/sockets-apart.read > /tmp/apart 2>&1 &
    apart=$!
    until_said apart /tmp/apart || return 1
    there() { nsenter -t $apart -n "$@"; }
    # The other end is called veth0 by the kernel.
    ip link add east0 type veth && ip link set veth0 netns $apart || return 1
    ip link add dummy0 type dummy 2> /dev/null
    ip link add bridge0 type bridge && ip link set dummy0 master bridge0 || return 1
    ip link set dummy0 address 02:4b:4c:00:00:01 && ip link set dummy0 mtu 1400 && ip link set dummy0 up && ip link set bridge0 up || return 1
    ip link set east0 address 02:4b:4c:00:00:02; there ip link set veth0 address 02:4b:4c:00:00:03
    ip link set east0 up && there ip link set veth0 up && there ip link set lo up || return 1
    ip addr add 10.77.0.1/24 dev east0 && there ip addr add 10.77.0.2/24 dev veth0 || return 1
    ip addr add 10.78.0.1/16 dev bridge0; ip addr add 10.78.0.2/16 dev bridge0
    ip addr add fd77::1/64 dev east0 && there ip addr add fd77::2/64 dev veth0 || return 1
    sleep 3 # a new address of version 6 is tentative at first
    ip route add 10.88.0.0/16 via 10.77.0.2 && ip route add default via 10.77.0.2 metric 100 || return 1
    ip route add 10.66.0.0/16 via 10.77.0.2 table 100; ip route add 10.88.8.0/24 dev east0 src 10.77.0.1
    ip route add blackhole 10.99.0.0/24; ip route add unreachable 10.99.1.0/24; ip route add prohibit 10.99.2.0/24
    ip -6 route add fd88::/48 via fd77::2; ip -6 route add default via fd77::2; ip -6 route add fd66::/48 via fd77::2 table 100
    there ip route add default via 10.77.0.1 || return 1
    links multipath nexthop siblings neighbours xdp || story "links failed"
    ping -c 1 10.77.0.2 > /dev/null; ping6 -c 1 fd77::2 > /dev/null
    sockets many "$SWARM"
    sockets here /host/out/sockets-here.read > /tmp/here 2>&1 &
    until_said kept /tmp/here && until_said kept /tmp/apart || return 1
    grep lacks /tmp/here /tmp/apart
    links names /host/out/neighbours-here.read; there links names /host/out/neighbours-apart.read
}
die() { echo c > /proc/sysrq-trigger; }
