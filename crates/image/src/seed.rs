//! The NoCloud seed: a small disk that tells a guest its name, its keys and what to run. A vfat volume labelled
//! CIDATA, which cloud-init and the tiny guest read; for guests without a metadata service.

use std::io::{self, Cursor, Write};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};

/// What a guest is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seed {
    /// A guest that sees another id than last time sets itself up anew.
    pub instance_id: String,
    pub hostname: String,
    /// Lines as in `authorized_keys`.
    pub public_keys: Vec<String>,
    /// A script, `#cloud-config`, or anything else cloud-init reads.
    pub user_data: Vec<u8>,
    /// cloud-init's network configuration, version 2; DHCP on every card when absent.
    pub network_config: Option<String>,
}

/// Room for the file system itself, beside its files.
const OVERHEAD: usize = 64 << 10;
/// The smallest volume that every reader takes for FAT12.
const SIZE_MIN: usize = 256 << 10;
const LABEL: [u8; 11] = *b"CIDATA     ";
/// Serial number of the volume: fixed, so that equal seeds are equal bytes.
const VOLUME_ID: u32 = 0xc0_7e_75_ed;

#[derive(Debug, thiserror::Error)]
#[error("cannot make the seed disk")]
pub struct SeedError(#[from] io::Error);

impl Seed {
    /// The disk's bytes, a multiple of 512, to attach as a raw virtio-blk disk, read-only.
    pub fn image(&self) -> Result<Vec<u8>, SeedError> {
        let meta_data = self.meta_data();
        let mut files = vec![("meta-data", meta_data.as_bytes()), ("user-data", &self.user_data)];
        files.extend(self.network_config.as_deref().map(|text| ("network-config", text.as_bytes())));

        let content: usize = files.iter().map(|(_, data)| data.len().next_multiple_of(4096)).sum();
        let size = (content + OVERHEAD).max(SIZE_MIN).next_multiple_of(512);
        let mut volume = Cursor::new(vec![0; size]);
        let kind = if size < 8 << 20 { FatType::Fat12 } else { FatType::Fat16 };
        let options = FormatVolumeOptions::new()
            .fat_type(kind)
            .bytes_per_cluster(4096)
            .volume_label(LABEL)
            .volume_id(VOLUME_ID);
        format_volume(&mut volume, options)?;
        {
            // fatfs is built without its clock: every file carries the epoch of FAT.
            let file_system = FileSystem::new(&mut volume, FsOptions::new())?;
            for (name, data) in files {
                file_system.root_dir().create_file(name)?.write_all(data)?;
            }
        }
        Ok(volume.into_inner())
    }

    /// YAML, with every value quoted: none can add a key of its own.
    fn meta_data(&self) -> String {
        let mut text =
            format!("instance-id: {}\nlocal-hostname: {}\n", quote(&self.instance_id), quote(&self.hostname));
        if !self.public_keys.is_empty() {
            text.push_str("public-keys:\n");
            text.extend(self.public_keys.iter().map(|key| format!("  - {}\n", quote(key.trim()))));
        }
        text
    }
}

/// A YAML double-quoted scalar, which JSON's strings are a part of.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn seed() -> Seed {
        Seed {
            instance_id: "i-1".into(),
            hostname: "web".into(),
            public_keys: vec!["ssh-ed25519 AAAA me@home\n".into()],
            user_data: b"#!/bin/sh\necho hello\n".to_vec(),
            network_config: None,
        }
    }

    fn read(image: Vec<u8>, name: &str) -> String {
        let file_system = FileSystem::new(Cursor::new(image), FsOptions::new()).unwrap();
        assert_eq!(file_system.volume_label(), "CIDATA");
        let mut text = String::new();
        file_system.root_dir().open_file(name).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn tells_name_keys_and_script() {
        let image = seed().image().unwrap();
        assert_eq!(
            read(image.clone(), "meta-data"),
            "instance-id: \"i-1\"\nlocal-hostname: \"web\"\npublic-keys:\n  - \"ssh-ed25519 AAAA me@home\"\n"
        );
        assert_eq!(read(image, "user-data"), "#!/bin/sh\necho hello\n");
    }

    #[test]
    fn equal_seeds_are_equal_bytes() {
        assert_eq!(seed().image().unwrap(), seed().image().unwrap());
    }

    #[test]
    fn a_value_cannot_add_a_key() {
        let seed = Seed { hostname: "x\"\npublic-keys: [evil]\n#".into(), ..seed() };
        let text = read(seed.image().unwrap(), "meta-data");
        assert_eq!(text.lines().filter(|line| line.starts_with("public-keys:")).count(), 1, "{text}");
    }

    #[test]
    fn grows_with_its_user_data() {
        let seed = Seed { user_data: vec![b'x'; 12 << 20], ..seed() };
        assert_eq!(read(seed.image().unwrap(), "user-data").len(), 12 << 20);
    }
}
