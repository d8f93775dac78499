# A SCSI disk answers no more: what is written to the file system on it and read from it waits for ever. The hung-task
# detector ends it. The crash kernel does not look for SCSI disks, and so does not wait for this one.
prepare() {
    apps
    DEEP=0
    echo 0 > /proc/sys/kernel/hung_task_timeout_secs
    insmod /modules/kernlab_mill.ko || return 1
    tries=0
    while [ ! -b /dev/sda ]; do tries=$((tries + 1)); [ $tries -lt 50 ] || return 1; sleep 0.2; done
    mke2fs -q /dev/sda > /dev/null && mkdir -p /shop && mount -t ext4 /dev/sda /shop || return 1
    dd if=/dev/zero of=/shop/catalog.db bs=64k count=64 2> /dev/null
    dd if=/dev/zero of=/shop/ledger.db bs=64k count=16 2> /dev/null
    sync -f /shop
    decoys || return 1
    actors io catalog /shop/catalog.db 1 16 read & catalog=$!
    actors io ledger /shop/ledger.db 1 4 write & ledger=$!
    sleep 2
    say slow 1 1 more0
    sleep 3
    story "catalog ($catalog) reads /shop/catalog.db, and ledger ($ledger) writes /shop/ledger.db, of sda, which answers no more"
    # What is new goes to the disk when somebody syncs.
    echo backup > /shop/backup.log
    printf '#!/bin/sh\nsync\n' > /bin/backup
    chmod +x /bin/backup
    /bin/backup & story "backup ($!) syncs all"
    sleep 2
    # Whoever waits for the disk is as right as another.
    verdict finding="stuck I/O" subject=sda also="hung task"
}
die() {
    echo 1 > /proc/sys/kernel/hung_task_panic
    echo 10 > /proc/sys/kernel/hung_task_timeout_secs
    sleep 120
}
