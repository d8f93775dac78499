# Everything that a request can be on its way to: a driver, a scheduler, a limit; volumes, a loop device and zram.
# null_blk answers two seconds after it was asked, four requests at a time: what more there is waits somewhere.
answer=2000000000
slow_disk() { # slow_disk FOLDER: a disk of null_blk, the name of which is told
    mkdir /sys/kernel/config/nullb/$1
    cd /sys/kernel/config/nullb/$1
    for word in queue_mode=2 irqmode=2 completion_nsec=$answer hw_queue_depth=4 size=256 submit_queues=1 memory_backed=0; do
        echo ${word#*=} > ${word%=*}
    done
    echo 1 > power
    made=nullb$(cat index)
    [ -b /dev/$made ] || made=$1
    cd /
    [ -b /dev/$made ]
}
prepare() {
    apps
    mkdir -p /sys/kernel/config && mount -t configfs configfs /sys/kernel/config
    # A file system on the slow disk, with a file that is read all the time, through the page cache.
    mke2fs /dev/vda > /tmp/mke2fs.log 2>&1 && mkdir /tmp/ledger && mount -t ext4 /dev/vda /tmp/ledger || return 1
    dd if=/dev/zero of=/tmp/ledger/journal bs=1M count=64 && sync -f /tmp/ledger
    story "a file lies on the slow disk"
    dd if=/dev/zero of=/tmp/container.img bs=1M count=16 && losetup /dev/loop0 /tmp/container.img || return 1
    { echo 32M > /sys/block/zram0/disksize && mkswap /dev/zram0 && swapon /dev/zram0; } || story "no zram"
    slow_disk orders || return 1
    orders=$made
    slow_disk stock || return 1
    stock=$made
    slow_disk parcels || return 1
    parcels=$made
    story "three disks are slow"
    volume kernlab-vault /dev/$parcels || return 1
    echo "$orders $stock $parcels" > /host/out/slow_disks
    # Four requests are the driver's, as many as it can do; the scheduler has the others.
    echo mq-deadline > /sys/block/$orders/queue/scheduler
    actors io orders /dev/$orders 7 4 random &
    # No scheduler: who comes later waits for a tag.
    echo none > /sys/block/$stock/queue/scheduler
    actors io stock /dev/$stock 6 8 read &
    actors io vault /dev/dm-0 3 16 write &
    story "the slow disks have more to do than they can"
    # A control group that may read one byte a second.
    echo +io > /sys/fs/cgroup/cgroup.subtree_control
    mkdir /sys/fs/cgroup/tenant
    echo "$(cat /sys/block/vda/dev) rbps=1" > /sys/fs/cgroup/tenant/io.max
    sh -c 'echo $$ > /sys/fs/cgroup/tenant/cgroup.procs; exec actors io tenant /dev/vda 2 64 read' &
    sleep 2
    while :; do echo 1 > /proc/sys/vm/drop_caches; cat /tmp/ledger/journal > /dev/null; done &
    actors io database /dev/vda 3 8 read &
    sleep 4
}
die() { story "sysrq c with requests everywhere"; echo c > /proc/sysrq-trigger; }
