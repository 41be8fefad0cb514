# shellcheck shell=bash
# What a guest does with a disk, for checks of volumes. To be sourced after lib.sh.

serial_of() { corten get volume "$1" -o json | jq -r .metadata.uid | tr -d - | cut -c1-20; }

# disk GUEST VOLUME: the name of the volume's disk in the guest.
disk() {
  timeout 30 "$CORTEN" ssh "$1" -- "grep -l $(serial_of "$2") /sys/block/vd*/serial" 2>/dev/null | cut -d/ -f4
}

has_disk() { [ -n "$(disk "$1" "$2")" ]; }
has_no_disk() { corten ssh "$1" -- true && [ -z "$(disk "$1" "$2")" ]; }

# put GUEST VOLUME TEXT: on the disk when it returns.
put() {
  corten ssh "$1" -- "printf %s $3 | dd of=/dev/$(disk "$1" "$2") conv=fsync 2>/dev/null"
}

# content GUEST VOLUME LENGTH
content() {
  corten ssh "$1" -- "dd if=/dev/$(disk "$1" "$2") bs=1 count=$3 2>/dev/null" | tr -d '\r\0'
}

# holds GUEST VOLUME TEXT: what it has, where it is another.
holds() {
  local found
  found=$(content "$1" "$2" ${#3}) && [ "$found" = "$3" ] && return
  echo "it has: $found"
  return 1
}

size_in() { corten ssh "$1" -- "cat /sys/block/$(disk "$1" "$2")/size" | tr -d '\r'; }
has_size() { [ "$(size_in "$1" "$2")" = "$3" ]; }

no_file_in() { [ -z "$(find "$1" -type f | tee /dev/stderr)" ]; }
