/* raid DEVICE LEVEL DISKS MEMBER...: an md array without superblocks on its members, as mdadm --build makes it.
 *
 *   raid DEVICE fail MEMBER     a member is faulty from now on
 *   raid DEVICE add MEMBER      a spare, to which a degraded array is rebuilt
 *
 * A MEMBER "missing" leaves its place empty. DEVICE is /dev/mdN.
 */
#include <fcntl.h>
#include <linux/major.h>
#include <linux/types.h>
#include <linux/raid/md_u.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* include/uapi/linux/raid/md_p.h */
#define ACTIVE_AND_IN_SYNC ((1 << 1) | (1 << 2))
#define CHUNK (64 << 10)

static dev_t number_of(const char *path)
{
    struct stat found;

    if (stat(path, &found))
        exit(3);
    return found.st_rdev;
}

int main(int count, char **words)
{
    mdu_array_info_t array = {0};
    int device, member;
    const char *what;

    if (count < 4 || strncmp(words[1], "/dev/md", 7))
        return 2;
    what = words[2];
    mknod(words[1], S_IFBLK | 0600, makedev(MD_MAJOR, atoi(words[1] + 7)));
    device = open(words[1], O_RDWR);
    if (device < 0)
        return 4;
    if (!strcmp(what, "fail"))
        return ioctl(device, SET_DISK_FAULTY, (unsigned long)number_of(words[3])) ? 5 : 0;
    if (!strcmp(what, "add"))
        return ioctl(device, HOT_ADD_DISK, (unsigned long)number_of(words[3])) ? 6 : 0;
    array.level = atoi(what);
    array.raid_disks = atoi(words[3]);
    array.md_minor = atoi(words[1] + 7);
    array.not_persistent = 1;
    array.state = 1;
    array.chunk_size = array.level == 1 ? 0 : CHUNK;
    if (ioctl(device, SET_ARRAY_INFO, &array))
        return 7;
    for (member = 0; member + 4 < count; member++) {
        mdu_disk_info_t disk = {.number = member, .raid_disk = member, .state = ACTIVE_AND_IN_SYNC};
        dev_t number;

        if (!strcmp(words[member + 4], "missing"))
            continue;
        number = number_of(words[member + 4]);
        disk.major = major(number);
        disk.minor = minor(number);
        if (ioctl(device, ADD_NEW_DISK, &disk))
            return 8;
    }
    return ioctl(device, RUN_ARRAY, NULL) ? 9 : 0;
}
