# Half of the machine's memory is free, and no two free pages lie side by side: carpenter wants tables of 16 pages in one
# piece. The allocation fails, and the driver panics for want of it.
prepare() {
    apps
    insmod /modules/kernlab_mill.ko || return 1
    mkfifo /tmp/bell /tmp/never
    printf '#!/bin/sh\nread -r line < /tmp/bell\nprintf table > /proc/kernlab_mill\n' > /bin/carpenter
    chmod +x /bin/carpenter
    /bin/carpenter & carpenter=$!
    decoys || return 1
    echo crumble > /proc/kernlab_mill || return 1
    story "the driver took nearly all free pages and gave every other one back"
    story "carpenter ($carpenter) will want 16 pages in one piece; kernlab_mill panics where there are none"
    verdict finding="fragmentation" pid=$carpenter comm=carpenter module=kernlab_mill function=table_lay also="panic"
}
die() { echo table > /tmp/bell; sleep 120; }
