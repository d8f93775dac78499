"""Would a crash of this machine leave a dump? kdump's kernel, its memory, its initramfs and where it saves."""
