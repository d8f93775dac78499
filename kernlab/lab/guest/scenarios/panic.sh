# Somebody asked for it: SysRq c.
prepare() { apps; trace_disk 4 4; dd if=/dev/vda of=/dev/null bs=4k count=200 iflag=direct 2> /dev/null; verdict finding=sysrq; }
die() { story "sysrq c"; echo c > /proc/sysrq-trigger; }
