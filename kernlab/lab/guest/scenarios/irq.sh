# A kernel that fails outside of any process, on CPU 0. WHERE: hardirq (a timer's interrupt), softirq (a timer on the
# way out of one), tasklet (the softirqs of a process that enables them), nmi (the lab's, unknown_nmi_panic). HOW: oops or
# panic. UNDER: what is interrupted, billing in the kernel or in user mode, or the idle CPU.
prepare() {
    apps
    insmod /modules/kernlab_shop.ko
    taskset -p 2 $$ > /dev/null
    mkfifo /tmp/bell
    {
        echo '#!/bin/sh'
        echo 'read -r line < /tmp/bell'
        [ "$WHERE" = nmi ] || echo "echo alarm $WHERE $HOW > /proc/kernlab_shop"
        case $UNDER in
            kernel) echo 'echo count > /proc/kernlab_shop' ;;
            user) echo 'while :; do :; done' ;;
            idle) echo 'read -r line < /tmp/bell' ;;
        esac
    } > /bin/billing
    chmod +x /bin/billing
    taskset 1 /bin/billing &
    story "billing ($!) will be on CPU 0 when its $WHERE fails ($HOW), under it: $UNDER"
    echo 1 > /proc/sys/kernel/unknown_nmi_panic
    innocent="$innocent,billing,bills_count"
    finding="null dereference" also=""
    [ "$HOW" != panic ] || finding=panic
    if [ "$WHERE" = nmi ]; then
        verdict finding=NMI also=panic subject=NMI
    else
        verdict finding="$finding" module=kernlab_shop function=bill_print callers="ring_hard,ring_soft,ring_tasklet"
    fi
    sleep 1
}
die() {
    echo ring > /tmp/bell
    [ "$WHERE" != nmi ] || { sleep 3; say nmi; }
    sleep 120
}
