# A driver forgets one session after the other (slab story_session), a program grabs memory; at the end there is none left.
prepare() {
    apps
    echo 2 > /proc/sys/vm/panic_on_oom
    insmod /modules/kernlab_story.ko
    story "the leak begins"
    actors hog reporting "$HOG_MIB" & hog=$!
    i=0
    while [ $i -lt "$LEAK_STEPS" ]; do
        echo "leak $LEAK_SIZE" > /proc/kernlab_story
        i=$((i + 1)); sleep 0.2
    done
    echo "leaking 20" > /proc/kernlab_story
    story "$((LEAK_STEPS * LEAK_SIZE)) sessions were leaked; from now on 20 more every tenth of a second"
    verdict finding="out of memory" pid=$hog comm=reporting subject=reporting also="memory leak"
}
die() { kill -USR1 $hog; }
