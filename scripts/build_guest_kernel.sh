#!/bin/sh
# A kernel for guests of the lab, with options that no package of Debian has: from Debian's source, trimmed to what a
# guest needs (serial console, virtio, ext4, kexec and kdump, BTF, kallsyms, relay, tracing), all of it built in.
#
#   scripts/build_guest_kernel.sh FOLDER SOURCE.tar.xz CONFIG [OPTION=y|n …]
#   kernlab lab run panic --kernel FOLDER/linux
#
#   SOURCE   /usr/src/linux-source-6.12.tar.xz of the package linux-source-6.12
#   CONFIG   /boot/config-…-cloud-amd64 of a linux-image package of the same series, from which it starts
#   OPTION   UNWINDER_FRAME_POINTER=y where none is given: stacks are unwound by frame pointers
#
# Needs gcc, make, flex, bison, bc, libelf-dev, libssl-dev, dwarves (pahole) and 8 GB. An hour of one CPU.
set -eu

[ $# -ge 3 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2; }
folder=$1 source=$(realpath "$2") config=$(realpath "$3")
shift 3
[ $# -gt 0 ] || set -- UNWINDER_ORC=n UNWINDER_FRAME_POINTER=y

mkdir -p "$folder/linux"
[ -e "$folder/linux/Makefile" ] || tar -xf "$source" -C "$folder/linux" --strip-components 1
cd "$folder/linux"
cp "$config" .config

built_in="VIRTIO VIRTIO_PCI VIRTIO_BLK EXT4_FS CRYPTO_CRC32C OVERLAY_FS BLK_DEV_IO_TRACE DEBUG_FS RELAY PACKET UNIX
FW_CFG_SYSFS IKCONFIG SERIAL_8250_CONSOLE"
# Keys that only Debian has, and what is large but no story of the lab asks for it.
left_out="MODULE_SIG MODVERSIONS MODULE_COMPRESS INTEGRITY SECURITY BPF_LSM KEYS KEXEC_SIG SYSTEM_TRUSTED_KEYRING
SYSTEM_BLACKLIST_KEYRING DRM FB SOUND WIRELESS WLAN BT XEN HYPERV INFINIBAND SCSI MD ATA USB_SUPPORT HID_SUPPORT
MEDIA_SUPPORT ETHERNET PHYLIB NETWORK_FILESYSTEMS FUSE_FS BTRFS_FS XFS_FS F2FS_FS NETFILTER XFRM IPV6 MPTCP MPLS DCB
NET_SCHED NETLABEL XDP_SOCKETS LWTUNNEL TIPC CAN KVM VIRTUALIZATION NVME_CORE IOMMU_SUPPORT EFI HIBERNATION SUSPEND
X86_SGX X86_MCE X86_CPU_RESCTRL MICROCODE CPU_FREQ THERMAL HWMON I2C SPI MMC IIO POWER_SUPPLY REGULATOR NEW_LEDS
TCG_TPM RAS EDAC CXL_BUS LIBNVDIMM DAX WATCHDOG HW_RANDOM CONNECTOR DAMON KFENCE LIVEPATCH FS_ENCRYPTION FS_VERITY
QUOTA NLS UNICODE PSTORE IA32_EMULATION STAGING CHROME_PLATFORMS X86_PLATFORM_DEVICES SURFACE_PLATFORMS"
for option in $built_in; do scripts/config --enable "$option"; done
for option in $left_out; do scripts/config --disable "$option"; done
scripts/config --set-str SYSTEM_TRUSTED_KEYS "" --set-str SYSTEM_REVOCATION_KEYS "" --set-str BUILD_SALT ""
scripts/config --set-str LOCALVERSION "-kernlab" --disable LOCALVERSION_AUTO --set-val NR_CPUS 64
for option in "$@"; do
    case $option in
        *=y) scripts/config --enable "${option%=y}" ;;
        *=n) scripts/config --disable "${option%=n}" ;;
        *) echo "An option is NAME=y or NAME=n, not $option" >&2; exit 2 ;;
    esac
done
# No module but those that are built in: a guest's RAM disk stays small.
printf 'Module Size Used by\n' > no-modules
yes "" | make LSMOD=no-modules localmodconfig > /dev/null
make olddefconfig > /dev/null
for option in "$@"; do
    case $option in
        *=y) grep -q "^CONFIG_$option" .config ;;
        *=n) ! grep -q "^CONFIG_${option%=n}=[ym]" .config ;;
    esac || { echo "This kernel cannot have $option with what else is set" >&2; exit 1; }
done
nice -n 19 make -j"$(nproc)" bzImage modules
echo "Built $(cat include/config/kernel.release): kernlab lab run panic --kernel $PWD"
