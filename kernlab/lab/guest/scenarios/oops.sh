# A NULL pointer followed by a driver, in the context of the process "billing".
prepare() {
    apps; insmod /modules/kernlab_story.ko; echo "leak 50" > /proc/kernlab_story; echo 1 > /proc/sys/kernel/panic_on_oops
    verdict finding="null dereference" pid=$$ comm=billing module=kernlab_story function=order_check
}
die() { printf billing > /proc/self/comm; echo oops > /proc/kernlab_story; }
