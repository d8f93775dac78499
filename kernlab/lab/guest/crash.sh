# In the crash kernel: save /proc/vmcore in every way that was asked for (/host/boot/captures: a name, a way, makedumpfile's words).
say crashed "$(stat -c %s /proc/vmcore 2> /dev/null || echo 0)"
. /host/boot/settings
mount -t tmpfs -o size=90% tmpfs /tmp
export TMPDIR=/tmp
cd /host/out || fail "the results disk has no folder out"
while read -r name way words; do
    say saving "$name"
    case $way in
        file) makedumpfile $words /proc/vmcore "$name" > /tmp/log 2>&1 ;;
        stream) makedumpfile -F $words /proc/vmcore > "$name" 2> /tmp/log ;;
        split) makedumpfile --split $words /proc/vmcore "$name.0" "$name.1" "$name.2" > /tmp/log 2>&1 ;;
        copy) cat /proc/vmcore > "$name" 2> /tmp/log ;;
    esac
    status=$?
    # As kdump-tools does: makedumpfile to 1.7.8 knows no kernel of arm64 that was built for addresses of 52 bits.
    if [ $status != 0 ] && [ "$way" != split ] && grep -q 'VA Bits .* not supported' /tmp/log; then
        say note "makedumpfile does not know this kernel's page tables: $name is a plain copy"
        cat /proc/vmcore > "$name" 2> /tmp/log
        status=$?
    fi
    tail -n 20 /tmp/log
    if [ $status != 0 ]; then
        full=""; [ "$(df -m . | awk 'END {print $4}')" -gt 1 ] || full=" (the results disk is full)"
        fail "saving $name$full: status $status: $(tail -n 3 /tmp/log | tr '\r\n' '  ')"
    fi
done < /host/boot/captures
makedumpfile --dump-dmesg /proc/vmcore vmcore-dmesg.txt > /dev/null 2>&1 || say note "no log could be read from the vmcore"
if [ "$KEEP_PROC" = 1 ]; then
    mkdir -p crash-kernel; for file in cmdline iomem meminfo modules mounts; do cat /proc/$file > crash-kernel/$file; done
fi
cd /
umount /host || fail "the results disk cannot be written to its end"
say saved
sleep 1
reboot -n -f
