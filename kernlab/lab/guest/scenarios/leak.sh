# The driver takes memory of one KIND (kmalloc, vmalloc, percpu) and forgets it, until there is none: panic_on_oom.
prepare() {
    apps
    insmod /modules/kernlab_mill.ko || return 1
    decoys || return 1
    echo "keep $KIND $LEAK_MIB" > /proc/kernlab_mill || return 1
    story "kernlab_mill took $LEAK_MIB MiB of $KIND memory in crumbs_keep and forgot it; a kernel thread kept will take the rest"
    case $KIND in
        vmalloc) finding="vmalloc leak" ;;
        percpu) finding="per-CPU memory" ;;
        *) finding="slab leak" subject=kmalloc-4k ;;
    esac
    verdict finding="$finding" module=kernlab_mill function=crumbs_keep subject="$subject" also="out of memory"
}
die() {
    echo 2 > /proc/sys/vm/panic_on_oom
    echo "keeping $KIND" > /proc/kernlab_mill
    sleep 180
}
