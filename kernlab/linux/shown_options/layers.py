"""Options of file systems upon others, and of those that programs serve: overlay, FUSE."""

from __future__ import annotations

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.linux.shown_options.texts import number, rows_of, setting, valued
from kernlab.walk.strings import c_strings

_ON_OFF = ("off", "on")
_REDIRECT = ("off", "follow", "nofollow", "on")
_XINO = ("off", "auto", "on")
_UUID = ("off", "null", "auto", "on")
_VERITY = ("off", "on", "require")


def overlay(kernel: Kernel, block: StructArray, root: StructArray) -> list[str | None]:
    """fs/overlayfs/params.c, ovl_show_options (fs/overlayfs/super.c before Linux 6.5)."""
    info = block.follow("s_fs_info", to="struct ovl_fs")
    config = info.follow("config")
    lower = _lower(kernel, info, config)
    upper, work = (c_strings(kernel, config[name]).tolist() for name in ("upperdir", "workdir"))
    names = ("index", "nfs_export", "xino", "metacopy", "default_permissions")
    found = rows_of(config, *names)
    uuid, volatile, user, verity = (
        number(config, name) for name in ("uuid", "ovl_volatile", "userxattr", "verity_mode")
    )
    layout = number(info, "xino_mode")
    redirect = _redirect(kernel, config)
    texts: list[str | None] = []
    for number_, row in enumerate(found):
        if row is None or lower[number_] is None or redirect[number_] is None:
            texts.append(None)
            continue
        index, export, xino, metacopy, permissions = row
        text = lower[number_] or ""
        if upper[number_] is not None:
            text += valued("upperdir", upper[number_]) + valued("workdir", work[number_] or "")
        text += ",default_permissions" if permissions else ""
        text += redirect[number_] or ""
        text += _other("index", index, setting(kernel, "ovl_index_def"), _ON_OFF)
        text += _uuid(config, uuid[number_])
        text += _other("nfs_export", export, setting(kernel, "ovl_nfs_export_def"), _ON_OFF)
        # All layers on one file system (0) make the setting meaningless.
        if layout[number_]:
            text += _other("xino", xino, setting(kernel, "ovl_xino_auto_def"), _XINO)
        text += _other("metacopy", metacopy, setting(kernel, "ovl_metacopy_def"), _ON_OFF)
        text += ",volatile" if volatile[number_] else ""
        text += ",userxattr" if user[number_] else ""
        text += _other("verity", verity[number_] or 0, 0, _VERITY)
        texts.append(text)
    return texts


def _other(name: str, value: int, default: int, names: tuple[str, ...]) -> str:
    """An option that is not at its default."""
    if value == int(default):
        return ""
    return f",{name}={names[value] if value < len(names) else value}"


def _lower(kernel: Kernel, info: StructArray, config: StructArray) -> list[str | None]:
    # Linux commit 0cea4c097d97 ("ovl: modify layer parameter parsing") and those around it (in v6.5 and v6.7).
    if config.has("lowerdir"):
        return [
            None if path is None else valued("lowerdir", path)
            for path in c_strings(kernel, config["lowerdir"])
        ]
    texts: list[str | None] = []
    if not config.has("lowerdirs"):
        layers = info.follow("config")
        return [
            None if path is None else valued("lowerdir", path)
            for path in c_strings(kernel, layers["lowerdir_all"])
        ]
    for array, count, data in zip(
        config["lowerdirs"].filled(0).tolist(),
        number(info, "numlayer"),
        number(info, "numdatalayer"),
        strict=True,
    ):
        if not array or not count or not kernel.budget.holds(count, 8):
            texts.append(None)
            continue
        pointers, _ = kernel.words([array + 8 * place for place in range(count)])
        paths = c_strings(kernel, pointers).tolist()
        if paths[0] is not None:
            texts.append(valued("lowerdir", paths[0]))
        elif None in paths[1:]:
            texts.append(None)
        else:
            plain = len(paths) - (data or 0)
            texts.append(
                "".join(
                    valued("lowerdir+" if place < plain else "datadir+", path or "")
                    for place, path in enumerate(paths[1:], 1)
                )
            )
    return texts


def _redirect(kernel: Kernel, config: StructArray) -> list[str | None]:
    """redirect_dir=, of those that have it not as the module's parameters say."""
    on, always = setting(kernel, "ovl_redirect_dir_def"), setting(kernel, "ovl_redirect_always_follow")
    mode = config["redirect_mode"]
    if mode.kind == "address":
        # Text before Linux 6.5.
        default = "on" if on else "off"
        texts = c_strings(kernel, mode, 64).tolist()
        return [
            None if text is None else "" if text == default else f",redirect_dir={text}" for text in texts
        ]
    default_mode = 3 if on else 1 if always else 2
    return [
        None if value is None else _other("redirect_dir", value, default_mode, _REDIRECT)
        for value in mode.tolist()
    ]


def _uuid(config: StructArray, value: int | None) -> str:
    # Linux commit b0504bfe1b8a ("ovl: add support for unique fsid per instance") (in v6.6); a bool since v5.12.
    if not config.has("uuid"):
        return ""
    if isinstance(value, bool) or config["uuid"].kind == "bool":
        return "" if value else ",uuid=off"
    return _other("uuid", value or 0, 2, _UUID)


def fuse(kernel: Kernel, block: StructArray, root: StructArray) -> list[str | None]:
    """fs/fuse/inode.c, fuse_show_options."""
    mount = block.follow("s_fs_info", to="struct fuse_mount")
    connection = mount.follow("fc")
    blocks = rows_of(block, "s_bdev", "s_blocksize")
    texts: list[str | None] = []
    names = (
        "legacy_opts_show",
        "user_id.val",
        "group_id.val",
        "default_permissions",
        "allow_other",
        "max_read",
    )
    for row, device in zip(rows_of(connection, *names), blocks, strict=True):
        if row is None or device is None:
            texts.append(None)
            continue
        shown, user, group, permissions, other, most = row
        text = ""
        if shown:
            text = f",user_id={user},group_id={group}"
            text += ",default_permissions" if permissions else ""
            text += ",allow_other" if other else ""
            text += f",max_read={most}" if most != (1 << 32) - 1 else ""
            text += f",blksize={device[1]}" if device[0] and device[1] != 512 else ""
        texts.append(text)
    return texts
