# A repository is cloned, worked in and packed anew.
export GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' GIT_CONFIG_KEY_1=gc.auto GIT_CONFIG_VALUE_1=0
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
cd /mnt/a
git clone --quiet --no-local "file://$REPOSITORY" clone
cd clone
git fsck --full --strict --no-dangling 2>&1 | tail -3
git log --oneline | wc -l
git checkout --quiet -b work
for number in 1 2 3 4 5; do
    git ls-files '*.rs' | awk -v number=$number 'NR % 7 == number' | xargs sed -i "1s/^/\/\/ $number\n/"
    git commit --quiet --all --message "change $number"
done
git rebase --quiet --onto HEAD~4 HEAD~3 2>/dev/null || git rebase --abort
git gc --quiet --prune=now
git repack -adfq
head=$(git rev-parse HEAD)
cd /
umount /mnt/a
$MOUNT
cd /mnt/a/clone
git fsck --full --strict --no-dangling
test "$(git rev-parse HEAD)" = "$head"
test -z "$(git status --porcelain)"
git clone --quiet --local . ../second
git -C ../second fsck --full --no-dangling
cd ..
rm -r clone second
