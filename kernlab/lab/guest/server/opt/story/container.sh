# Inside the namespaces of ctr.service: the overlay becomes the root, and two programs run in it.
mount -t overlay overlay -o lowerdir=/srv/ct/lower,upperdir=/srv/ct/layers/upper,workdir=/srv/ct/layers/work /srv/ct/merged || exit 1
cd /srv/ct/merged && mkdir -p proc old tmp dev && : > dev/null && mount --bind /dev/null dev/null || exit 1
mount -t proc proc proc && mount -t tmpfs -o size=4m ctr-tmp tmp || exit 1
hostname ctr
pivot_root . old && /bin/busybox umount -l /old || exit 1
exec /bin/busybox chroot . /bin/busybox sh -c 'cd /tmp; echo "of the container" > ctr-tmpfile; echo written > /written-through
    /bin/busybox httpd -f -p 127.0.0.1:8080 & exec /bin/actors app ctr-app 3 6 < /tmp/ctr-tmpfile'
