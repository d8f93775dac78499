# till takes till_lock on CPU 1 and spins for ever, with interrupts off or on (INTERRUPTS); receipt-1 and receipt-2 spin
# for the lock on CPUs 2 and 3, the second in the queue behind the first. The soft-lockup detector ends it.
act() { # act NAME CPU WORDS: a process of this name, on this CPU, that writes WORDS to the driver
    printf '#!/bin/sh\nprintf "%%s" "%s" > /proc/kernlab_shop\n' "$3" > "/bin/$1"
    chmod +x "/bin/$1"
    taskset $((1 << $2)) "/bin/$1" &
}
prepare() {
    apps
    insmod /modules/kernlab_shop.ko
    taskset -p 1 $$ > /dev/null
    echo 5 > /proc/sys/kernel/watchdog_thresh
    word="till deaf"; [ "$INTERRUPTS" = off ] || word=till
    act till 1 "$word"; till=$!; story "till ($!) will hold till_lock on CPU 1 and spin, interrupts $INTERRUPTS"
    act receipt-1 2 "receipt 200"; story "receipt-1 ($!) will spin for till_lock on CPU 2"
    act receipt-2 3 "receipt 700"; story "receipt-2 ($!) will spin for till_lock on CPU 3, behind receipt-1"
    innocent="$innocent,receipt-1,receipt-2,receipt_print"
    caller=till_open; [ "$INTERRUPTS" != off ] || caller=till_open_deaf
    verdict finding="lock not released" either="soft lockup" also="soft lockup,RCU stall" pid=$till comm=till module=kernlab_shop function=count_up callers=$caller subject=till_lock
    sleep 2
}
die() {
    echo 1 > /proc/sys/kernel/softlockup_panic
    echo go > /proc/kernlab_shop
    sleep 120
}
