# Tasks asleep under every kind of probe that puts itself between a function and its caller, alone, nested and two at once.
probe() { # probe DEFINITION …: the first that the kernel takes; the story says which, and what it refused
    for definition in "$@"; do
        file=$tracing/kprobe_events
        case $definition in f:*) file=$tracing/dynamic_events ;; esac
        if echo "$definition" >> $file 2> /dev/null; then story "probe $definition"; return 0; fi
        story "refused $definition"
    done
    return 1
}
prepare() {
    apps
    insmod /modules/kernlab_story.ko
    # One alone; two of the same function; two functions, one called by the other; a function of a module; optimised jumps
    # behind the function's first instructions.
    probe "r32:story_nap hrtimer_nanosleep" || return 1
    probe "r32:story_wait1 do_wait" && probe "r32:story_wait2 do_wait" || return 1
    probe "r32:story_pipe pipe_read" "r32:story_pipe fifo_pipe_read" "r32:story_pipe anon_pipe_read" || return 1
    probe "r32:story_read vfs_read" || return 1
    probe "r32:story_order kernlab_story:order_place" && probe "r32:story_write vfs_write" || return 1
    probe "p:story_jump vfs_write+9" "p:story_jump vfs_write+5"
    probe "f:story_accept inet_accept%return" "f:story_accept inet_csk_accept%return"
    for event in $tracing/events/kprobes $tracing/events/fprobes; do
        [ -d $event ] && echo 1 > $event/enable
    done
    watcher eventfd_read > /tmp/watcher &
    # The graph of functions that sleep; order_place has a probe already.
    : > $tracing/set_ftrace_filter
    for pattern in schedule schedule_timeout 'ksys_*' 'vfs_*' do_nanosleep common_nsleep kernel_wait4 inet_csk_accept \
        'do_sys_poll' 'ep_poll' worker_thread kthread 'rcu_gp_*' msleep ':mod:kernlab_story'; do
        echo "$pattern" >> $tracing/set_ftrace_filter 2> /dev/null || story "refused $pattern"
    done
    echo function_graph > $tracing/current_tracer || return 1
    story "function_graph: $(wc -l < $tracing/set_ftrace_filter) functions"
    echo hold > /proc/kernlab_story
    mkfifo /tmp/pipe
    exec 7<> /tmp/pipe
    sleep 1000000 &
    cat <&7 > /dev/null &
    sh -c 'sleep 1000000; true' &
    nc -l -p 7777 > /dev/null 2>&1 &
    sleep 1
    actors order order-1 & actors order order-2 &
    # Tasks that slept before sleep anew, under the graph.
    dd if=/dev/vda of=/dev/null bs=64k count=20 2> /dev/null
    sleep 3
    while read -r line; do story "watcher $line"; done < /tmp/watcher
    mkdir -p /host/out/after
    cat /sys/kernel/debug/kprobes/list > /host/out/after/kprobes
    cat $tracing/enabled_functions > /host/out/after/enabled_functions 2> /dev/null
    cat $tracing/kprobe_profile > /host/out/after/kprobe_profile
}
die() { story "sysrq c"; echo c > /proc/sysrq-trigger; }
