# Known secrets in every place that has any (programs/secrets.c says which, and where); out/secrets.jsonl lists them.
prepare() {
    apps
    secrets list > /host/out/secrets.jsonl && eval "$(secrets shell)" || return 1
    mkdir -p /dev/pts; mount -t devpts devpts /dev/pts || return 1
    hostname "$HOST"; echo "$DOMAIN" > /proc/sys/kernel/domainname
    mke2fs -q /dev/vda > /dev/null && mkdir -p /home && mount -t ext2 /dev/vda /home && mkdir "/home/$USER_NAME" || return 1
    echo "$USER_NAME:x:1001:1001:$USER_NAME:/home/$USER_NAME:/bin/sh" >> /etc/passwd
    ip link add dummy0 type dummy 2> /dev/null
    ip link set dummy0 address "$MAC" && ip link set dummy0 up && ip addr add "$IP/24" dev dummy0 || return 1
    ip addr add "$IP6/64" dev dummy0 nodad 2> /dev/null || ip addr add "$IP6/64" dev dummy0 || return 1
    ip route add "$ROUTE_IP/24" via "$PEER_IP" || return 1
    sleep 3 # a new address of version 6 is tentative at first
    mkdir -p "/tmp/share"; mount -t tmpfs "//$PEER_IP/home/$USER_NAME" /tmp/share || return 1
    mkdir "/sys/fs/cgroup/$CGROUP"
    # Whose arguments and environment are secret, below the home directory.
    (cd "/home/$USER_NAME" && API_TOKEN="$ENVIRONMENT" exec secrets keep "--password=$ARGV" "--user=$USER_NAME@$HOST.$DOMAIN") > /tmp/kept 2>&1 &
    keeper=$!
    echo $keeper > "/sys/fs/cgroup/$CGROUP/cgroup.procs"
    secrets gone || return 1
    echo 1 > $tracing/events/sched/sched_process_exec/enable
    echo "open /home/$USER_NAME/$MARKER.csv for $MARKER_IP" > $tracing/trace_marker
    { echo "<6>sshd: Failed password for $USER_NAME from $LOG_IP port 50022, $LOG_IP6 before that"
      echo "<6>dhcp: lease of $LOG_IP for $LOG_MAC ($HOST.$DOMAIN)"
      echo "<6>mail: $LOG_USER has a message"
      echo "<6>backup: login with password=$LOG_SECRET"; } | while read -r line; do echo "$line" > /dev/kmsg; done
    tries=0
    until grep -q kept /tmp/kept; do tries=$((tries + 1)); [ $tries -lt 50 ] || { cat /tmp/kept; return 1; }; sleep 0.2; done
    kill -0 $keeper || { cat /tmp/kept; return 1; }
}
die() { echo c > /proc/sysrq-trigger; }
