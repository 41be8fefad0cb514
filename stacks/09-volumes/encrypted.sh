# shellcheck shell=bash
# Encrypted volumes: what a guest writes is in no file of the pool. To be sourced after guest.sh.

hush=nobody-reads-this-on-the-disk

encrypted() {
  expect "create an encrypted volume" corten volume create secret --size 32Mi --encrypted
  expect "it says so" corten get volume secret -o json
  says "in its spec" '"encrypted": true'
  expect "attach it to a machine that runs" corten volume attach secret one
  becomes 20 "the guest sees it" has_disk one secret
  expect "as large as it was asked for" has_size one secret $((32 * 2048))
  expect "write to it" put one secret "$hush"
  expect "and read it" holds one secret "$hush"
  expect_failure "the pool's files do not show it" in_the_pool "$hush"
  expect "grow it while it is used" corten volume grow secret 48Mi
  becomes 20 "the guest sees the new size" has_size one secret $((48 * 2048))
  encrypted_copies
  encrypted_kills
  encrypted_folder
  encrypted_root
  expect "the volumes go" corten volume rm secret secret-clone secret-back
}

in_the_pool() { grep -rqF -- "$1" "$data/pools"; }

encrypted_copies() {
  expect "a snapshot while it is used" corten snapshot create hushed --volume secret
  expect "write after it" put one secret written-after-the-snapshot
  expect "a clone of it" corten volume create secret-clone --snapshot hushed
  expect "is encrypted, too" [ "$(corten get volume secret-clone -o json | jq .spec.encrypted)" = true ]
  expect "attach it to another machine" corten volume attach secret-clone two
  becomes 20 "it is seen" has_disk two secret-clone
  expect "and has what was then" holds two secret-clone "$hush"
  expect "the volume has what is now" holds one secret written-after-the-snapshot
  expect "a backup while it is used" corten backup create hush --volume secret
  expect_failure "it is not for other clouds" corten backup export hush "$scratch/hush.backup"
  says "and why" 'whose key no other cloud has'
  expect "a volume of the backup" corten backup restore hush --volume secret-back
  expect "attach it" corten volume attach secret-back two
  becomes 20 "it is seen" has_disk two secret-back
  expect "and has what was backed up" holds two secret-back written-after-the-snapshot
  expect_failure "no image comes of it" corten image create shown --from-volume secret --timeout 10s
  says "and why" 'is encrypted, and an image would show'
  corten image rm shown
  expect "no copy of what is not is encrypted" corten volume create plain --size 16Mi
  expect_failure "an encrypted one of it" corten volume create half --from plain --encrypted
  says "with a remedy" 'spec.encrypted: .*empty volume'
  expect "it goes" corten volume rm plain
  expect "detach them" corten volume detach secret-clone
  expect "and that" corten volume detach secret-back
  expect "the snapshot goes" corten snapshot rm hushed
  expect "and the backup" corten backup rm hush
}

encrypted_kills() {
  local pid
  for pid in $(guest_processes "$(uid_of one)"); do kill -9 "$pid"; done
  becomes "$guest_seconds_max" "killed and started again, the machine reads it" holds one secret written-after-the-snapshot
  expect_failure "no argument of a program has its key" grep -lE '"data":"[^"]*","format":"raw","id":"k' /proc/[0-9]*/cmdline
  expect "detach it" corten volume detach secret
  expect "no process has its file open" no_process_holds secret
}

encrypted_folder() {
  expect "an encrypted volume for a container" corten volume create safe --size 64Mi --encrypted
  expect "a container that has it as a folder" corten run --image busybox --name vault --volume safe:/data --wait -- sleep 100000
  expect "it writes there" corten exec vault -- sh -c "echo $hush-in-a-folder >/data/file && sync"
  expect_failure "the pool's files do not show it" in_the_pool "$hush-in-a-folder"
  expect "start it anew" corten stop vault
  expect "and again" corten start vault
  becomes 30 "it reads its file" corten exec vault -- grep -- "$hush" /data/file
  expect "the container goes" corten rm vault
  expect "and its volume" corten volume rm safe
}

encrypted_root() {
  expect "a machine with an encrypted disk of an image" \
    corten run --image disk --boot-volume secret-root --encrypted --name safe --type tiny --wait
  becomes "$guest_seconds_max" "it answers" corten ssh safe -- true
  expect "the machine goes" corten rm safe
  expect "and its disk" corten volume rm secret-root
}
