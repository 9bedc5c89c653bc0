# POSIX ACLs on a local ext4 and on the mount: the same steps on both, and what each of them leaves.
modprobe loop
truncate --size=256M /run/ext4
mkfs.ext4 -q /run/ext4
mount -o loop /run/ext4 /mnt/b
permissions=(--- --x -w- -wx r-- r-x rw- rwx)

# Runs a command as user $1 in groups $2.
as() {
    local user=$1 groups=$2
    shift 2
    setpriv --reuid="$user" --regid="${groups%%,*}" --groups="$groups" "$@"
}

show() {
    stat -c '%n: %A %u %g' "$@"
    getfacl --numeric --no-effective --physical "$@"
}

# The same of a whole tree.
show_tree() {
    find "$@" -print0 | sort -z | xargs -0 stat -c '%n: %A %u %g'
    find "$@" -print0 | sort -z | xargs -0 getfacl --numeric --no-effective --physical
}

# What users get: each right asked for by itself.
rights() {
    perl -e '
        use filetest "access";
        my $file = shift;
        $| = 1;
        for my $who ("2000 3000", "2001 3009", "2002 3000", "2003 3001", "2004 3009", "2005 3001 3000", "2006 3009 3002") {
            my ($user, $group, @more) = split " ", $who;
            unless (fork) {
                ($(, $)) = ($group, "$group $group @more");
                ($<, $>) = ($user, $user);
                my $read = open my $in, "<", $file;
                $read &&= sysread $in, my $byte, 1;
                my $write = open my $out, ">>", $file;
                print $read ? "r" : "-", $write ? "w" : "-", -x $file ? "x" : "-", " ";
                exit;
            }
            wait;
        }
        print "get $file\n"' "$1"
}

files() {
    echo "== files"
    echo text >f
    chown 2000:3000 f
    chmod 640 f
    setfacl -m u:2001:rwx,g:3001:r-x f
    show f
    rights f
    chmod 604 f
    chmod g=r f
    show f
    rights f
    chmod g=rwx,o= f
    show f
    setfacl -m m::-w- f
    show f
    rights f
    setfacl -m g::rw-,m::rw-,u:2004:--- f
    rights f
    # An entry for the owner's own number is for nobody, one for the owning group's adds to it.
    setfacl -m u:2000:---,g:3000:--x,m::rwx f
    show f
    rights f
    setfacl -x u:2001,g:3001 f
    show f
    chown 2001:3001 f
    show f
    rights f
    setfacl -b f
    show f
    for who in 2001 2002 0; do
        as $who 3001 setfacl -m u:$who:r-- f 2>/dev/null && echo "$who may" || echo "$who may not"
    done
    chmod 2755 f
    as 2001 3009 setfacl -m g:3002:rwx f
    show f
    setfacl --set u::rw-,g::r--,o::- f
    show f
    mkfifo p
    setfacl -m u:2001:rw p
    show p
    ln -s f s
    setfacl -d -m u:2001:rw f 2>/dev/null || echo "no default ACL for a file"
}

# Makes one of each kind in directory $1 and shows them.
children() {
    local mask
    for mask in 000 022 077; do
        (
            cd "$1"
            umask $mask
            echo text >file$mask
            (set -o noclobber; echo text >exclusive$mask)
            mkdir dir$mask
            mkfifo fifo$mask
            ln -s nowhere link$mask
            install -m 750 /dev/null install$mask
            mkdir -p deep$mask/er
            echo text >deep$mask/er/file
            show file$mask exclusive$mask dir$mask fifo$mask link$mask install$mask deep$mask/er deep$mask/er/file
        )
    done
}

defaults() {
    echo "== default ACLs"
    mkdir d three masked shared
    setfacl -d -m u:2001:rwx,g:3001:r-x,o::r-- d
    setfacl -d -m u::rwx,g::r-x,o::--- three
    setfacl -d -m u::rwx,g::rwx,u:2001:rwx,m::r-x,o::r-x masked
    chmod 2775 shared
    chown 2000:3000 shared
    setfacl -d -m g::rwx,g:3001:rwx,o::- shared
    setfacl -m u:2001:rwx,g:3001:r-x shared
    local dir
    for dir in d three masked shared; do
        show $dir
        children $dir
    done
    rights d/file022
    for who in "2001 3009" "2003 3001" "2004 3009"; do
        # shellcheck disable=SC2086
        as $who bash -c 'umask 002; echo text >shared/of$1 && mkdir shared/in$1' bash ${who%% *} 2>/dev/null || echo "not $who"
    done
    show shared/*2001
    chmod 700 d
    show d
    setfacl -m u:2004:r-x d
    show d
    setfacl -k d
    show d
    setfacl -b three
    show three
    echo text >three/plain
    show three/plain
}

copies() {
    echo "== copies"
    cp -a d copied
    cp -p masked/file022 kept
    cp masked/file022 shared/new
    mkdir unpacked
    tar --acls -cf - d shared | tar --acls -xpf - -C unpacked
    mv masked/file077 shared/moved
    show kept shared/new shared/moved
    show_tree copied unpacked
}

# Steps that a seed chooses. Somebody is named and the mask is never empty: the protocol has no other ACL for an empty
# class than the mode, and where the mask is empty Linux doesn't look at the ACL, whatever POSIX.1e says.
steps() {
    echo "== steps"
    local any some step
    RANDOM=$((FIRST_SEED + 1))
    mkdir steps
    echo text >steps/f
    chown 2000:3000 steps/f
    setfacl -m u:2001:r--,g:3009:r-- steps steps/f
    setfacl -d -m u:2001:rwx,g:3009:r-- steps
    for step in $(seq "$STEPS"); do
        any=${permissions[RANDOM % 8]}
        some=$((RANDOM % 7 + 1))
        case $((RANDOM % 8)) in
        0) setfacl -m u:200$((RANDOM % 4)):"$any" steps/f ;;
        1) setfacl -m g:300$((RANDOM % 4)):"$any" steps/f ;;
        2) setfacl -m m::${permissions[some]} steps/f ;;
        3) setfacl -m g::"$any" steps/f ;;
        4) chmod $((RANDOM % 8))$some$((RANDOM % 8)) steps/f ;;
        5) setfacl -x u:200$((RANDOM % 4 + 2)) steps/f ;;
        6) setfacl -d -m u:200$((RANDOM % 4)):"$any",g::${permissions[some]} steps ;;
        7)
            rm -rf steps/child steps/sub
            (umask 0$((RANDOM % 8))$((RANDOM % 4))$((RANDOM % 8)); echo text >steps/child; mkdir steps/sub)
            show steps steps/child steps/sub
            rights steps/child
            ;;
        esac
        echo "step $step"
        show steps/f
        rights steps/f
    done
}

for place in b a; do
    cd /mnt/$place
    chmod 755 .
    {
        files
        defaults
        copies
        steps
    } >/tmp/$place 2>&1 || { cat /tmp/$place; exit 1; }
    cd /
done
# What was copied from one file system to the other.
cp -a /mnt/b/d /mnt/a/from-local
cp -a /mnt/a/d /mnt/b/from-ferry
for tree in /mnt/a/from-local /mnt/b/from-ferry; do
    (cd $tree; show_tree . >/tmp/${tree##*/})
done
diff /tmp/b /tmp/a
diff /tmp/from-local /tmp/from-ferry
# Not only in this client's caches.
(cd /mnt/a; show_tree . >/tmp/before)
umount /mnt/a
mount -t nfs -o vers=3,nolock "$SERVER:/data" /mnt/a
(cd /mnt/a; show_tree . >/tmp/after)
diff /tmp/before /tmp/after
grep -c . /tmp/a
cat /tmp/a
