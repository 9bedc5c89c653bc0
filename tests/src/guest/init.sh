#!/bin/bash
# First process of a guest: gives it a root that it may write to, a network, and runs the scripts that the host sends.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t proc proc /proc
lab=$(sed 's/.*ferry_lab=\([^ ]*\).*/\1/' /proc/cmdline)
. "$lab/environment"
modules=/usr/lib/uml/modules/$(uname -r)

# The host's files, read only, below a layer in memory that takes every change.
insmod "$modules/kernel/fs/overlayfs/overlay.ko"
mount -t tmpfs -o size=80% layer /mnt
mkdir /mnt/changes /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/changes,workdir=/mnt/work root /mnt/root || exec poweroff -f
cd /mnt/root || exec poweroff -f
mkdir -p .host
mount --move /proc proc
# Also the kernel's own helpers, such as the one that loads modules, see the new root from here on.
pivot_root . .host
cd /
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
for place in /dev/shm /run /tmp; do mount -t tmpfs memory $place; done
chmod 1777 /tmp /dev/shm
mkdir -p /run/lock /run/rpcbind /lib/modules /mnt/a /mnt/b /lab
ln -sfn "$modules" "/lib/modules/$(uname -r)"
mount -t hostfs -o "$lab" lab /lab

hostname "guest$GUEST"
echo "127.0.0.1 localhost guest$GUEST" >/etc/hosts
echo "$SERVER server" >>/etc/hosts
: >/etc/resolv.conf
ip link set lo up
ip address add "$ADDRESS/24" dev vec0
ip link set vec0 up
modprobe nfsv3
# What locks over NFSv3 need on the client's side.
rpcbind -w >/dev/null 2>&1
rpc.statd --no-notify >/dev/null 2>&1

export GUEST SERVER ADDRESS
cd /root || exec poweroff -f
stty -F /dev/ttyS0 raw -echo
exec 3<>/dev/ttyS0
# A line is a script's number. Its output goes through a pipe, so that programs see no terminal; a line with the mark
# and the exit status ends it.
echo "$MARK ready" >&3
while read -r number <&3; do
    [ "$number" = end ] && break
    {
        setsid --wait bash "/lab/$number.sh" </dev/null 2>&1
        printf '\n%s %s\n' "$MARK" $?
    } | cat >&3
done
poweroff -f
