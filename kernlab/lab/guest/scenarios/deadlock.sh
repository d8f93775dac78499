# checkout and refund take the same two mutexes, each the other's first; import and reprice a rwsem and a mutex. Others
# wait behind them. The story says who holds what and wants what, DIE how it ends: hung (the hung-task detector) or sysrq.
act() { # act NAME WORDS: a process of this name that writes its name to the driver, and what the story says of it
    printf '#!/bin/sh\nprintf %%s %s > /proc/kernlab_shop\n' "$1" > "/bin/$1"
    chmod +x "/bin/$1"
    "/bin/$1" &
    story "$1 ($!) $2"
    acting="$acting $!"
}
asleep() { # Do all that act wait in the kernel?
    for pid in $acting; do read -r _ _ state _ < "/proc/$pid/stat"; [ "$state" = D ] || return 1; done
}
until_asleep() {
    tries=0
    while ! asleep; do tries=$((tries + 1)); [ $tries -lt 100 ] || return 1; sleep 0.2; done
}
prepare() {
    apps
    echo 0 > /proc/sys/kernel/hung_task_timeout_secs
    insmod /modules/kernlab_shop.ko
    act checkout "holds mutex stock_lock, wants mutex ledger_lock"
    act refund "holds mutex ledger_lock, wants mutex stock_lock"
    act import "holds rwsem catalog_sem for writing, wants mutex price_lock"
    act reprice "holds mutex price_lock, wants rwsem catalog_sem for reading"
    act cart "holds rwsem shop_basket.lock for reading, wants mutex stock_lock"
    until_asleep || return 1
    act invoice "holds nothing, wants mutex ledger_lock"
    act search "holds nothing, wants rwsem catalog_sem for reading"
    act sweep "holds nothing, wants rwsem shop_basket.lock for writing"
    until_asleep || return 1
    echo go > /proc/kernlab_shop
    sleep 1
    # Two circles of two; whichever of the four is named is right.
    innocent="$innocent,invoice,search,sweep,cart"
    also="hung task" finding=deadlock
    [ "$DIE" = hung ] || { finding=sysrq; also=deadlock; }
    verdict finding="$finding" also="$also" module=kernlab_shop function=checkout_pay \
        callers="refund_pay,catalog_import,catalog_reprice" subject="stock_lock"
    until_asleep
}
die() {
    [ "$DIE" = hung ] || echo c > /proc/sysrq-trigger
    echo 1 > /proc/sys/kernel/hung_task_panic
    echo 10 > /proc/sys/kernel/hung_task_timeout_secs
    sleep 120
}
