# What no other story has: mounts upon mounts, names with markup and worse, a user namespace, a log that wrapped.
prepare() {
    apps
    mkdir -p "/tmp/odd/a <b> & \"c\"" /tmp/upper /tmp/work /tmp/lower /tmp/merged /tmp/bound /tmp/tree
    mount -t tmpfs -o size=1m,mode=700 'name with space' "/tmp/odd/a <b> & \"c\""
    mount --bind /tmp/odd /tmp/bound; mount -o remount,ro,bind /tmp/bound
    mount -t tmpfs tree /tmp/tree; mkdir /tmp/tree/below; mount -t tmpfs below /tmp/tree/below; mount --make-shared /tmp/tree
    mkdir -p /tmp/layers && mount -t tmpfs layers /tmp/layers && mkdir /tmp/layers/u /tmp/layers/w
    mount -t overlay overlay -o lowerdir=/modules,upperdir=/tmp/layers/u,workdir=/tmp/layers/w /tmp/merged
    mount -t tmpfs gone /tmp/lower && (cd /tmp/lower && exec actors app in-gone-mount 1 0) & sleep 1; umount -l /tmp/lower
    (cd /tmp/merged && : > "written through" && exec sleep 100000 < "written through") &
    mkdir /sys/fs/cgroup/shop /sys/fs/cgroup/shop/till
    sh -c 'echo $$ > /sys/fs/cgroup/shop/till/cgroup.procs; exec actors app in-cgroup 2 1' &
    (actors odd /tmp/odd) &
    mkdir /tmp/held; (holders /tmp/held) &
    nice -n 10 sleep 1000000 &
    chroot_folder=/tmp/jail; mkdir -p $chroot_folder/bin; cp /bin/busybox $chroot_folder/bin/; chroot $chroot_folder /bin/busybox sleep 1000000 &
    sleep 2
    # The log: levels, facilities, markup and a lap and a half of its ring.
    i=0
    while [ $i -lt 3000 ]; do
        echo "<$((i % 8 + 8))>line $i <b>of</b> the log, \"quoted\" & long enough that the ring wraps in good time: $(printf '%060d' $i)"
        i=$((i + 1))
    done > /dev/kmsg
    printf '\xff\xfe bad \xc3 bytes\n' > /dev/kmsg
}
die() { echo c > /proc/sysrq-trigger; }
