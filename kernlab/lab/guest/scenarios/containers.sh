# What engines make of a machine: containers by the names of docker, podman, Kubernetes, LXC and systemd in nested cgroups:
# one at its limit of CPU, one that the OOM killer struck, one that may have no more processes, one frozen, one on a slow
# leash at the disk, one removed and not gone. LAYOUT=legacy puts the controllers into hierarchies of version 1.
top=/sys/fs/cgroup v1=/tmp/v1
docker=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
podman=fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210
burst=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
struck=ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100
set_all() { # set_all FOLDER FILE=VALUE …
    folder=$1; shift
    for setting in "$@"; do echo "${setting#*=}" > "$folder/${setting%%=*}" || { echo "$folder: $setting"; return 1; }; done
}
group() { # group NAME FILE=VALUE …: make it with all above it, which hand their controllers down, and set its files
    path=$top
    for part in $(echo "$1" | tr / ' '); do
        echo "$controllers" > "$path/cgroup.subtree_control" || return 1
        path=$path/$part; mkdir -p "$path"
    done
    shift; set_all "$path" "$@"
}
into() { # into FOLDER COMMAND …: run it there
    folder=$1; shift
    sh -c 'echo $$ > "$0/cgroup.procs"; exec "$@"' "$folder" "$@"
}
old() { # old NAME CONTROLLERS: mount a hierarchy of version 1
    mkdir -p "$v1/$1" && mount -t cgroup -o "$2" "$1" "$v1/$1"
}
unified() {
    controllers="+cpu +io +memory +pids +cpuset"
    engine=system.slice/docker-$docker.scope
    pod=kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod11111111_2222_3333_4444_555555555555.slice
    web=$pod/cri-containerd-$burst.scope
    import=$pod/cri-containerd-$struck.scope
    boxed=machine.slice/libpod-$podman.scope
    group "$engine" memory.max=24M memory.swap.max=0 "cpu.max=20000 100000" pids.max=12 cpuset.cpus=1 || return 1
    group "$web" memory.max=16M memory.min=1M cpu.weight=39 || return 1
    group "$import" memory.max=12M memory.oom.group=1 || return 1
    group "$boxed" memory.high=6M "io.max=$(cat /sys/block/vda/dev) rbps=2097152 wiops=40" || return 1
    group system.slice/web.service memory.low=2M cpu.weight=300 pids.max=100 || return 1
    group system.slice/paused.service && group system.slice/gone.service || return 1
    group user.slice/user-1000.slice/session-3.scope && group lxc.payload.mail && group batch/night cpuset.mems=0 || return 1
    into $top/$engine actors container dockerd-shim shop-7f 3 &
    into $top/$web actors container pause web-5d 2 &
    into $top/system.slice/web.service actors app nginx 3 6 &
    into $top/system.slice/paused.service actors app paused 2 1 &
    into $top/user.slice/user-1000.slice/session-3.scope su -s /bin/sh guest -c 'exec unshare -U -r sleep 1000000' &
    into $top/lxc.payload.mail actors container lxc-start mail 1 &
    into $top/$boxed actors app conmon 1 1 &
    into $top/batch/night actors spin endless 0 &
    sleep 1
    into $top/$engine actors spin throttled 1500
    into $top/$engine actors forks many 40 &
    exec 9< /dev/vda
    into $top/$boxed dd if=/dev/vda of=/dev/null bs=64k count=48 iflag=direct
    into $top/$boxed dd if=/dev/vda of=/dev/null bs=64k skip=400 count=300
    into $top/system.slice/gone.service dd if=/dev/vda of=/dev/null bs=64k skip=700 count=32
    rmdir $top/system.slice/gone.service || return 1
    story "system.slice/gone.service was removed; its page cache keeps it"
    into $top/$import actors app importer 1 1 &
    into $top/$import actors hog glutton 40 & wait $!
    grep -q '^oom_kill [1-9]' "$top/$import/memory.events" || return 1
    echo 1 > $top/system.slice/paused.service/cgroup.freeze
}
legacy() {
    old memory memory && old cpu cpu,cpuacct && old pids pids && old blkio blkio && old cpuset cpuset || return 1
    for name in memory cpu pids blkio cpuset; do mkdir -p $v1/$name/docker/$docker $v1/$name/kubepods/burstable/pod11111111-2222-3333-4444-555555555555/$burst; done
    set_all $v1/cpuset/docker cpuset.mems=0 cpuset.cpus=0-1 && set_all $v1/cpuset/docker/$docker cpuset.mems=0 cpuset.cpus=1 || return 1
    set_all $v1/memory/docker/$docker memory.limit_in_bytes=24M && set_all $v1/memory/docker memory.soft_limit_in_bytes=20M || return 1
    set_all $v1/cpu/docker/$docker cpu.cfs_period_us=100000 cpu.cfs_quota_us=20000 cpu.shares=512 && set_all $v1/pids/docker/$docker pids.max=12 || return 1
    set_all $v1/blkio/docker/$docker "blkio.throttle.read_bps_device=$(cat /sys/block/vda/dev) 2097152" || return 1
    pod=kubepods/burstable/pod11111111-2222-3333-4444-555555555555/$burst
    set_all $v1/memory/$pod memory.limit_in_bytes=16M || return 1
    sh -c "for name in memory cpu pids blkio cpuset; do echo \$\$ > $v1/\$name/docker/$docker/cgroup.procs; done; exec actors container dockerd-shim shop-7f 3" &
    sh -c "for name in memory cpu pids blkio; do echo \$\$ > $v1/\$name/$pod/cgroup.procs; done; exec actors container pause web-5d 2" &
    sleep 1
    into $v1/cpu/docker/$docker actors spin throttled 1500
    into $v1/pids/docker/$docker actors forks many 40 &
    exec 9< /dev/vda
    into $v1/blkio/docker/$docker dd if=/dev/vda of=/dev/null bs=64k count=48 iflag=direct
    into $v1/memory/$pod actors hog glutton 40 & wait $!
    mkdir -p $v1/memory/gone && into $v1/memory/gone dd if=/dev/vda of=/dev/null bs=64k skip=700 count=32
    rmdir $v1/memory/gone || return 1
}
prepare() {
    apps
    mkdir -p $v1
    old ledger none,name=ledger && old net_cls net_cls,net_prio && old freezer freezer || return 1
    mkdir -p $v1/ledger/books/old $v1/net_cls/marked $v1/freezer/winter/deep
    echo 0x100001 > $v1/net_cls/marked/net_cls.classid
    into $v1/ledger/books/old actors app bookkeeper 2 1 &
    into $v1/net_cls/marked actors app marked 1 1 &
    into $v1/freezer/winter/deep actors app asleep 1 1 &
    sleep 1
    echo FROZEN > $v1/freezer/winter/freezer.state
    "$LAYOUT" || return 1
    # Counters of pressure are brought up to date every two seconds, and what ran must have come to rest.
    sleep 5
}
die() { story "sysrq c"; echo c > /proc/sysrq-trigger; }
