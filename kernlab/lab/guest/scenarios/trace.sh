# Traces of every kind, unread, half read, overrun: blktrace, a driver's relay channels, ftrace instances.
events() { for event in sched kmem block; do echo 1 > "$1/events/$event/enable"; done; }
prepare() {
    apps
    insmod /modules/kernlab_story.ko relay=1
    trace_disk 4 4 || return 1
    dd if=/dev/vda of=/dev/null bs=4k count=120 iflag=direct 2> /dev/null
    sleep 1
    kill -STOP $blktrace
    # drop: half read, in the middle of a sub-buffer, on CPU 0; full and refusing on CPU 1. flight: lapped on CPU 0,
    # half read on CPU 1. global: one for all CPUs, read once, then lapped.
    tell() { taskset $((1 << $1)) sh -c "echo 'relay $2 $3' > /proc/kernlab_story"; }
    take() { dd if=/sys/kernel/debug/story/$1 of=/host/out/$1.read bs=$2 count=1 2> /dev/null; }
    tell 0 drop 70; tell 1 drop 200; tell 0 flight 1900; tell 1 flight 333; tell 0 global 30; tell 1 global 20
    take drop0 1234; take flight1 300; take global0 300
    tell 0 drop 10; tell 0 global 150; tell 1 global 90; tell 1 flight 7
    dd if=/dev/vda of=/dev/null bs=4k count=90 skip=500 iflag=direct 2> /dev/null
    # ftrace: the main buffer overruns, an instance is partly read, another holds markers only.
    echo 32 > $tracing/buffer_size_kb
    mkdir $tracing/instances/half $tracing/instances/marks
    echo 64 > $tracing/instances/half/buffer_size_kb
    events $tracing; events $tracing/instances/half
    echo 1 > $tracing/tracing_on; echo 1 > $tracing/instances/half/tracing_on
    dd if=/dev/vda of=/dev/null bs=4k count=50 skip=900 iflag=direct 2> /dev/null
    for i in 1 2 3 4 5 6 7 8; do echo "marker $i of the story" > $tracing/instances/marks/trace_marker; ls /modules > /dev/null; done
    echo 0 > $tracing/instances/half/tracing_on
    head -n 40 $tracing/instances/half/trace_pipe > /host/out/half.read
    story "instance half: 40 lines or more were read"
}
stop() { echo 0 > $tracing/tracing_on; for instance in $tracing/instances/*; do echo 0 > $instance/tracing_on; done; }
before_pause() { stop; }
after() {
    for channel in drop flight global; do
        for file in /sys/kernel/debug/story/$channel*; do cat $file > /host/out/after/story.${file##*/}; done
    done
    for file in /sys/kernel/debug/block/vda/trace*; do cat $file > /host/out/after/vda.${file##*/}; done
    cat /sys/kernel/debug/block/vda/dropped > /host/out/after/vda.dropped
    cat $tracing/trace > /host/out/after/ftrace.txt
    for instance in half marks; do cat $tracing/instances/$instance/trace > /host/out/after/ftrace.$instance.txt; done
    for cpu in 0 1; do cat $tracing/per_cpu/cpu$cpu/stats > /host/out/after/ftrace.stats.$cpu; done
    for cpu in 0 1; do cat $tracing/instances/half/per_cpu/cpu$cpu/stats > /host/out/after/ftrace.half.stats.$cpu; done
}
die() { stop; echo c > /proc/sysrq-trigger; }
