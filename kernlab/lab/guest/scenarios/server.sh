# A whole server. Process 1 goes over to the image's systemd, whose kernlab-story.service tells the rest (`inside`).
prepare() {
    mkdir -p /sysroot && mount -t ext4 /dev/vda /sysroot || return 1
    [ "$(stat -c %u /sysroot/usr)" = 0 ] || chown -R 0:0 /sysroot
    mkdir -p /sysroot/opt/kernlab /sysroot/host /sysroot/proc /sysroot/sys /sysroot/dev /sysroot/run /sysroot/tmp
    cp /bin/truthtar /bin/actors /bin/busybox /host/boot/settings /host/boot/scenario /sysroot/opt/kernlab/
    mv /sysroot/opt/kernlab/scenario /sysroot/opt/kernlab/story
    umount /tmp
    for place in proc sys dev host; do mount --move /$place /sysroot/$place || return 1; done
    exec switch_root -c /dev/console /sysroot /usr/lib/systemd/systemd
}
die() { story "sysrq c"; echo c > /proc/sysrq-trigger; }

# What follows runs in the image: dash and Debian's own programs.
told() { echo "KERNLAB $*" > $port; }
gave_up() {
    journalctl -b --no-pager -o cat -n 12 > /dev/console 2>&1; sleep 1
    told failed "$*"; sleep 5; /opt/kernlab/busybox poweroff -n -f
}
step() { "$@" || gave_up "$*"; }
unit() { # unit NAME SLICE PROPERTIES COMMAND …: a service of its own
    name=$1; slice=$2; properties=$3; shift 3
    step systemd-run --quiet --collect --unit="$name" --slice="$slice" $properties "$@"
}
memory() {
    echo always > /sys/kernel/mm/transparent_hugepage/enabled
    echo 1 > /sys/kernel/mm/ksm/run; echo 1000 > /sys/kernel/mm/ksm/pages_to_scan
    sysctl -q vm.nr_hugepages=24
    [ ! -e /sys/module/zswap/parameters/enabled ] || echo Y > /sys/module/zswap/parameters/enabled || story "no zswap"
    step dd if=/dev/zero of=/swapfile bs=1M count=192 status=none
    chmod 600 /swapfile; step mkswap -q /swapfile; step swapon -p 10 /swapfile
    mkdir -p /mnt/tm /mnt/bind; step mount -t tmpfs -o size=64M,mode=1777 scratch /mnt/tm
    dd if=/dev/urandom of=/mnt/tm/file-a bs=64k count=100 status=none; mount --bind /mnt/tm /mnt/bind
}
database() {
    bin=$(dirname /usr/lib/postgresql/*/bin/postgres); ln -sf "$bin/postgres" /opt/story/postgres
    mkdir -p /var/lib/postgresql; chown -R postgres:postgres /var/lib/postgresql
    story "initdb"
    step setpriv --reuid=postgres --regid=postgres --clear-groups "$bin/initdb" --no-sync --auth=trust --locale=C -D /var/lib/postgresql/data > /dev/null
    printf "%s\n" "listen_addresses = '127.0.0.1'" "shared_buffers = 24MB" "huge_pages = try" "fsync = off" "jit = off" \
        >> /var/lib/postgresql/data/postgresql.conf
    step systemctl start postgresql
    sql="$bin/psql -q -h /run/postgresql -U postgres"
    step $sql -c "create table orders as select i, md5(i::text) t from generate_series(1, 60000) i"
    unit ledger app.slice "" $sql -c "begin; lock table orders; select pg_sleep(100000)"
    sleep 2
    unit clerk app.slice "" $sql -c "update orders set t = 'x' where i = 1"
}
services() {
    mkdir -p /var/lib/redis /var/log/redis /var/log/nginx /var/lib/nginx /run/story; chmod 1777 /run/story
    chown redis:redis /var/lib/redis /var/log/redis /etc/redis /etc/redis/*; chmod 755 /etc/redis
    for name in nginx redis-server; do systemctl start $name || { story "$name does not start"; systemctl status $name | tail -5; }; done
    mkdir -p /srv/ct/lower/bin /srv/ct/merged /srv/ct/layers
    cp /opt/kernlab/busybox /opt/kernlab/actors /srv/ct/lower/bin/; ln -sf busybox /srv/ct/lower/bin/sh
    mount -t tmpfs -o size=16m layers /srv/ct/layers; mkdir -p /srv/ct/layers/upper /srv/ct/layers/work; chmod 777 /srv/ct/layers/*
    systemctl start ctr
}
work() {
    worker="/usr/bin/python3 /opt/story/worker.py"
    unit thp app-thp.slice "" $worker thp 16
    unit ksm app.slice "" $worker ksm 8
    unit hugetlb app.slice "" $worker hugetlb 8
    unit shared app.slice "" $worker shared 8
    unit memfd app.slice "" $worker memfd 6
    unit mapfile app.slice "" $worker mapfile 8 /var/tmp/mapped
    unit deleted app.slice "" $worker deleted 4 /var/tmp/deleted
    unit threads app.slice "-p User=shop -p TasksMax=300" $worker threads 200
    unit tcp app.slice "" $worker tcp 6
    # At their limits: one lives on swap, one reads past its page cache, one is over its high mark, one is killed.
    unit swapped batch.slice "-p MemoryMax=24M -p MemorySwapMax=128M" $worker anon 64
    unit reader batch.slice "-p MemoryMax=8M" sh -c "dd if=/swapfile of=/dev/null bs=64k count=600 status=none; exec sleep 100000"
    unit high batch.slice "-p MemoryHigh=8M" sh -c "cat /usr/lib/postgresql/*/bin/* > /dev/null; exec sleep 100000"
    systemd-run --quiet --unit=glutton --slice=batch.slice -p MemoryMax=16M -p MemorySwapMax=0 -p OOMPolicy=continue \
        sh -c "$worker anon 64; exec sleep 100000"
    unit oneshot batch.slice "" sh -c "dd if=/dev/urandom of=/var/tmp/oneshot bs=64k count=32 status=none"
}
inside() {
    . /opt/kernlab/settings
    export PATH=/usr/sbin:/usr/bin HOME=/root
    story() { echo "$(cut -d ' ' -f 1 /proc/uptime) $*" >> /run/story.txt; }
    cd /
    memory; database; services; work
    tries=0
    for kind in thp ksm hugetlb shared memfd mapfile deleted threads tcp anon; do
        while [ ! -e /run/story/$kind.ready ]; do
            tries=$((tries + 1)); [ $tries -lt 300 ] || gave_up "the worker $kind is not ready"
            sleep 1
        done
    done
    grep -q '^oom_kill [1-9]' /sys/fs/cgroup/batch.slice/memory.events || sleep 20
    story "everything is there"
    sleep 10
    systemctl --no-pager --plain list-units --type=service | head -60
    told prepared
    [ "$SETTLE" = 0 ] || sleep "$SETTLE"
    story truth
    /opt/kernlab/truthtar /host/out/truth.tar $TRUTH_FLAGS || gave_up "the truth could not be taken: is the disk full?"
    told truth "$(stat -c %s /host/out/truth.tar)"
    cp /run/story.txt /host/out/story
    sync -f /host/out
    if [ "$PAUSE" = 1 ]; then
        mkdir -p /host/out/after
        exec 8<> $port; echo "KERNLAB pause" >&8; read -r answer <&8
        umount /host || mount -o remount,ro /host
        told finished; sleep 1; /opt/kernlab/busybox poweroff -n -f
    fi
    umount /host || mount -o remount,ro /host || gave_up "the results disk is busy"
    told dying
    die
}
if [ "${1:-}" = inside ]; then inside; fi
