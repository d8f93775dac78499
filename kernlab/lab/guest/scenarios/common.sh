# What every story has beside its own: a few programs that sleep, and tracing of the disk where asked for.
apps() {
    actors app accounts 3 4 & actors app mailer 1 2 & actors app indexer 5 1 & actors app cron 1 0 &
    sleep 1000000 &
}
tracing=/sys/kernel/tracing
trace_disk() { # trace_disk SUBBUF_KIB SUBBUFS: blktrace of vda, its files in /tmp
    mkdir -p /tmp/blk
    blktrace -d /dev/vda -b "$1" -n "$2" -D /tmp/blk > /tmp/blktrace.log 2>&1 &
    blktrace=$!
    tries=0
    while [ ! -e /sys/kernel/debug/block/vda/trace0 ]; do
        tries=$((tries + 1)); [ $tries -lt 50 ] || { cat /tmp/blktrace.log; return 1; }
        sleep 0.2
    done
}
# What a right verdict on this capture says, into verdict.json of the truth: verdict KEY=VALUE …, lists with commas.
#   finding   what the machine died of; either: what is as right in its place; also: what is true beside it
#   pid comm  whose fault it is; module function: the driver's, where it is to blame; callers: as right as function
#   subject   the disk, cache, cgroup, lock …; innocent: who and what must not be accused; before: what was over by then
innocent="accounts,mailer,indexer,cron" before=""
json_text() { if [ -n "$1" ]; then printf '"%s"' "$1"; else printf null; fi; }
json_list() { printf '['; printf %s "$1" | sed 's/^,*//; s/,*$//; s/[^,][^,]*/"&"/g; s/,/, /g'; printf ']'; }
verdict() {
    local finding="" pid="" comm="" module="" function="" callers="" subject="" also="" either=""
    local "$@"
    {
        printf '{"finding": %s, "pid": %s, ' "$(json_text "$finding")" "${pid:-null}"
        printf '"comm": %s, "module": %s, ' "$(json_text "$comm")" "$(json_text "$module")"
        printf '"function": %s, "callers": %s, ' "$(json_text "$function")" "$(json_list "$callers")"
        printf '"subject": %s, "also": %s, ' "$(json_text "$subject")" "$(json_list "$also")"
        printf '"either": %s, "before": %s, ' "$(json_list "$either")" "$(json_list "$before")"
        printf '"innocent": %s}\n' "$(json_list "$innocent")"
    } > /host/out/verdict.json
}
pid_of() { # pid_of COMM: of the first task of this name, kernel threads too
    for comm_file in /proc/[0-9]*/comm; do
        if [ "$(cat "$comm_file" 2> /dev/null)" = "$1" ]; then comm_file=${comm_file#/proc/}; echo "${comm_file%/comm}"; return; fi
    done
}
# Memory cgroups below top: group NAME FILE=VALUE … makes one and sets its files, within NAME COMMAND … runs it there.
top=/sys/fs/cgroup
group() {
    mkdir -p "$top/$1"; name=$1; shift
    for setting in "$@"; do echo "${setting#*=}" > "$top/$name/${setting%%=*}" || return 1; done
}
within() {
    name=$1; shift
    sh -c 'echo $$ > "$0/cgroup.procs"; exec "$@"' "$top/$name" "$@"
}
told() { # told NAME WORDS: a process of this name that writes WORDS to the driver kernlab_mill, and sleeps if it comes back
    printf '#!/bin/sh\nprintf %%s "%s" > /proc/kernlab_mill\nread -r line < /tmp/never\n' "$2" > "/bin/$1"
    chmod +x "/bin/$1"
    "/bin/$1" &
}
# What was amiss before, and has nothing to do with the end: DECOYS names some of warn (the driver warned), kill (a memory
# cgroup's OOM killer struck), mutex (three take a lock in turn), sleepers (tasks in D), large (a process that takes much).
# DEEP=0: none of those in D sleeps for good (where the hung-task detector is to find another).
decoys() {
    [ -n "$DECOYS" ] || return 0
    [ -p /tmp/never ] || mkfifo /tmp/never
    for decoy in $DECOYS; do
        case $decoy in
            warn)
                told weigher scales; innocent="$innocent,weigher,scales_read" before="$before,warning"
                story "weigher ($!) made the driver warn in scales_read; it went on, and has nothing to do with the end" ;;
            kill)
                echo "+memory" > $top/cgroup.subtree_control
                group nightly memory.max=12M || return 1
                within nightly actors hog import 30 &
                wait $!
                grep -q '^oom_kill [1-9]' $top/nightly/memory.events || return 1
                innocent="$innocent,import,nightly" before="$before,memory cgroup out of memory"
                story "import was killed in the memory cgroup nightly, which has nothing to do with the end" ;;
            mutex)
                for number in 1 2 3; do told porter-$number belt; innocent="$innocent,porter-$number"; done
                innocent="$innocent,belt_turn,belt_lock"
                story "porter-1, porter-2 and porter-3 take belt_lock in turn, and each gets it" ;;
            sleepers)
                echo "sleepers ${DEEP:-1}" > /proc/kernlab_mill
                innocent="$innocent,mistd,frostd,mist_thread,frost_thread"
                story "kernel threads mistd and frostd sleep in D, nobody waits for them" ;;
            large)
                actors app archive 1 "$LARGE_MIB" & innocent="$innocent,archive"
                story "archive ($!) holds $LARGE_MIB MiB, and always did" ;;
            *) return 1 ;;
        esac
    done
    sleep 20
}
