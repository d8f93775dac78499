# A process that holds what is known (programs/holder.c), part of it swapped out to zram by each of its algorithms.
# out/held.jsonl lists its pieces.
prepare() {
    apps
    mke2fs -q /dev/vda > /dev/null && mkdir -p /home /huge && mount -t ext2 /dev/vda /home || return 1
    echo 2 > /proc/sys/vm/nr_hugepages; mount -t hugetlbfs none /huge || return 1
    if [ "$ZSWAP" != none ]; then
        dd if=/dev/zero of=/home/swapfile bs=1M count=24 2> /dev/null && mkswap /home/swapfile > /dev/null || return 1
        echo "$ZSWAP" > /sys/module/zswap/parameters/compressor && echo Y > /sys/module/zswap/parameters/enabled || return 1
        swapon /home/swapfile || return 1
    fi
    # The first swap area has the highest priority.
    number=0
    for algorithm in $ALGORITHMS; do
        [ -e /sys/block/zram$number ] || cat /sys/class/zram-control/hot_add > /dev/null || return 1
        # Which there are depends on how the kernel was built.
        grep -qw "$algorithm" /sys/block/zram$number/comp_algorithm || { story "no $algorithm"; continue; }
        echo "$algorithm" > /sys/block/zram$number/comp_algorithm || { story "$algorithm does not work"; continue; }
        echo "${ZRAM_KIB}K" > /sys/block/zram$number/disksize || return 1
        mkswap /dev/zram$number > /dev/null && swapon /dev/zram$number || return 1
        number=$((number + 1))
    done
    (cd /home && PLACE=orchard LEFT= PLACE=cellar TREES="apple=3 pear=4" exec holder keep "$LEDGER_MIB" "a word and another" "") > /tmp/held 2>&1 &
    holder=$!
    tries=0
    until grep -q kept /tmp/held; do tries=$((tries + 1)); [ $tries -lt 200 ] || { cat /tmp/held; return 1; }; sleep 0.2; done
    cat /tmp/held > /host/out/held.jsonl
    for disk in /sys/block/zram*; do story "$disk $(cat $disk/comp_algorithm) $(cat $disk/mm_stat)"; done
}
die() { echo c > /proc/sysrq-trigger; }
