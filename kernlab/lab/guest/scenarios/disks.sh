# An nvme controller that is too slow for its readers, SCSI disks, and arrays of md: one that is rebuilt, one that lost
# a member, one of stripes. out/storage.read has what sysfs says of them, a file a line.
storage() {
    for file in /sys/class/nvme/nvme*/* /sys/class/nvme/nvme*/nvme*n*/* /sys/block/sd*/device/* /sys/block/md*/md/* \
        /sys/block/md*/md/dev-*/*; do
        [ -f "$file" ] && [ -r "$file" ] || continue
        case $file in */uevent | */inquiry | */*trigger* | */*rescan* | */*delete* | */reset*) continue ;; esac
        echo "$file $(head -n 1 "$file" 2> /dev/null | tr -dc ' -~')"
    done > /host/out/storage.read
}
prepare() {
    apps
    tries=0
    until [ -b /dev/nvme0n1 ] && [ -b /dev/sdf ]; do
        tries=$((tries + 1)); [ $tries -lt 100 ] || { ls /dev; return 1; }; sleep 0.2
    done
    # Rebuilding moves no more than this, in KiB a second.
    raid /dev/md0 1 3 /dev/sda /dev/sdb missing || return 1
    echo 64 > /proc/sys/dev/raid/speed_limit_max && echo 1 > /proc/sys/dev/raid/speed_limit_min
    raid /dev/md0 fail /dev/sdb || return 1
    raid /dev/md1 1 2 /dev/sdd missing || return 1
    raid /dev/md2 0 2 /dev/sde /dev/sdf || return 1
    raid /dev/md0 add /dev/sdc || return 1
    actors io tenant /dev/nvme0n1 6 16 read &
    actors io ledger /dev/md2 1 64 write &
    sleep 5
    storage
    story "an array is rebuilt, nvme has more to do than it can"
}
die() { story "sysrq c with commands at the controller"; echo c > /proc/sysrq-trigger; }
