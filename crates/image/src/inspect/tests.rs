//! Hostile headers, made byte by byte, and what must become of them.

use std::io::Cursor;

use model::compute::ImageFormat;
use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

fn check(format: ImageFormat, file: &[u8], expected: Result<u64, &str>) {
    let found = inspect(format, &mut Cursor::new(file)).map_err(|error| error.to_string());
    match (&found, expected) {
        (Ok(size), Ok(expected)) => assert_eq!(*size, expected),
        (Err(message), Err(expected)) => {
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        }
        _ => panic!("{found:?} instead of {expected:?}"),
    }
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A harmless qcow2 of 10 MiB, version 3, with clusters of 64 KiB.
fn qcow2() -> Vec<u8> {
    let mut file = vec![0; 4 * 65536];
    put(&mut file, 0, b"QFI\xfb");
    put(&mut file, 4, &3_u32.to_be_bytes());
    put(&mut file, 20, &16_u32.to_be_bytes());
    put(&mut file, 24, &(10 * MIB).to_be_bytes());
    put(&mut file, 36, &1_u32.to_be_bytes());
    put(&mut file, 40, &(3_u64 * 65536).to_be_bytes());
    put(&mut file, 48, &65536_u64.to_be_bytes());
    put(&mut file, 56, &1_u32.to_be_bytes());
    put(&mut file, 96, &4_u32.to_be_bytes());
    put(&mut file, 100, &104_u32.to_be_bytes());
    file
}

fn qcow2_with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = qcow2();
    put(&mut file, at, bytes);
    file
}

#[test]
fn a_plain_qcow2_passes() {
    check(ImageFormat::Qcow2, &qcow2(), Ok(10 * MIB));
}

#[test]
fn qcow2_that_refers_to_a_file_is_refused() {
    let mut file = qcow2_with(8, &1024_u64.to_be_bytes());
    put(&mut file, 16, &11_u32.to_be_bytes());
    put(&mut file, 1024, b"/etc/shadow");
    check(ImageFormat::Qcow2, &file, Err("a backing file"));
    // An offset or a length alone is as bad: another reader may take it for one.
    check(ImageFormat::Qcow2, &qcow2_with(8, &1024_u64.to_be_bytes()), Err("a backing file"));
    check(ImageFormat::Qcow2, &qcow2_with(16, &11_u32.to_be_bytes()), Err("a backing file"));
    check(ImageFormat::Qcow2, &qcow2_with(72, &4_u64.to_be_bytes()), Err("an external data file"));
    let name = [&0x4441_5441_u32.to_be_bytes()[..], &11_u32.to_be_bytes(), b"/etc/shadow"].concat();
    check(ImageFormat::Qcow2, &qcow2_with(104, &name), Err("an external data file"));
    let harmless_first = [&0x6803_f857_u32.to_be_bytes()[..], &3_u32.to_be_bytes(), &[0; 8], &name].concat();
    check(ImageFormat::Qcow2, &qcow2_with(104, &harmless_first), Err("an external data file"));
}

#[test]
fn qcow2_with_what_we_do_not_know_is_refused() {
    check(ImageFormat::Qcow2, &qcow2_with(32, &1_u32.to_be_bytes()), Err("encrypted"));
    check(ImageFormat::Qcow2, &qcow2_with(72, &2_u64.to_be_bytes()), Err("a repair"));
    check(ImageFormat::Qcow2, &qcow2_with(72, &(1_u64 << 40).to_be_bytes()), Err("an unknown feature"));
    check(ImageFormat::Qcow2, &qcow2_with(4, &4_u32.to_be_bytes()), Err("a version other"));
    check(ImageFormat::Qcow2, b"QFI\xfb", Err("header length"));
    check(ImageFormat::Qcow2, b"conectix", Err("not qcow2"));
}

#[test]
fn qcow2_whose_tables_are_out_of_bounds_is_refused() {
    check(ImageFormat::Qcow2, &qcow2_with(20, &63_u32.to_be_bytes()), Err("cluster size"));
    check(ImageFormat::Qcow2, &qcow2_with(36, &u32::MAX.to_be_bytes()), Err("L1 table size"));
    check(ImageFormat::Qcow2, &qcow2_with(40, &(1_u64 << 40).to_be_bytes()), Err("L1 table offset"));
    check(ImageFormat::Qcow2, &qcow2_with(40, &u64::MAX.to_be_bytes()), Err("L1 table offset"));
    check(ImageFormat::Qcow2, &qcow2_with(56, &u32::MAX.to_be_bytes()), Err("refcount table size"));
    check(ImageFormat::Qcow2, &qcow2_with(96, &7_u32.to_be_bytes()), Err("refcount width"));
    check(ImageFormat::Qcow2, &qcow2_with(60, &u32::MAX.to_be_bytes()), Err("number of snapshots"));
    check(ImageFormat::Qcow2, &qcow2_with(100, &u32::MAX.to_be_bytes()), Err("header length"));
    // A petabyte behind one L1 entry.
    check(ImageFormat::Qcow2, &qcow2_with(24, &(1_u64 << 50).to_be_bytes()), Err("virtual size"));
    check(ImageFormat::Qcow2, &qcow2_with(24, &[0; 8]), Err("virtual size"));
    let endless = [&0x1234_u32.to_be_bytes()[..], &u32::MAX.to_be_bytes()].concat();
    check(ImageFormat::Qcow2, &qcow2_with(104, &endless), Err("header extension"));
}

const DESCRIPTOR: &str = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
    createType=\"monolithicSparse\"\n\nRW 20480 SPARSE \"disk.vmdk\"\n\nddb.adapterType = \"ide\"\n";

/// A VMDK of 10 MiB with this descriptor inside.
fn vmdk(descriptor: &str) -> Vec<u8> {
    let mut file = vec![0; 64 << 10];
    put(&mut file, 0, b"KDMV\x01\0\0\0");
    put(&mut file, 12, &20480_u64.to_le_bytes());
    put(&mut file, 28, &1_u64.to_le_bytes());
    put(&mut file, 36, &20_u64.to_le_bytes());
    put(&mut file, 512, descriptor.as_bytes());
    file
}

#[test]
fn a_self_contained_vmdk_passes() {
    check(ImageFormat::Vmdk, &vmdk(DESCRIPTOR), Ok(10 * MIB));
    check(ImageFormat::Vmdk, &vmdk(&DESCRIPTOR.replace("monolithicSparse", "streamOptimized")), Ok(10 * MIB));
}

#[test]
fn vmdk_that_refers_to_a_file_is_refused() {
    let flat = DESCRIPTOR.replace("monolithicSparse", "monolithicFlat").replace("SPARSE", "FLAT");
    check(ImageFormat::Vmdk, &vmdk(&flat), Err("a type with extents"));
    check(ImageFormat::Vmdk, flat.as_bytes(), Err("a descriptor with extents"));
    let two = DESCRIPTOR.replace("\n\nddb", "\nRW 8 FLAT \"/etc/shadow\" 0\nddb");
    check(ImageFormat::Vmdk, &vmdk(&two), Err("extents"));
    let elsewhere = DESCRIPTOR.replace("disk.vmdk", "/etc/shadow");
    check(ImageFormat::Vmdk, &vmdk(&elsewhere), Err("extents"));
    let parent = DESCRIPTOR.replace("parentCID=ffffffff", "parentCID=12345678");
    check(ImageFormat::Vmdk, &vmdk(&parent), Err("a parent"));
    // Behind a zero byte, where a parser would have stopped.
    let hint = format!("{DESCRIPTOR}\0parentFileNameHint=\"/etc/shadow\"");
    check(ImageFormat::Vmdk, &vmdk(&hint), Err("a parent"));
}

#[test]
fn vmdk_that_hides_its_descriptor_is_refused() {
    let mut file = vmdk(DESCRIPTOR);
    put(&mut file, 12, &[0; 8]);
    check(ImageFormat::Vmdk, &file, Err("a descriptor with extents"));
    let mut file = vmdk(DESCRIPTOR);
    put(&mut file, 28, &40_u64.to_le_bytes());
    check(ImageFormat::Vmdk, &file, Err("descriptor offset"));
    check(ImageFormat::Vmdk, &vmdk(""), Err("createType"));
    check(ImageFormat::Vmdk, b"KDMV", Err("header length"));
}

/// A VHDX of 10 MiB; `flags` are those of its file parameters, `log` its log's id, `extra` a third item.
fn vhdx(flags: u32, log: u8, extra: Option<[u8; 16]>) -> Vec<u8> {
    const REGION: usize = 320 << 10;
    let metadata_region = hex("06a27c8b90479a4bb8fe575f050f886e");
    let file_parameters = hex("3767a1ca36fa434db3b633f0aa44e76b");
    let virtual_size = hex("2442a52f1bcd7648b2115dbed83bf4b8");
    let mut file = vec![0; 512 << 10];
    put(&mut file, 0, b"vhdxfile");
    put(&mut file, 64 << 10, b"head");
    put(&mut file, (64 << 10) + 48, &[log; 16]);
    for table in [192 << 10, 256 << 10] {
        put(&mut file, table, b"regi");
        put(&mut file, table + 8, &1_u32.to_le_bytes());
        put(&mut file, table + 16, &metadata_region);
        put(&mut file, table + 32, &(REGION as u64).to_le_bytes());
    }
    let items = [Some(file_parameters), Some(virtual_size), extra];
    put(&mut file, REGION, b"metadata");
    put(&mut file, REGION + 10, &[if extra.is_some() { 3 } else { 2 }, 0]);
    for (n, item) in (0_u32..).zip(items.into_iter().flatten()) {
        let entry = REGION + 32 + n as usize * 32;
        put(&mut file, entry, &item);
        put(&mut file, entry + 16, &(65536 + n * 8).to_le_bytes());
    }
    put(&mut file, REGION + 65536 + 4, &flags.to_le_bytes());
    put(&mut file, REGION + 65536 + 8, &(10 * MIB).to_le_bytes());
    file
}

fn hex(text: &str) -> [u8; 16] {
    std::array::from_fn(|n| u8::from_str_radix(&text[n * 2..n * 2 + 2], 16).unwrap())
}

#[test]
fn vhdx_passes_only_without_parent_and_log() {
    check(ImageFormat::Vhdx, &vhdx(0, 0, None), Ok(10 * MIB));
    check(ImageFormat::Vhdx, &vhdx(2, 0, None), Err("a parent"));
    let locator = hex("2d5fd3a80bb34d45abf7d3d84834ab0c");
    check(ImageFormat::Vhdx, &vhdx(0, 0, Some(locator)), Err("a parent"));
    check(ImageFormat::Vhdx, &vhdx(0, 7, None), Err("its log"));
    check(ImageFormat::Vhdx, &vhdx(0, 0, None)[..1024], Err("region table"));
    check(ImageFormat::Vhdx, b"QFI\xfb", Err("not vhdx"));
}

#[test]
fn a_hostile_second_region_table_is_not_overlooked() {
    let mut file = vhdx(0, 0, None);
    put(&mut file, (256 << 10) + 32, &(400_u64 << 10).to_le_bytes());
    check(ImageFormat::Vhdx, &file, Err("metadata signature"));
}

/// The footer of a VHD of this type.
fn vhd_footer(kind: u8, size: u64) -> [u8; 512] {
    let mut footer = [0; 512];
    put(&mut footer, 0, b"conectix");
    put(&mut footer, 16, &512_u64.to_be_bytes());
    put(&mut footer, 48, &size.to_be_bytes());
    footer[63] = kind;
    let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut footer, 64, &(!sum).to_be_bytes());
    footer
}

/// A dynamic VHD of 10 MiB.
fn vhd(kind: u8) -> Vec<u8> {
    let mut file = vhd_footer(kind, 10 * MIB).to_vec();
    file.resize(2048, 0);
    put(&mut file, 512, b"cxsparse");
    put(&mut file, 512 + 28, &5_u32.to_be_bytes());
    put(&mut file, 512 + 32, &(2_u32 << 20).to_be_bytes());
    file.extend(vhd_footer(kind, 10 * MIB));
    file
}

fn fixed_vhd(kind: u8, size: u64) -> Vec<u8> {
    [&[0; 4096][..], &vhd_footer(kind, size)].concat()
}

#[test]
fn vhd_passes_only_without_parent() {
    check(ImageFormat::Vhd, &vhd(3), Ok(10 * MIB));
    check(ImageFormat::Vhd, &vhd(4), Err("a parent"));
    check(ImageFormat::Vhd, &vhd(2), Err("disk type"));
    check(ImageFormat::Vhd, &fixed_vhd(2, 4096), Ok(4096));
    check(ImageFormat::Vhd, &fixed_vhd(3, 4096), Err("disk type"));
    check(ImageFormat::Vhd, &fixed_vhd(2, 10 * MIB), Err("virtual size"));
    check(ImageFormat::Vhd, b"QFI\xfb", Err("not vhd"));
    let mut file = vhd(3);
    put(&mut file, 512 + 28, &4_u32.to_be_bytes());
    check(ImageFormat::Vhd, &file, Err("block count"));
    put(&mut file, 512 + 28, &u32::MAX.to_be_bytes());
    check(ImageFormat::Vhd, &file, Err("block count"));
    put(&mut file, 48, &(1_u64 << 60).to_be_bytes());
    check(ImageFormat::Vhd, &file, Err("checksum"));
}

#[test]
fn what_a_guest_wrote_into_the_first_sector_of_a_fixed_vhd_is_looked_at() {
    let mut file = fixed_vhd(2, 4096);
    put(&mut file, 0, &vhd_footer(4, MIB));
    check(ImageFormat::Vhd, &file, Err("a parent"));
    put(&mut file, 0, &vhd_footer(3, MIB));
    check(ImageFormat::Vhd, &file, Err("header signature"));
}

#[test]
fn raw_is_whatever_it_is() {
    let mut file = qcow2_with(8, &1024_u64.to_be_bytes());
    put(&mut file, 16, &11_u32.to_be_bytes());
    check(ImageFormat::Raw, &file, Ok(file.len() as u64));
    check(ImageFormat::Iso, &file, Ok(file.len() as u64));
    check(ImageFormat::Raw, b"", Err("virtual size"));
}

fn sound(format: ImageFormat) -> Vec<u8> {
    match format {
        ImageFormat::Qcow2 => qcow2(),
        ImageFormat::Vmdk => vmdk(DESCRIPTOR),
        ImageFormat::Vhd => vhd(3),
        _ => vhdx(0, 0, None),
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        format in prop::sample::select(&ImageFormat::ALL[..]),
        bytes in prop::collection::vec(any::<u8>(), 0..4096),
    ) {
        let _ = inspect(format, &mut Cursor::new(bytes));
    }

    #[test]
    fn damaged_headers_never_panic(
        format in prop::sample::select(vec![
            ImageFormat::Qcow2,
            ImageFormat::Vmdk,
            ImageFormat::Vhd,
            ImageFormat::Vhdx,
        ]),
        damage in prop::collection::vec((0_usize..2048, any::<u8>()), 1..16),
        region in prop::sample::select(vec![0_usize, 64 << 10, 192 << 10, 320 << 10, 384 << 10]),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = sound(format);
        for (at, byte) in damage {
            if let Some(place) = file.get_mut(region + at) {
                *place = byte;
            }
        }
        file.truncate(cut.index(file.len()) + 1);
        let _ = inspect(format, &mut Cursor::new(file));
    }

    #[test]
    fn no_header_with_a_backing_file_is_accepted(
        offset in any::<u64>(),
        length in any::<u32>(),
        noise in prop::collection::vec((20_usize..200, any::<u8>()), 0..8),
    ) {
        prop_assume!((offset, length) != (0, 0));
        let mut file = qcow2();
        for (at, byte) in noise {
            file[at] = byte;
        }
        put(&mut file, 8, &offset.to_be_bytes());
        put(&mut file, 16, &length.to_be_bytes());
        prop_assert!(inspect(ImageFormat::Qcow2, &mut Cursor::new(file)).is_err());
    }
}
