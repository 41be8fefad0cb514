//! Numbers of the kernel's interface (linux/netfilter/nf_tables.h, nfnetlink.h). No logic.

pub(crate) const SUBSYSTEM: u16 = 10;
pub(crate) const BATCH_BEGIN: u16 = 16;
pub(crate) const BATCH_END: u16 = 17;
/// NFNL_BATCH_GENID, of the beginning of a batch.
pub(crate) const BATCH_GENERATION: u16 = 1;

/// enum nf_tables_msg_types, below [`SUBSYSTEM`].
pub(crate) mod message {
    pub(crate) const NEW_TABLE: u16 = 0;
    pub(crate) const GET_TABLE: u16 = 1;
    pub(crate) const DELETE_TABLE: u16 = 2;
    pub(crate) const NEW_CHAIN: u16 = 3;
    pub(crate) const GET_CHAIN: u16 = 4;
    pub(crate) const DELETE_CHAIN: u16 = 5;
    pub(crate) const NEW_RULE: u16 = 6;
    pub(crate) const GET_RULE: u16 = 7;
    pub(crate) const DELETE_RULE: u16 = 8;
    pub(crate) const NEW_SET: u16 = 9;
    pub(crate) const GET_SET: u16 = 10;
    pub(crate) const DELETE_SET: u16 = 11;
    pub(crate) const NEW_ELEMENT: u16 = 12;
    pub(crate) const GET_ELEMENT: u16 = 13;
    pub(crate) const DELETE_ELEMENT: u16 = 14;
    pub(crate) const GET_GENERATION: u16 = 16;
}

pub(crate) const TABLE_NAME: u16 = 1;

pub(crate) const CHAIN_TABLE: u16 = 1;
pub(crate) const CHAIN_NAME: u16 = 3;
pub(crate) const CHAIN_HOOK: u16 = 4;
pub(crate) const CHAIN_POLICY: u16 = 5;
pub(crate) const CHAIN_TYPE: u16 = 7;
pub(crate) const HOOK_NUMBER: u16 = 1;
pub(crate) const HOOK_PRIORITY: u16 = 2;

pub(crate) const RULE_TABLE: u16 = 1;
pub(crate) const RULE_CHAIN: u16 = 2;
pub(crate) const RULE_HANDLE: u16 = 3;
pub(crate) const RULE_EXPRESSIONS: u16 = 4;
pub(crate) const RULE_USERDATA: u16 = 7;
/// In user data: what `nft` shows as `comment`.
pub(crate) const USERDATA_COMMENT: u8 = 0;
/// In user data: our digest of the expressions. `nft` passes over kinds it does not know.
pub(crate) const USERDATA_DIGEST: u8 = 0x63;

pub(crate) const SET_TABLE: u16 = 1;
pub(crate) const SET_NAME: u16 = 2;
pub(crate) const SET_FLAGS: u16 = 3;
pub(crate) const SET_KEY_TYPE: u16 = 4;
pub(crate) const SET_KEY_LENGTH: u16 = 5;
pub(crate) const SET_DATA_TYPE: u16 = 6;
pub(crate) const SET_DATA_LENGTH: u16 = 7;
pub(crate) const SET_ID: u16 = 10;
pub(crate) const SET_USERDATA: u16 = 13;
/// What each element gets of its own.
pub(crate) const SET_EXPRESSION: u16 = 17;
pub(crate) const SET_FLAG_INTERVAL: u32 = 4;
pub(crate) const SET_FLAG_MAP: u32 = 8;
pub(crate) const DATA_TYPE_VERDICT: u32 = 0xffff_ff00;

pub(crate) const ELEMENTS_TABLE: u16 = 1;
pub(crate) const ELEMENTS_SET: u16 = 2;
pub(crate) const ELEMENTS_LIST: u16 = 3;
pub(crate) const ELEMENT_KEY: u16 = 1;
pub(crate) const ELEMENT_DATA: u16 = 2;
pub(crate) const ELEMENT_FLAGS: u16 = 3;
pub(crate) const ELEMENT_EXPRESSION: u16 = 7;
pub(crate) const ELEMENT_INTERVAL_END: u32 = 1;

pub(crate) const LIST_ELEMENT: u16 = 1;
pub(crate) const DATA_VALUE: u16 = 1;
pub(crate) const DATA_VERDICT: u16 = 2;
pub(crate) const VERDICT_CODE: u16 = 1;
pub(crate) const VERDICT_CHAIN: u16 = 2;
pub(crate) const EXPRESSION_NAME: u16 = 1;
pub(crate) const EXPRESSION_DATA: u16 = 2;
pub(crate) const GENERATION_ID: u16 = 1;
pub(crate) const COUNTER_PACKETS: u16 = 2;

/// The register that holds a verdict.
pub(crate) const REGISTER_VERDICT: u32 = 0;
/// The first of the 16 registers of 4 bytes each; a longer value takes those that follow.
pub(crate) const REGISTER: u32 = 8;

pub(crate) const COMPARE_EQUAL: u32 = 0;
pub(crate) const COMPARE_NOT_EQUAL: u32 = 1;
pub(crate) const COMPARE_AT_MOST: u32 = 3;
pub(crate) const COMPARE_AT_LEAST: u32 = 5;
