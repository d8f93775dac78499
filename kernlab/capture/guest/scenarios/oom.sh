# A driver forgets one session after the other (slab story_session), a program grabs memory; at the end there is none left.
prepare() {
    apps
    echo 2 > /proc/sys/vm/panic_on_oom
    insmod /modules/kernlab_story.ko
    story "leak begins"
    i=0
    while [ $i -lt "$LEAK_STEPS" ]; do
        echo "leak 4000" > /proc/kernlab_story
        i=$((i + 1)); sleep 0.1
    done
    echo "leaking 20" > /proc/kernlab_story
    story "leaked $((LEAK_STEPS * 4000)) sessions, and 20 more every tenth of a second"
    actors hog reporting "$HOG_MIB" & hog=$!
    sleep 2
}
die() { story "the hog goes on"; cp /tmp/story /host/out/story 2> /dev/null; kill -USR1 $hog; }
