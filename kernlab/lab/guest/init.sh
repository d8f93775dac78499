#!/bin/sh
# Process 1 of the lab's guests, in the first kernel and in the crash kernel alike.
# It talks to the lab over the second serial port, one line a message ("KERNLAB word rest"), and takes "go" as answer.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/ TERM=dumb
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec < /dev/console > /dev/console 2>&1
# arm64's serial ports have names of their own.
export port=/dev/ttyS1
[ ! -c /dev/ttyAMA1 ] || port=/dev/ttyAMA1
stty -F $port raw -echo 115200
say() { echo "KERNLAB $*" > $port; }
# Without -n it would write back every disk first, and a story's may answer no more.
fail() { say failed "$*"; sleep 5; poweroff -n -f; }
ask() { exec 8<> $port; echo "KERNLAB $*" >&8; read -r answer <&8; exec 8>&-; }

while read -r module; do
    insmod "/modules/$module" || fail "kernel module $module does not load"
done < /modules/order

# The disk with the lab's own files and for what comes back.
tries=0
while [ ! -b /dev/vdb ]; do
    tries=$((tries + 1)); [ $tries -lt 100 ] || fail "the disk /dev/vdb did not appear"
    sleep 0.2
done
mount -t ext4 /dev/vdb /host || fail "the disk /dev/vdb cannot be mounted"

if [ -e /proc/vmcore ]; then
    . /crash.sh
fi

say booted "$(uname -r)"
mount -t tmpfs -o size=50% tmpfs /tmp
mount -t debugfs debug /sys/kernel/debug
[ -d /sys/kernel/tracing ] && mount -t tracefs tracing /sys/kernel/tracing
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
hostname kernlab-guest
. /host/boot/settings

# kexec asks for the symbol _text, which kernels of arm64 without KALLSYMS_ALL (Debian's to 6.1) do not list: it is the
# segment's start, 64 KiB before _stext (arch/arm64/kernel/vmlinux.lds.S).
tell_text() {
    [ -c /dev/ttyAMA1 ] && ! grep -q ' _text$' /proc/kallsyms || return 0
    stext=$(awk '$3 == "_stext" {print $1; exit}' /proc/kallsyms)
    { printf '%x T _text\n' $((0x$stext - 0x10000)); cat /proc/kallsyms; } > /tmp/kallsyms
    mount --bind /tmp/kallsyms /proc/kallsyms
}

arm() {
    tell_text
    # The loader of either kind: Debian signs its kernels, but a guest without Secure Boot asks for no signature.
    for kind in -s -c; do
        kexec $kind -p /host/boot/vmlinuz --initrd=/host/boot/crash.cpio --command-line="$CRASH_CMDLINE" && break
    done
    [ ! -e /tmp/kallsyms ] || { umount /proc/kallsyms && rm /tmp/kallsyms; }
    [ "$(cat /sys/kernel/kexec_crash_loaded)" = 1 ] || fail "kexec could not load the crash kernel"
}

# The results disk only: a story's disk may never answer.
keep() { sync -f /host/out; }
story() { echo "$(cut -d ' ' -f 1 /proc/uptime) $*" >> /tmp/story; }
truth() {
    story truth
    truthtar /host/out/truth.tar $TRUTH_FLAGS || fail "the truth could not be taken: is the disk full?"
    keep
}

if [ "$CRASH" = 1 ]; then arm; say armed "$(cat /sys/kernel/kexec_crash_size)"; fi
after() { :; }
. "/host/boot/scenario"
prepare || fail "the scenario could not be prepared"
say prepared
[ "$SETTLE" = 0 ] || sleep "$SETTLE"
truth
say truth "$(wc -c < /host/out/truth.tar)"
if [ "$PAUSE" = 1 ]; then
    mkdir -p /host/out/after
    before_pause 2> /dev/null
    keep
    ask pause
    after
    story after
    cp /tmp/story /host/out/story
    keep; umount /host || mount -o remount,ro /host
    say finished
    sleep 1
    poweroff -n -f
fi
cp /tmp/story /host/out/story
keep
# The crash kernel mounts this disk again: nothing of it may be half-written.
umount /host || mount -o remount,ro /host || fail "the results disk is busy"
say dying
die
sleep 600
fail "the scenario did not kill the kernel"
