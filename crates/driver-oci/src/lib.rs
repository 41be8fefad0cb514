//! driver-oci
