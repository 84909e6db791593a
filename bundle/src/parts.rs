//! How many parts a JSON document has, counted before it is parsed.
//!
//! A number in an array takes 2 bytes of text and 32 of memory, a short key with a short value 8 and
//! more than 100: a bound on bytes alone bounds no memory.

/// Commas and opening brackets outside of texts: at least as many as values that the document holds,
/// less one. Whether it is JSON at all is not looked at.
pub fn json_parts(bytes: &[u8]) -> u64 {
    let (mut parts, mut in_text, mut escaped) = (0, false, false);
    for byte in bytes {
        match (in_text, escaped, byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (_, _, b'"') => in_text = !in_text,
            (false, _, b',' | b'[' | b'{') => parts += 1,
            _ => {}
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_text_is_no_part() {
        assert_eq!(json_parts(br#"["a,b","\",{[",{}]"#), 4);
        assert_eq!(json_parts(br#"{"a":[1,2,3],"b":"\\"}"#), 5);
        assert_eq!(json_parts(b""), 0);
    }

    proptest::proptest! {
        #[test]
        fn there_are_as_many_parts_as_serde_finds(numbers in proptest::collection::vec(0u8.., 1..50), text: String) {
            let document = serde_json::json!({ format!("key {text}"): numbers, "more": [text] });
            let bytes = serde_json::to_vec(&document).unwrap();
            let keys = document.as_object().unwrap().len();
            let expected = 1 + (keys - 1) + keys + (numbers.len() - 1);
            proptest::prop_assert_eq!(json_parts(&bytes), expected as u64);
        }
    }
}
