//! The kinds of BTF types, and how long the record of each is.

/// Bytes of `struct btf_type`, with which every record begins.
pub(super) const RECORD: usize = 12;
/// Bytes of `struct btf_member`.
pub(super) const MEMBER: usize = 12;
/// Bytes of `struct btf_enum`.
pub(super) const ENUMERATOR: usize = 8;
/// Bytes of `struct btf_enum64`.
pub(super) const ENUMERATOR64: usize = 12;

pub(super) const INT: u8 = 1;
pub(super) const PTR: u8 = 2;
pub(super) const ARRAY: u8 = 3;
pub(super) const STRUCT: u8 = 4;
pub(super) const UNION: u8 = 5;
pub(super) const ENUM: u8 = 6;
pub(super) const FWD: u8 = 7;
pub(super) const TYPEDEF: u8 = 8;
pub(super) const VOLATILE: u8 = 9;
pub(super) const CONST: u8 = 10;
pub(super) const RESTRICT: u8 = 11;
pub(super) const FUNC: u8 = 12;
pub(super) const FUNC_PROTO: u8 = 13;
pub(super) const VAR: u8 = 14;
pub(super) const DATASEC: u8 = 15;
pub(super) const FLOAT: u8 = 16;
pub(super) const DECL_TAG: u8 = 17;
pub(super) const TYPE_TAG: u8 = 18;
pub(super) const ENUM64: u8 = 19;

/// Bytes behind `struct btf_type`; `None` for a kind that was not there when this was written.
///
/// From `include/uapi/linux/btf.h`; the last kind, `ENUM64`, came with v6.0 (commit 6089fb325cf7).
pub(super) fn tail(kind: u8, vlen: usize) -> Option<usize> {
    Some(match kind {
        INT | VAR | DECL_TAG => 4,
        // The `vlen` of a function is its linkage.
        PTR | FWD | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNC | FLOAT | TYPE_TAG => 0,
        ARRAY => 12,
        STRUCT | UNION => vlen * MEMBER,
        ENUM => vlen * ENUMERATOR,
        FUNC_PROTO => vlen * 8,
        DATASEC => vlen * 12,
        ENUM64 => vlen * ENUMERATOR64,
        _ => return None,
    })
}

/// Whether types of this kind are asked for by name.
pub(super) fn has_public_name(kind: u8) -> bool {
    matches!(kind, INT | STRUCT | UNION | ENUM | TYPEDEF | FLOAT | ENUM64)
}

/// Which of several types of one name is meant, if it is not said: C has a name space for tags and one for
/// typedefs, and almost always the typedef is of the structure of its name.
pub(super) fn rank(kind: u8) -> u8 {
    match kind {
        STRUCT => 0,
        UNION => 1,
        TYPEDEF => 2,
        ENUM | ENUM64 => 3,
        _ => 4,
    }
}

/// Whether a type is another one with something said about it.
pub(super) fn is_alias(kind: u8) -> bool {
    matches!(kind, TYPEDEF) || is_qualifier(kind)
}

/// Whether a type is another one with a qualifier.
pub(super) fn is_qualifier(kind: u8) -> bool {
    matches!(kind, VOLATILE | CONST | RESTRICT | TYPE_TAG)
}
