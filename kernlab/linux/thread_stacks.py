"""How large a thread's kernel stack is."""

from __future__ import annotations

from kernlab.core.kernel import Kernel

#: No stack is larger than this: the largest are of two 64 KiB pages, or of 64 KiB with KMSAN.
_LARGEST = 1 << 20


def thread_size(kernel: Kernel) -> int:
    """THREAD_SIZE in bytes: 16 KiB on x86-64, twice as much with KASAN; 0 where nothing tells, reported as a loss.

    The types say it, or the first task's stack does, which is linked in as large (include/asm-generic/vmlinux.lds.h,
    INIT_TASK_DATA).
    """
    start = kernel.symbols.get("init_stack")
    # Since v6.10 its end has the stack's name, not the task's.
    end = kernel.symbols.get("__end_init_stack") or kernel.symbols.get("__end_init_task")
    whole = kernel.types.get("union thread_union")
    alike = [kernel.types.get(name) for name in kernel.arch.stack_types]
    sizes = (
        whole.size if whole is not None else 0,
        end - start if start is not None and end is not None else 0,
        *(kind.size for kind in alike if kind is not None),
    )
    for size in sizes:
        if kernel.page_size <= size <= _LARGEST and not size & (size - 1):
            return size
    kernel.lost("the size of kernel stacks is not known: neither the types nor init_stack give it")
    return 0
