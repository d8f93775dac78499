# A directory's block on vda is not what it was: ext4 finds out when archiver lists it. ERRORS=remount-ro: the file system
# is read-only from then on, and SysRq c ends it; panic: ext4 panics.
prepare() {
    apps
    insmod /modules/kernlab_mill.ko || return 1
    decoys || return 1
    mke2fs -q /dev/vda > /dev/null && mkdir -p /shop && mount -t ext4 /dev/vda /shop || return 1
    mkdir /shop/orders && echo 1 > /shop/orders/kernlab-order-one && echo 2 > /shop/orders/kernlab-order-two || return 1
    umount /shop
    at=$(strings -t d /dev/vda | grep kernlab-order-one | head -n 1 | awk '{print $1}')
    [ -n "$at" ] || return 1
    at=$((at / 1024))
    dd if=/dev/zero of=/dev/vda bs=1024 seek=$at count=1 conv=notrunc 2> /dev/null
    sync -f /host; blockdev --flushbufs /dev/vda
    mount -t ext4 -o errors="$ERRORS" /dev/vda /shop || return 1
    printf '#!/bin/sh\nread -r line < /tmp/bell\nls -l /shop/orders\ntouch /shop/orders/new\nread -r line < /tmp/never\n' > /bin/archiver
    chmod +x /bin/archiver
    [ -p /tmp/never ] || mkfifo /tmp/never
    mkfifo /tmp/bell
    /bin/archiver & archiver=$!
    innocent="$innocent,archiver"
    story "the block at KiB $at of vda, a directory's, was overwritten; archiver ($archiver) will list it; errors=$ERRORS"
    if [ "$ERRORS" = panic ]; then
        verdict finding="file system error" subject=vda
        return
    fi
    verdict finding="sysrq" also="file system error" subject=vda
    echo ring > /tmp/bell
    tries=0
    # Not in /proc/mounts: since v6.12 a file system that ext4 lets no more be written to is not read-only by its flags.
    until dmesg | grep -q 'Remounting filesystem read-only'; do
        tries=$((tries + 1)); [ $tries -lt 50 ] || return 1; sleep 0.2
    done
    story "ext4 made /shop read-only"
}
die() {
    [ "$ERRORS" = panic ] || echo c > /proc/sysrq-trigger
    echo ring > /tmp/bell
    sleep 120
}
